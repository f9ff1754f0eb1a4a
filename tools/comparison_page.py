"""Write ``book/comparison.md`` from ``results/comparison/**/*.json``: rivals beside our default, on
the same victims. No number on that page is typed.

``--check`` writes nothing and fails if the page is not what the results say.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from chapters import ROOT
from default_choices import tried
from results_page import NAMES, beside, load, share, spread_text, write_or_check

from bedkd.detectors import DETECTORS
from bedkd.repairs import REPAIRS
from bedkd.report import table

PAGE = ROOT / "book" / "comparison.md"
# The comparison has runs of its own; each JSON names its code.
FOLDER = ROOT / "results" / "comparison"
# The same methods where one training row in a hundred is poisoned, or fewer.
FEW_FOLDER = ROOT / "results" / "few-rows"
# All but `cycles` share the detection of `default`, whose results are no part of these folders.
OURS = ("default", "cycles")
RIVALS = tuple(name for name in REPAIRS if name != "bedkd")
YARDSTICK = "retrain"

INTRODUCTION = """\
# The comparison

What else could a defender do? Every method here meets the same victims, the same trusted rows and,
if it is a repair, the same flagged rows: those of our default. `cycles`, which was the default
before, flags by itself. All have the settings that the library gives them, chosen as the next
section says. Rivals were measured with one seed of each cell, and not every repair on every cell;
what is not here has not been measured. Every number is computed from the files in
`results/comparison/` and, for `default`, `results/defended-default/`, one JSON a cell, each with
its command.

The yardstick is the plainest answer of all, **drop and retrain**: leave out the flagged rows and
train the backbone again. It needs the whole training set and as long as training took. A repair
that is not better, or as good and much cheaper, has no reason to exist.

"""
PROTOCOL = """\
## How settings were chosen

A rival with poor settings makes any defence look good. One to three settings of each repair, of its
learning rate, its passes or the share it prunes or mixes, were tried on one victim: the embedded
reviews with rare words, which are in no table of this page. Kept was the one after which flagged
rows got their given label least often, which a defender can see; test rows and poison flags played
no part. (Too seldom is as bad as too often, see [Removed or
inverted?](../notebooks/08_removed_or_inverted.ipynb): the rule may favour a repair that inverts.)
Accuracy on held-out trusted rows was looked at, too, but `headprune` kept its paper's threshold
although it fell. `nad`, `fineprune` and `headprune` had no learning rate as high as the one that
`finetune` ended with. Our default was chosen among six settings of its loss, learning rate and
passes in the same way, by flagged rows that it had not used, but on SST-2 with BadNets, seed 0:
that cell is in the tables below and speaks for it more than the others do. It makes further passes
where those rows still get their given label too often after the first, and in half of its presumed
clean rows suspected trigger words are planted; the next tables say why. `retrain` has the settings
of the victim's own training, `continue` one pass with half its learning rate. Thresholds of rival
detectors are set at one false positive rate on trusted rows, 5 %, but for `cube`, which has a rule
of its own; a verdict needs a p-value of at most 0.01 and 16 flagged rows. Detectors have the
settings of their papers or our first guess, and were not tuned.

"""
NOTHING = """\
No cell has been measured with this state of the code yet.

"""
REPAIRED = """\
## Repairs

ASR should come down to its *floor*, RACC and the accuracy on triggered rows of the *target class*
up to their *ceilings*: what a model of the same kind says that was trained without poison. A low
ASR with a low target class is an inverted backdoor. *FTR* is the share of rows that a *near*
trigger sends to the target, other rare words or half of the sentence, which should do nothing
(in brackets: the unpoisoned model). Seconds are processor time of the repair alone, on one core;
detection comes before, the same for all but `cycles`. Memory is what the repair needs beyond what
was in use. *Distance* is how far a repair ends from the model that was never poisoned: ASR from its
floor, above or below, and RACC from its ceiling, added up.

"""
ASKED = """\
What we ask of a default, and what ours does: beside drop-and-retrain on the cells above, and for
the other quantities on all cells where one row in five is poisoned, three seeds of SST-2 among them
(page [Results](results.md)). What it misses comes first (points, unless it says %).

