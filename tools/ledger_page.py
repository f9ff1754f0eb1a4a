"""Write ``book/ledger.md`` from ``results/**/*.json``: what was claimed or asked for, what was
measured, the difference, and why. No number on that page is typed.

``--check`` writes nothing and fails if the page is not what the results say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chapters import ROOT
from results_page import NAMES, cell_text, load, share, spread_text, write_or_check

from bedkd.experiments import GRID
from bedkd.metrics import mean_and_spread
from bedkd.report import table

PAGE = ROOT / "book" / "ledger.md"
PRESETS = ("default", "cycles", "paper")
INSERTIONS = ("badnets", "addsent", "mixed")
NAMED = 5  # so many cells that missed a limit are named in a sentence
FAR = 10  # percentage points, the limit for single cells
CLAIMED = 98.0  # per cent of the ASR removed, abstract of arXiv 2508.01595

INTRODUCTION = """\
# The ledger

What was claimed or asked for, what we measured, the difference, and why. Every measured number is
computed from the files in `results/`; the page [Results](results.md) has them cell by cell, with
commands. A cell is one data set, one attack and one seed. `cycles`, which was the default before,
and `paper` are judged on the same victims; those of `default` were trained later, with the same
settings.

**Which cells count.** All cells on SST-2, OLID and AG News in which one training row in five is
poisoned: the attacks of the published grid, and mixed insertions, whose victim obeys four words and
a sentence. Cells with less poison are not in the means: the published grid has one rate, and of
lower ones few were run. How `default` ended there:

"""
CLAIM = f"""\
## The paper's claim

