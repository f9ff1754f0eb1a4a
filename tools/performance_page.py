"""Write ``book/performance.md`` from ``results/performance/*.json``. No number on it is typed.

``--check`` writes nothing and fails if the page is not what the results say.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict

import numpy as np
from chapters import ROOT
from results_page import NAMES, spread_text, write_or_check

from bedkd.case import SCANNED
from bedkd.plan import COPIES
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
    "cycles": "`cycles`, the default before",
    "frozen-embeddings": "`cycles`, token embeddings frozen in the repair",
    "retrain": "detect, drop and retrain",
}
SPEED = """\
## The recipe as it was released, and ours

All start from the same victim and the same rows, in one run, on one core, training in single
precision. *The recipe as it was released* is plain PyTorch (`benchmarks/released_recipe.py`):
random batches padded to their longest row, the teacher asked at every step, 20 epochs of mapping,
50 cycles, the state after the last one. It gives no verdict. *In our loop* it has batches of
similar length, a teacher that answers once, and our corrections; our other ways also gather
evidence from content and wording, and judge. `default` was timed before it planted words in
presumed clean rows and read fewer flagged rows again without their trigger words, and both of ours
before the last stage compared the models on a sample of the rows instead of on all. Seconds are
processor time, which on one core is wall-clock time as long as nothing else runs. The last row says
how the victim does before; of an unpoisoned model ASR is the floor and RACC the ceiling, in
brackets.

"""
# What is compared, with what, and how many times less processor time was asked for.
AIMS = (
    ("default", "released", 8),
    ("default", "paper", 3),
    ("default", "retrain", None),
    ("cycles", "released", None),
    ("cycles", "paper", None),
)
SUMMARY = """\
### All cells together

How many times less processor time one way takes than another, detection included, over
{cells} cells; in brackets the least of them. *Asked* is what we had set ourselves for the default.

{table}
Of the seconds of the default detection takes {detection} %, the repair {repair} %, and the
comparison of the model before and after {outcome} %. The repair alone takes {times} times less than
that of the recipe in our loop. Our detection does what the recipe as released leaves out: that
scans only until it has 128 hits, asks neither content nor wording, and gives no verdict; ours reads
every row with suspect and student, and once more with a sentence encoder of six layers.{inverted}

"""
INVERTED = """ And what the fast or slow way buys is not the same: the recipe as released ends with
the trigger turned round, an ASR far below its floor and a RACC near one half, on every one of these
cells."""
PRICE_OF_FREEZING = """\
**Frozen token embeddings.** In a small model most weights are token embeddings. Leaving them as
they are (`AdversarialDistillation(frozen_embeddings=True)`) changes the seconds of the repair of
`cycles` by {seconds} %. It is meant to save memory, a gradient, two moments and the copies of most
weights; how much was not measured. After it ASR is {asr} points away from that with trained ones,
RACC {racc} and CACC {cacc} (means over {cells} cells; above 0: higher with frozen ones).

"""
RATE = """\
## How much of the machine is used

Of the rate at which this core multiplies large square matrices in single precision, the share that
reaches tokens that are not padding (`benchmarks/rate.py`; {rows:,} sentences of SST-2, {layers}
layers of MiniLM, three rounds):

{table}
Batches of similar length compute {sorted} token positions for {tokens} tokens, random batches of 16
in file order {random}. That is all there is to win on short sentences: the scan reads {faster}
times as many rows a second as with random batches, and could not read more than {most} times as
many as it does if not one position were padding and nothing but matrix products took time. The time
of training goes to {profile}.

"""
GROWTH = """\
## How it grows

Commands in a process of their own, an untrained model, `--detector dmm --config quick`: the scan
and a short mapping. Seconds are processor time; memory is what the process holds for itself. The
slope is that of a line through logarithms: 1 means twice the seconds for twice the size. What a
thousand rows and the tiny model take, imports above all, is taken off first.

