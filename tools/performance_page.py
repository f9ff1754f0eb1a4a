"""Write ``book/performance.md`` from ``results/performance/*.json``. No number on it is typed.

``--check`` writes nothing and fails if the page is not what the results say.
"""

from __future__ import annotations

import json
from collections import defaultdict

from chapters import ROOT
from results_page import NAMES, spread_text, write_or_check

from bedkd.report import table

PAGE = ROOT / "book" / "performance.md"
FOLDER = ROOT / "results" / "performance"
INTRODUCTION = """\
# Performance

How long is the way from a suspicious model to a purified one, and what does the time buy? Every
number is computed from the files in `results/performance/`, each with its command, versions and
machine.

"""
WAYS = {
    "released": "the recipe as it was released",
    "paper": "the recipe in our loop (`paper`)",
    "default": "our `default`",
    "presumed-clean": "`presumed-clean`, the default to be",
    "retrain": "detect, drop and retrain",
}
SPEED = """\
## The recipe as it was released, and ours

All start from the same victim and the same rows, in one run, on one core, training in single
precision. *The recipe as it was released* is plain PyTorch (`benchmarks/released_recipe.py`):
random batches padded to their longest row, the teacher asked at every step, 20 epochs of mapping,
50 cycles, the state after the last one. It gives no verdict. *In our loop* it has batches of
similar length, a teacher that answers once, and our corrections; our other ways also gather
evidence from content and wording, and judge. Seconds are processor time, which on one core is
wall-clock time as long as nothing else runs. The last row says how the victim does before; of an
unpoisoned model ASR is the floor and RACC the ceiling, in brackets.

"""
OWED = """\
## Owed

The same tables on a GPU, with device events, for six layers, three seeds and a decoder of full
depth: no GPU was at hand. One command a cell measures them, such as

```bash
python benchmarks/speed.py --dataset sst2 --attack badnets --layers 6 --repeats 3
```

"""


def records(kind: str) -> list[dict]:
    """The stored measurements of a kind, in the order of their names."""
    files = sorted(FOLDER.glob(f"{kind}-*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def speed(record: dict) -> str:
    """One cell: every way that was measured."""
    runs = defaultdict(list)
    for run in record["runs"]:
        runs[run["way"]].append(run)
    spent = {way: [run["cpu_seconds"] for run in made] for way, made in runs.items()}
    slowest = spent.get("released")
    rows = []
    for way, name in WAYS.items():
        if way not in runs:
            continue
        # Repeats take turns: each is compared with the one beside it.
        ratios = [a / b for a, b in zip(slowest or [], spent[way], strict=False)]
        row = [name, spread_text(spent[way]), spread_text(ratios) if ratios else "–"]
        for key in ("asr", "racc", "cacc"):
            row.append(spread_text([100 * run["after"][key] for run in runs[way]]))
        rows.append([*row, f"{max(run['peak_mb'] for run in runs[way]):.0f}"])
    before = record["victim"]
    beside = (("asr", "asr_floor"), ("racc", "racc_ceiling"), ("cacc", "cacc_reference"))
    shares = [f"{100 * before[key]:.1f} ({100 * before[other]:.1f})" for key, other in beside]
    rows.append(["*before*", "", "", *shares, ""])
    cell, seed = record["cell"], record["seed"]
    title = f"### {NAMES[cell['dataset']]}, {NAMES[cell['attack']]}, seed {seed}\n\n"
    header = ["way", "CPU s", "times faster", "ASR", "RACC", "CACC", "MB"]
    return f"{title}{table(header, rows)}\n{record['device']}. `{record['command']}`\n\n"


def page() -> str:
    """The whole page as Markdown."""
    cells = "".join(speed(record) for record in records("speed"))
    return (INTRODUCTION + SPEED + (cells or "Not measured yet.\n\n") + OWED).rstrip("\n") + "\n"


if __name__ == "__main__":
    write_or_check(PAGE, page(), __doc__)