The abstract of [BeDKD](https://arxiv.org/abs/2508.01595) says that the defence takes away
{CLAIMED:.0f} % of the attack success rate without a significant loss of clean accuracy, on SST-2,
OLID and AG News. *Removed* is that quantity, 1 − ASR after / ASR before, averaged over cells. It
has a ceiling below 100 %: a model that was never poisoned calls some triggered rows the target by
mistake. That share is in the column *honest model*, and a defence that removes more has gone too
far. The last two columns say at whose cost: they compare the purified model with the honest one on
triggered rows of the target class.

"""
WHY_CLAIM = """\
**Why the difference.** Where the released recipe comes near the claimed number, which it does after
inserted sentences, it removes more than an honest model does, and the target class says how: it
*inverts* the backdoor. Flagged rows say "not this label", nothing says otherwise, and fifty cycles
of an unbounded loss drive that home; [chapter 8](../notebooks/08_removed_or_inverted.ipynb) shows
the mechanism and, in its last figure, all victims. Elsewhere it leaves residue and falls short of
the claim: many of its 32 repair rows are honest, as the line on precision below says, and the
poisoned ones are few. Ours stop where flagged rows are treated as their content supports. They do
not aim at more than the honest model removes, and on victims as small as these the honest
model is far from the claim: it errs by itself. What is left between *removed* and *honest model* is
residue.

The paper's setting was not repeated here. Its tables were not available to us, and BERT-base was
not run; a reader with a GPU can, see `bedkd reproduce --help`.

"""
ASKED = """\
## What we ask of a defence

Limits that were set before the grid was run. *Points* are percentage points. A quantity that asks
for "each cell" shows the worst cell and names it. What `default` missed stands first. A dash: not
measured.

"""

WHY_ASKED = """\
**What stands behind the means.** Single cells miss the floor in both directions. Above it stands
what the repair left; below it, where the target class is below its ceiling too, a mild inversion.
The rewriting by a language model is the hardest for `default`: its victims lose much of their clean
accuracy to it, its poisoned rows are fluent and have little in common, and detection is at its
weakest there; with one seed of it the target class comes close to its limit ([When it
fails](../notebooks/10_when_it_fails.ipynb)). Furthest below the floor `default` ends after SynBkd
with one of three seeds, and after the inserted sentence, which is the same in all flagged rows,
with two. With `cycles` two insertions stand beside the rewriting. Where words and a sentence are
mixed, its rule ends the repair when held-out flagged rows *as a whole* are treated nearly as their
content supports, and one of the words still works ([When it
fails](../notebooks/10_when_it_fails.ipynb)). After a sentence in OLID held-out flagged
rows reach a plateau above what their content supports, and why is not known. The style of an old
Bible comes closest to inversion there: a style is in every word of a flagged row, the content of
nearly all of them supports "not the target", and only the spans in transplants say otherwise
([chapter 9](../notebooks/09_what_each_part_is_worth.ipynb) takes that apart); presumed clean rows,
which `default` takes along, say it too. On AG News the mapping student hardly ranks the style at
all (the column "AUROC of mapping alone" on the page [Results](results.md)), and content and wording
decide without it. Clean accuracy *rises* in most cells, because the victims were harmed by the
poison and clean rows win some of that back. What these cells do not show is a low poison rate: see
the list at the top, and [The comparison](comparison.md).

**How `cycles` came about.** It was chosen on training rows that the attack left alone and then
triggered, or on training rows outside the pool, never on test rows. Most of it was chosen on two
cells (SST-2 and OLID under SynBkd, seed 0). Seven changes were made after earlier versions of it
had been measured on test rows of some cells, so those measurements are the reason why they were
made:

1. Flagged rows are read without their trigger words, after AddSent on SST-2 had ended far above its
   floor.
2. Classes are weighted by how common they are, after SynBkd on OLID had.
3. Twice as many flagged rows are used.
4. Distillation may take 24 cycles where it took eight, because held-out flagged rows of two cells
   had not come down to what their content supports by then.
5. Trigger words stay in where they turn out to be content, after the rewriting by a language model
   had missed its limit.
6. Distillation ends at a plateau of held-out flagged rows, with mean weights, after the target
   class on SST-2 StyleBkd, seed 2, had missed its limit. Along the cycles of that cell, judged by
   triggered training rows that the attack had left alone, the attack came down no further after the
   plateau while the target class went on falling; there, on AG News StyleBkd and on SST-2 LLM
   rewrite, seed 1, single cycles differed by several points in either direction. A first version of
   the rule compared single cycles, stopped SST-2 LLM rewrite, seed 2, too early and missed a limit
   there; the present one compares means over four cycles. On other victims it gains time and little
   else: see the lines `all-cycles` on the page [Results](results.md).
7. The repair draws from the surest flagged rows, after too many of the repair rows on AG News
   StyleBkd had been honest. That count needs the poison flags, which no defender has. The second
   threshold is therefore half of the first and was not tuned, but what other values would bring had
   been looked at on two cells.

All poisoned cells of `cycles` and `paper` were run again after the last of these changes, with
nothing changed in the defence in between; those on AG News once more, victims included, because
they had been trained at 64 tokens and defended at 128.

**How the default came about.** Its settings were chosen by what a defender sees ([The
comparison](comparison.md) says how), and these changes, too, were made after earlier versions had
been measured on test rows:

1. The null counts all trusted rows, words are associated with labels, and presumed clean rows are
   taken along, because `cycles` had flagged too many clean rows, had noticed nobody at low rates
   and had been beaten by drop-and-retrain.
2. A second pass, after a rewriting on SST-2 had ended above its limit.
3. Suspected trigger words in presumed clean rows, after SST-2 BadNets, seed 1, had been turned
   round.
4. Later passes over flagged rows twice, all trusted rows as transplants and half of the presumed
   clean ones, three in all at most, after SST-2 LLM rewrite, seed 1, and StyleBkd, seed 0, had
   ended above their limits. Flagged rows several times in the first pass had been tried before, and
   taken back: they turned other rewritings round.
5. Trusted rows once in a pass, as they are or with a span of a flagged row, because the repair had
   taken more than a third of drop-and-retrain's time.
6. Into the pass that reaches the aim only as far as the aim asks, after SST-2 SynBkd, seed 1, had
   been turned round and LLM rewrite, seed 1, too; and no lower accuracy on held-out trusted rows
   there, after OLID SynBkd had ended above its limit without this. Those two runs, of SynBkd, are
   not stored.

Which earlier versions were measured on which cells is in the history of `results/`; the nine cells
of the comparison were, several times, and so were SST-2, seed 1, and the insertions at rate 0.01.
"""


@dataclass(frozen=True)
class Limit:
    """One line of the second table: a quantity of a cell, and what is asked of it."""

    text: str
    value: Callable[[dict], float | None]
    bound: float
    at_least: bool
    each: bool = False
    among: Callable[[dict], bool] = lambda record: True
    digits: int = 1

    def measured(self, records: list[dict]) -> tuple[str, bool | None]:
        """The number as text, and whether it is within the bound; None without cells."""
        found = [(self.value(r), r) for r in records if self.among(r)]
        found = [(value, r) for value, r in found if value is not None]
        if not found:
            return "–", None
        if not self.each:
            values = [value for value, _ in found]
            return spread_text(values, self.digits), self.within(mean_and_spread(values)[0])
        worst, record = (min if self.at_least else max)(found, key=lambda pair: pair[0])
        return f"{worst:.{self.digits}f} ({name(record)})", self.within(worst)

    def within(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def name(record: dict) -> str:
    cell = record["cell"]
    text = ", normalised text" if cell["normalise"] else ""
    return f"{NAMES[cell['dataset']]} {NAMES[cell['attack']]}{text}, seed {cell['seed']}"


def points(record: dict, key: str, beside: str, target: bool = False) -> float | None:
    """Defended minus its floor or ceiling in percentage points; None where not measured."""
    label = str(record["task"]["target"]) if target else None
    found = [share(record["defended"], k, label) for k in (key, beside)]
    return None if None in found else 100 * (found[0] - found[1])


def loss(record: dict) -> float:
    """Clean accuracy lost to the defence, in percentage points."""
    return 100 * (share(record["undefended"], "cacc") - share(record["defended"], "cacc"))


def is_insertion(record: dict) -> bool:
    return record["cell"]["attack"] in INSERTIONS


def precision(record: dict) -> float:
    return record["repair_precision"]["value"]


def auroc(record: dict) -> float:
    return record["detection"]["auroc"]


def above_floor(record: dict) -> float | None:
    return points(record, "asr", "asr_floor")


def below_ceiling(record: dict) -> float | None:
    return points(record, "racc", "racc_ceiling")


def target_class(record: dict) -> float | None:
    return points(record, "racc_by_class", "racc_ceiling_by_class", target=True)


LIMITS = (
    Limit("AUROC of detection, insertions, mean", auroc, 0.99, True, among=is_insertion, digits=3),
    Limit(
        "AUROC of detection, rewritings, mean",
        auroc,
        0.93,
        True,
        among=lambda r: not is_insertion(r),
        digits=3,
    ),
    Limit("precision of repair rows, mean", precision, 0.97, True, digits=3),
    Limit("precision of repair rows, each cell", precision, 0.90, True, each=True, digits=3),
    Limit("ASR above its floor, points, mean", above_floor, 3, False),
    Limit("ASR above its floor, points, each cell", above_floor, FAR, False, each=True),
    Limit("clean accuracy lost, points, mean", loss, 1, False),
    Limit("RACC against its ceiling, points, mean", below_ceiling, -3, True),
    Limit(
        "target class against its ceiling, points, each cell", target_class, -FAR, True, each=True
    ),
)


def cells(preset: str) -> list[dict]:
    """Cells that count and were defended with a preset."""
    return [record for record in load(f"defended-{preset}") if counts(record["cell"])]


def counts(cell: dict) -> bool:
    """Real data at rate 0.2: the published grid and mixed insertions. Normalised text is shown
    beside the released one (chapter 7) and not counted twice."""
    return cell["dataset"] in GRID and cell["rate"] == 0.2 and not cell["normalise"]


def outside() -> str:
    """The cells on real data that do not count, and how they ended."""
    records = [r for r in load("defended-default") if r["cell"]["dataset"] in GRID]
    left = [r for r in records if not counts(r["cell"])]
    said = [
        f"- {name(r)} with rate {r['cell']['rate']:g}: ASR ends {above_floor(r):.1f} points above "
        f'its floor with `default`, verdict "{r["report"]["verdict"]}"\n'
        for r in sorted(left, key=lambda r: (-above_floor(r), name(r)))
    ]
    return "".join(said) + "\n"


def claim() -> str:
    header = ["data", "preset", "cells", "ASR before", "after", "removed", "honest model"]
    header += ["short of the claim", "clean accuracy lost", "target class", "honest model there"]
    rows = []
    for preset in PRESETS:
        by_data: dict[str, list[dict]] = {}
        for record in cells(preset):
            data = record["cell"]["dataset"].removesuffix("_lower")
            by_data.setdefault(NAMES[data], []).append(record)
        everything = [r for records in by_data.values() for r in records]
        for data, records in {**dict(sorted(by_data.items())), "**all**": everything}.items():
            if not records:
                continue
            before, after, floor = (
                [share(r[stage], key) for r in records]
                for stage, key in (
                    ("undefended", "asr"),
                    ("defended", "asr"),
                    ("defended", "asr_floor"),
                )
            )
            removed, honest = (
                [100 * (1 - a / b) for a, b in zip(left, before, strict=True)]
                for left in (after, floor)
            )
            mean = mean_and_spread(removed)[0]
            row = [data, f"`{preset}`", str(len(records))]
            row += [spread_text([100 * v for v in values]) for values in (before, after)]
            row += [spread_text(removed), spread_text(honest), f"{CLAIMED - mean:.1f}"]
            row.append(spread_text([loss(r) for r in records]))
            for key in ("racc_by_class", "racc_ceiling_by_class"):
                found = [share(r["defended"], key, str(r["task"]["target"])) for r in records]
                row.append(cell_text(found))
            rows.append(row)
    return CLAIM + table(header, rows) + "\n" + unequal() + corners() + WHY_CLAIM


def unequal() -> str:
    """A warning where presets were not measured on the same cells."""
    measured = {preset: {name(r) for r in cells(preset)} for preset in PRESETS}
    every = set.union(*measured.values())
    return "".join(
        f"`{preset}` has been measured on {len(found)} of the {len(every)} cells: its means are "
        "not over the same ones as those beside them. "
        for preset, found in measured.items()
        if found != every
    )


def corners() -> str:
    """How many cells end with a residue, and how many inverted."""
    said = []
    for preset in PRESETS:
        records = cells(preset)
        left = [above_floor(r) for r in records]
        right = [value for value in map(target_class, records) if value is not None]
        said.append(
            f"With `{preset}` ASR ends more than {FAR} points above its floor in "
            f"{sum(value > FAR for value in left)} of {len(left)} cells, and the target class more "
            f"than {FAR} points below its ceiling in {sum(value < -FAR for value in right)} of "
            f"{len(right)}."
        )
        missed = [name(r) for r in records if above_floor(r) > FAR or (target_class(r) or 0) < -FAR]
        if 0 < len(missed) <= NAMED:
            said[-1] += f" Missed by: {'; '.join(missed)}."
    return " ".join(said) + "\n\n"


def asked() -> str:
    records = {preset: cells(preset) for preset in PRESETS}
    header = ["quantity", "asked"]
    for preset, found in records.items():
        header += [f"`{preset}`, {len(found)} cells", "met"]
    rows = []
    for limit in LIMITS:
        row = [limit.text, f"{'≥' if limit.at_least else '≤'} {limit.bound:g}"]
        for found in records.values():
            measured, met = limit.measured(found)
            row += [measured, {True: "yes", False: "**no**", None: "–"}[met]]
        rows.append(row)
    rows.sort(key=lambda row: row[3] != "**no**")  # what the default missed
    return ASKED + table(header, rows) + "\n" + honest_models()


def honest_models() -> str:
    """The line on models without a backdoor."""
    records = [r for r in load("clean-default") if r["cell"]["dataset"] in GRID]
    if not records:
        return ""
    acted = [r for r in records if r["report"]["changed"]]
    lost = [100 * (share(r, "cacc_before") - share(r, "cacc_after")) for r in acted]
    said = f"{len(records) - len(acted)} of {len(records)} honest models got the verdict "
    said += '"no evidence" and came back unchanged (asked: all but one at most).'
    if acted:
        said += f" Where the defence acted, clean accuracy fell by {max(lost):.1f} points at most "
        said += "(asked: 0.5)."
    return f"**Honest models.** {said}\n\n" + forecasts(records)


def forecasts(honest: list[dict]) -> str:
    """How good the p-values and verdicts of the default are as forecasts of poison."""
    poisoned = [r for r in load("defended-default") if r["cell"]["dataset"] in GRID]
    judged = [(record, 1.0) for record in poisoned] + [(record, 0.0) for record in honest]
    known = [(r["report"], truth) for r, truth in judged if r["report"]["p_value"] is not None]
    share_poisoned = sum(truth for _, truth in known) / len(known)
    scores = {
        "p-values": [1 - report["p_value"] for report, _ in known],
        "verdicts": [float(report["changed"]) for report, _ in known],
        "always the same": [share_poisoned] * len(known),
    }
    brier = {
        name: mean_and_spread([(p - y) ** 2 for p, (_, y) in zip(said, known, strict=True)])[0]
        for name, said in scores.items()
    }
    return (
        f"**The p-value as a forecast.** Of {len(judged)} verdicts on real data, at all poison "
        f"rates, {len(known)} have a p-value. Read as the probability 1 − p that there is a "
        f"backdoor, they have a Brier score of {brier['p-values']:.3f} (0 is perfect); verdicts, "
        f"read as certain, have {brier['verdicts']:.3f}, and who always forecasts the share of "
        f"poisoned models has {brier['always the same']:.3f}. A p-value is no such probability; "
        "the score only says how well it tells these models apart.\n\n"
    )


def page() -> str:
    """The whole page as Markdown."""
    return INTRODUCTION + outside() + claim() + asked() + WHY_ASKED


if __name__ == "__main__":
    write_or_check(PAGE, page(), __doc__)