"""
SERIES = {
    "rows": ("rows", "a model of one layer, 64 wide, embedded reviews"),
    "layers": ("layers", "1,000 texts of 24 words, MiniLM's width"),
    "tokens": ("words a text", "1,000 texts, three layers of MiniLM's width"),
}
RESUMED = """\
**Killed and resumed.** {rows:,} rows: the command was killed with -9 when {parts} of the {of} parts
of its scan were written, and typed once more. Scores and flags were {same} those of a run that
nothing interrupted; that run took {whole} processor seconds, the two others {killed} and {rest}.

"""
WHOLE = """\
**The whole way.** {rows:,} embedded reviews, {poisoned:,} of them poisoned (BadNets), a victim of
one layer that was trained on a twelfth of them, all of `bedkd purify` with the preset `cycles`, in
one process: {seconds} processor seconds ({stages}), {memory} MB. The run is about size, not about
its outcome: {flagged:,} rows flagged, of which {wrong} % are clean where 5 % are promised, and
{missed:,} poisoned rows missed; ASR {asr} before and {asr_after} after, RACC {racc} and
{racc_after}, CACC {cacc} and {cacc_after}. What is behind these shares was not looked into.

"""
PLAN = """\
## On paper: 7 billion parameters, 10 million rows, 8 devices

No such machine was at hand. From the counts above: a text of {tokens} tokens costs 2 × {tokens} ×
parameters operations a pass, and rows cost in proportion to their number. Detection asks suspect
and student once, the outcome of a repair both once more. Predictions are in single precision, as
ranks need it; a device is taken to do {peak} TFLOP/s in it (H100), at the share measured above, and
to cost {price} dollars an hour (an assumption).

| | |
| --- | --- |
| operations of four passes | {operations} |
| hours on 8 devices | {hours} |
| dollars | {dollars} |
| memory of a device: weights in single precision | {weights} GB |
| the same with a copy for every role, without LoRA | {copies} GB |
| reading and tokenising on the CPU, each process | {reading} h |

A model has to fit on one device: nothing here cuts it up. Training is small beside the scan, some
hundred rows a few dozen times, and is repeated by every process ([Scaling out](scaling_out.md)).
What is counted here and not measured is the devices' share of their rate.

"""
PEAK, PRICE, PLAN_TOKENS, PLAN_ROWS, PLAN_WEIGHTS = 67e12, 2.5, 40, 1e7, 7e9
OWED = """\
## Owed

The same tables on a GPU, with device events, for six layers, three seeds and a decoder of full
depth: no GPU was at hand. The ways on rewriting attacks, which take as many passes over as
many rows. One command a cell measures them, such as

```bash
python benchmarks/speed.py --dataset sst2 --attack badnets --layers 6 --repeats 3
```