"""
NEAREST = """\
Who wins where; [What other repairs do](../notebooks/12_other_repairs.ipynb) looks for the reasons:

"""
DETECTED = """\
## Detectors

*AUROC* says how well the scores part poisoned from clean training rows (0.5 is chance), *caught*
which share of the poisoned rows is flagged, *wrongly* which share of the clean ones. Methods that
ask a model ten times or more about a row get a random sample of 500 rows. `content`, `wording`,
`association` and `probe` are parts of `bedkd`.

"""
FEW = """\
## Few poisoned rows

Where one training row in a hundred is poisoned, no line through scores of single rows shows it, and
`cycles` found neither of two such attacks ([When it fails](../notebooks/10_when_it_fails.ipynb)).
Our default asks for an *association* there: words that go with a label more often than the
content of their rows explains, confirmed by what they do to other texts. All methods below share
its flagged rows; the files of the others are in `results/few-rows/`. Insertions alone were
compared, with one seed.

"""
HONEST = """\
### Models without a backdoor

The right verdict is "no evidence". Below, "backdoor suspected" is a false alarm.

"""


def cell_name(record: dict) -> str:
    cell = record["cell"]
    rate = "" if cell["rate"] in (0.0, 0.2) else f", {100 * cell['rate']:g} %"
    return f"{NAMES[cell['dataset']]}, {NAMES[cell['attack']]}{rate}, seed {cell['seed']}"


def compared(folder: Path = FOLDER) -> dict[str, dict[str, dict]]:
    """Records by cell and preset: the cells on which the yardstick was measured."""
    found: dict[str, dict[str, dict]] = {}
    for preset in (*OURS, *RIVALS):
        for record in load(f"defended-{preset}", folder.parent if preset == "default" else folder):
            found.setdefault(cell_name(record), {})[preset] = record
    return {name: records for name, records in sorted(found.items()) if YARDSTICK in records}


def repair_row(preset: str, record: dict) -> list[str]:
    after, target = record["defended"], str(record["task"]["target"])
    row = [f"**`{preset}`**" if preset in OURS else f"`{preset}`"]
    row.append(beside(share(after, "asr"), share(after, "asr_floor")))
    row.append(beside(share(after, "racc"), share(after, "racc_ceiling")))
    classes = [share(after, key, target) for key in ("racc_by_class", "racc_ceiling_by_class")]
    row.append("–" if None in classes else beside(*classes))
    row.append(beside(share(after, "cacc"), share(after, "cacc_reference")))
    ftr = record.get("ftr")
    row.append(beside(share(ftr, "purified"), share(ftr, "reference")) if ftr else "–")
    row.append(f"{record['report']['cpu_seconds'].get('repair', 0):.0f}")
    memory = record.get("peak_mb", {}).get("repair")
    return [*row, "–" if memory is None else f"{memory:.0f}"]


def against(ours: dict, theirs: dict) -> dict[str, float | None]:
    """A repair beside the yardstick on one cell, in points and per cent."""
    after, yard, label = ours["defended"], theirs["defended"], str(ours["task"]["target"])
    spent = [run["report"]["cpu_seconds"]["repair"] for run in (ours, theirs)]

    def apart(one: tuple, other: tuple) -> float | None:
        values = share(*one), share(*other)
        return None if None in values else 100 * (values[0] - values[1])

    return {
        "distance": distance(ours),
        "asr": apart((after, "asr"), (after, "asr_floor")),
        "ceiling": apart((after, "racc_ceiling"), (after, "racc")),
        "racc": apart((after, "racc"), (yard, "racc")),
        "cacc": apart((after, "cacc"), (yard, "cacc")),
        "target": apart((after, "racc_ceiling_by_class", label), (after, "racc_by_class", label)),
        "seconds": spent[0],
        "price": 100 * spent[0] / spent[1],
        "clean": 100 - 100 * share(ours["detection"], "precision"),
    }


def summary(cells: dict[str, dict[str, dict]]) -> str:
    """Means over the cells that have every method which is named."""
    methods = [m for m in (*OURS, *RIVALS) if all(m in records for records in cells.values())]
    header = ["repair", "distance", "ASR above floor", "RACC below ceiling", "RACC against retrain"]
    header += ["CACC against retrain", "CPU s", "of retrain's"]
    rows = []
    for method in methods:
        found = [against(records[method], records[YARDSTICK]) for records in cells.values()]
        name = f"**{method}**" if method in OURS else method
        kinds = ("distance", "asr", "ceiling", "racc", "cacc")
        row = [name, *(spread_text([one[kind] for one in found]) for kind in kinds)]
        seconds, price = (np.mean([one[kind] for one in found]) for kind in ("seconds", "price"))
        rows.append([*row, f"{seconds:.0f}", f"{price:.0f} %"])
    rows.sort(key=lambda row: float(row[1].split(" ")[0]))
    said = f"Over {len(cells)} cells, in points, mean ± standard deviation; the nearest first.\n\n"
    return said + table(header, rows) + "\n"


def distance(record: dict) -> float:
    """How far a repair ends from the model that was never poisoned, points: ASR from its floor,
    on either side, and RACC from its ceiling."""
    after = record["defended"]
    asr = share(after, "asr") - share(after, "asr_floor")
    return 100 * (abs(asr) + abs(share(after, "racc_ceiling") - share(after, "racc")))


def asked(cells: dict[str, dict[str, dict]]) -> str:
    """The limits of a default beside what ours measured, the missed ones first."""
    both = [
        against(records["default"], records[YARDSTICK])
        for records in cells.values()
        if "default" in records
    ]
    ours = [against(one, one) for one in usual_rate()]

    def every(kind: str) -> list[float]:
        found = both if kind in ("racc", "cacc", "price") else ours
        return [one[kind] for one in found if one[kind] is not None]

    limits = [
        ("ASR above its floor, mean", 2, np.mean(every("asr"))),
        ("ASR above its floor, worst cell", 6, max(every("asr"))),
        ("RACC below drop-and-retrain's, mean", 1, -np.mean(every("racc"))),
        ("target class below its ceiling, worst cell", 8, max(every("target"), default=0)),
        ("clean accuracy below drop-and-retrain's, mean", 1, -np.mean(every("cacc"))),
        ("seconds of the repair, % of drop-and-retrain's, mean", 33, np.mean(every("price"))),
        ("clean rows among the flagged, %, mean", 5, np.mean(every("clean"))),
        ("clean rows among the flagged, %, worst cell", 8, max(every("clean"))),
    ]
    lines = [
        [what, f"≤ {limit}", f"{value:.1f}", "yes" if value <= limit else "**no**"]
        for what, limit, value in limits
    ]
    lines.sort(key=lambda line: line[3] == "yes")
    said = ASKED + table(["quantity", "asked", "measured", "met"], lines) + "\n"
    return said + price(cells) + "\n"


def usual_rate() -> list[dict]:
    """All cells of our default at the usual poison rate, whether or not a rival was measured; texts
    as they were released."""
    runs = load("defended-default", FOLDER.parent)
    return [r for r in runs if r["cell"]["rate"] == 0.2 and not r["cell"].get("normalise")]


def price(cells: dict[str, dict[str, dict]]) -> str:
    """What the seconds of our default depend on, in a sentence."""
    by_passes: dict[int, list[float]] = {}
    for records in cells.values():
        if "default" in records:
            passes = len(records["default"]["report"]["repair_history"])
            found = against(records["default"], records[YARDSTICK])
            by_passes.setdefault(passes, []).append(found["price"])
    parts = [
        f"{np.mean(prices):.0f} % of drop-and-retrain's seconds with {count} "
        f"pass{'' if count == 1 else 'es'} (cells: {len(prices)})"
        for count, prices in sorted(by_passes.items())
    ]
    return (
        f"Its price is {' and '.join(parts)}. A pass goes over a fixed number of rows at most, and "
        "drop-and-retrain over all: the larger the training set, the smaller the share.\n"
    )


def nearest(cells: dict[str, dict[str, dict]]) -> str:
    """Which repair ends nearest to the model that was never poisoned, cell by cell."""
    shown, lines = ("default", YARDSTICK), []
    for name, records in cells.items():
        if shown[0] not in records:
            continue
        by = {method: distance(record) for method, record in records.items()}
        best = min(by, key=by.get)
        lines.append([name, str(len(by)), best, *(f"{by[m]:.1f}" for m in (best, *shown))])
    header = ["cell", "repairs", "nearest", "its distance", *shown]
    return NEAREST + table(header, lines) + "\n"


def repairs() -> str:
    cells = compared()
    if not cells:
        return REPAIRED + NOTHING
    said = REPAIRED + summary(cells) + asked(cells) + nearest(cells)
    for data in dict.fromkeys(name.split(",")[0] for name in cells):
        part = {name: records for name, records in cells.items() if name.split(",")[0] == data}
        said += f"### {data}\n\n" + (summary(part) if len(part) > 1 else "") + each(part, "####")
    return said


def few_rows() -> str:
    cells = compared(FEW_FOLDER)
    return FEW + (each(cells, "###") or NOTHING)


def each(cells: dict[str, dict[str, dict]], level: str) -> str:
    """A table of repairs for each cell, under headings of this level."""
    header = ["repair", "ASR (floor)", "RACC (ceiling)", "target class (ceiling)"]
    header += ["CACC (reference)", "FTR (reference)", "CPU s", "MB"]
    said = ""
    for name, records in cells.items():
        rows = [repair_row(m, records[m]) for m in (*OURS, *RIVALS) if m in records]
        before = next(iter(records.values()))["undefended"]
        said += (
            f"{level} {name}\n\nBefore any repair ASR is {100 * share(before, 'asr'):.1f}, RACC "
        )
        said += f"{100 * share(before, 'racc'):.1f}. Detection flagged "
        found = records[YARDSTICK]  # `cycles` has a detection of its own
        precision, recall = (100 * share(found["detection"], k) for k in ("precision", "recall"))
        said += (
            f"{found['report']['flagged']} rows, of which {precision:.1f} % are poisoned; these "
        )
        said += f"are {recall:.1f} % of the poisoned rows."
        floor = share(found["defended"], "asr_floor")
        others = [m for m, r in records.items() if share(r["defended"], "asr_floor") != floor]
        if others:
            names = ", ".join(f"`{name}`" for name in others)
            said += f" With another floor, on an earlier victim of the same settings: {names}."
        said += "\n\n"
        said += table(header, rows) + "\n"
    return said


def detectors() -> str:
    found: dict[str, dict[str, dict]] = {}
    for name in DETECTORS:
        for record in load(f"detected-{name}", FOLDER):
            found.setdefault(cell_name(record), {})[name] = record
    said, honest = DETECTED, []
    for cell, records in sorted(found.items()):
        rows = []
        for name, record in records.items():
            quality, report = record["detection"], record["report"]
            verdict, seconds = report["verdict"], f"{record['costs']['cpu_seconds']:.0f}"
            p = report["p_value"]
            p = "–" if p is None else f"{p:.2g}"
            if quality["auroc"] is None:
                honest.append([cell, f"`{name}`", verdict, p, str(report["flagged"])])
                continue
            row = [f"`{name}`", str(report["rows"]), f"{quality['auroc']:.3f}"]
            row += [f"{100 * share(quality, key):.1f}" for key in ("recall", "frr")]
            rows.append([*row, verdict, p, seconds])
        if rows:
            header = ["detector", "rows", "AUROC", "caught, %", "wrongly, %", "verdict", "p"]
            rows.sort(key=lambda row: -float(row[2]))
            said += f"### {cell}\n\n" + table([*header, "CPU s"], rows) + "\n"
    if honest:
        said += HONEST + table(["model", "detector", "verdict", "p", "flagged"], honest) + "\n"
    return said if found else DETECTED + NOTHING


def page() -> str:
    """The whole page as Markdown."""
    parts = (INTRODUCTION, PROTOCOL, tried(), repairs(), few_rows(), detectors())
    return "".join(parts).rstrip("\n") + "\n"


if __name__ == "__main__":
    write_or_check(PAGE, page(), __doc__)