"""


def records(kind: str) -> list[dict]:
    """The stored measurements whose file names match, in the order of their names."""
    files = sorted(FOLDER.glob(f"{kind}.json"))
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
        seconds = [run["parts"] for run in runs[way] if run["parts"]]
        stages = ("detection", "repair", "outcome")
        parts = " + ".join(spread_text([part[s] for part in seconds], 0) for s in stages)
        row = [name, spread_text(spent[way], 0), parts if seconds else "–"]
        row.append(spread_text(ratios) if ratios else "–")
        for key in ("asr", "racc", "cacc"):
            row.append(spread_text([100 * run["after"][key] for run in runs[way]]))
        rows.append(row)
    before = record["victim"]
    beside = (("asr", "asr_floor"), ("racc", "racc_ceiling"), ("cacc", "cacc_reference"))
    shares = [f"{100 * before[key]:.1f} ({100 * before[other]:.1f})" for key, other in beside]
    rows.append(["*before*", "", "", "", *shares])
    cell, seed = record["cell"], record["seed"]
    title = f"### {NAMES[cell['dataset']]}, {NAMES[cell['attack']]}, seed {seed}\n\n"
    header = ["way", "CPU s", "detect + repair + compare", "times less"]
    header += ["ASR", "RACC", "CACC"]
    return f"{title}{table(header, rows)}\n{record['device']}. `{record['command']}`\n\n"


def turned_round(record: dict) -> bool:
    """Whether after the recipe as released the trigger means "not the target"."""
    ends = [run["after"] for run in record["runs"] if run["way"] == "released"]
    floor = record["victim"]["asr_floor"]
    return all(end["asr"] < floor / 2 and abs(end["racc"] - 0.5) < 0.1 for end in ends)


def together(found: list[dict]) -> str:
    """Ratios over all cells against what was asked, and the price of frozen embeddings."""
    spent, after = {}, defaultdict(list)
    for cell, record in enumerate(found):
        for run in record["runs"]:
            spent[cell, run["way"], run["repeat"]] = run["cpu_seconds"]
    rows = []
    for way, beside, asked in AIMS:
        ratios = [
            spent[cell, beside, number] / seconds
            for (cell, name, number), seconds in spent.items()
            if name == way and (cell, beside, number) in spent
        ]
        if not ratios:
            continue
        met = "–" if asked is None else "yes" if np.mean(ratios) >= asked else "**no**"
        names = [WAYS[name].removeprefix("our ") for name in (way, beside)]
        times = f"{spread_text(ratios)} ({min(ratios):.1f})"
        rows.append([*names, times, str(asked or "–"), met])
    parts = defaultdict(lambda: defaultdict(list))
    runs = [run for record in found for run in record["runs"]]
    for run in runs:
        for stage, seconds in run["parts"].items():
            parts[run["way"]][stage].append(seconds)
        after[run["way"]].append([100 * run["after"][k] for k in ("asr", "racc", "cacc")])
    whole = {stage: sum(seconds) for stage, seconds in parts["default"].items()}
    repair = {way: np.array(stages["repair"]) for way, stages in parts.items()}
    text = SUMMARY.format(
        cells=len(found),
        table=table(["way", "against", "times less", "asked", "met"], rows),
        inverted=INVERTED if all(map(turned_round, found)) else "",
        times=spread_text((repair["paper"] / repair["default"]).tolist()),
        **{stage: f"{100 * s / sum(whole.values()):.0f}" for stage, s in whole.items()},
    )
    if "frozen-embeddings" in repair:
        change = np.subtract(after["frozen-embeddings"], after["cycles"]).mean(axis=0)
        seconds = 100 * (repair["frozen-embeddings"].sum() / repair["cycles"].sum() - 1)
        points = dict(zip(("asr", "racc", "cacc"), (f"{x:+.1f}" for x in change), strict=True))
        text += PRICE_OF_FREEZING.format(
            seconds=f"{seconds:+.0f}",
            cells=len(found),
            **points,
        )
    return text


def rate_section(record: dict) -> str:
    """Share of the matrix rate, and what a scan gains from batches of similar length."""
    shares, seconds = defaultdict(list), defaultdict(list)
    for run in record["runs"]:
        shares[run["way"]].append(100 * run["share"])
        seconds[run["way"]].append(run["seconds"])
    rows = [
        [way, spread_text(shares[way]), spread_text([record["rows"] / s for s in seconds[way]], 0)]
        for way in shares
    ]
    faster = [
        slow / fast
        for slow, fast in zip(seconds["scan in random batches"], seconds["scan"], strict=True)
    ]
    padded, most = record["padded_tokens"], 100 * len(shares["scan"]) / sum(shares["scan"])
    named = [f"`{name}` ({100 * part:.0f} %)" for name, part in list(record["profile"].items())[:5]]
    return RATE.format(
        rows=record["rows"],
        layers=record["layers"],
        table=table(["work", "share of the matrix rate, %", "rows a second"], rows),
        sorted=f"{padded['by length']:,}",
        random=f"{padded['random']:,}",
        tokens=f"{record['tokens']:,}",
        faster=spread_text(faster, 2),
        most=f"{most:.1f}",
        profile=", ".join(named[:-1]) + f" and {named[-1]}",
    )


def slope(runs: list[dict], key: str, fixed: float) -> float | None:
    """Exponent of growth of the seconds beyond ``fixed`` ones."""
    points = [(run[key], run["cpu_seconds"] - fixed) for run in runs]
    points = [(size, seconds) for size, seconds in points if seconds > 0]
    if len(points) < 2:
        return None
    return float(np.polyfit(*(np.log(axis) for axis in zip(*points, strict=True)), 1)[0])


def growth_section(found: dict[str, dict]) -> str:
    """Seconds and memory against rows, layers and tokens."""
    text = GROWTH
    fixed = found["rows"]["runs"][0]["cpu_seconds"] if "rows" in found else 0.0
    for key, (name, what) in SERIES.items():
        if key not in found:
            continue
        runs = found[key]["runs"]
        rows = [[f"{r[key]:,}", f"{r['cpu_seconds']:.0f}", f"{r['peak_mb']:.0f}"] for r in runs]
        grown = slope(runs, key, fixed)
        said = "" if grown is None else f"\nSlope: {grown:.2f}. {found[key]['device']}.\n"
        text += f"**{name.capitalize()}** ({what}).\n\n"
        text += table([name, "CPU s", "MB"], rows) + said + "\n"
    if "resume" in found:
        (run,) = found["resume"]["runs"]
        text += RESUMED.format(
            rows=run["rows"],
            parts=run["parts_before_the_kill"],
            of=math.ceil(run["rows"] / SCANNED),
            same="byte for byte" if run["same_bytes"] else "NOT",
            **{k: f"{run[k]['cpu_seconds']:.0f}" for k in ("whole", "killed", "rest")},
        )
    if "purify" in found:
        (run,) = found["purify"]["runs"]
        shares = {k: f"{100 * run['before'][k]:.1f} %" for k in ("asr", "racc", "cacc")}
        shares |= {f"{k}_after": f"{100 * run['after'][k]:.1f} %" for k in ("asr", "racc", "cacc")}
        text += WHOLE.format(
            rows=run["rows"],
            poisoned=run["poisoned"],
            flagged=run["flagged"],
            wrong=f"{100 * (1 - run['flagged_poisoned'] / run['flagged']):.0f}",
            missed=run["poisoned"] - run["flagged_poisoned"],
            stages=" + ".join(f"{name} {s:.0f}" for name, s in run["parts"].items()),
            seconds=f"{run['cpu_seconds']:.0f}",
            memory=f"{run['peak_mb']:.0f}",
            **shares,
        )
    return text


def plan_section(rate: dict, rows: dict) -> str:
    """Seconds, memory and cost that nobody has measured, from what was."""
    shares = [run["share"] for run in rate["runs"] if run["way"] == "scan"]
    operations = 4 * 2 * PLAN_TOKENS * PLAN_WEIGHTS * PLAN_ROWS
    hours = operations / (8 * PEAK * sum(shares) / len(shares)) / 3600
    first, last = rows["runs"][0], rows["runs"][-1]
    reading = (last["cpu_seconds"] - first["cpu_seconds"]) / (last["rows"] - first["rows"])
    return PLAN.format(
        tokens=PLAN_TOKENS,
        peak=f"{PEAK / 1e12:.0f}",
        price=PRICE,
        operations=f"{operations:.1e}",
        hours=f"{hours:.0f}",
        dollars=f"{8 * hours * PRICE:,.0f}",
        weights=f"{4 * PLAN_WEIGHTS / 1e9:.0f}",
        copies=f"{4 * COPIES * PLAN_WEIGHTS / 1e9:.0f}",
        reading=f"{reading * PLAN_ROWS / 3600:.1f}",
    )


def page() -> str:
    """The whole page as Markdown."""
    text = INTRODUCTION + SPEED
    text += "".join(map(speed, cells := records("speed-*"))) or "Not measured yet.\n\n"
    complete = [r for r in cells if WAYS.keys() <= {run["way"] for run in r["runs"]}]
    text += together(complete) if complete else ""
    rate = records("rate")
    grown = {record["command"].split()[-1]: record for record in records("growth-*")}
    if rate:
        text += rate_section(rate[0])
    if grown:
        text += growth_section(grown)
    if rate and "rows" in grown:
        text += plan_section(rate[0], grown["rows"])
    return (text + OWED).rstrip("\n") + "\n"


if __name__ == "__main__":
    write_or_check(PAGE, page(), __doc__)
