"""Write ``book/results.md`` from ``results/**/*.json``: no number on that page is typed.

``--check`` writes nothing and fails if the page is not what the results say.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

from chapters import ROOT

from bedkd.conditions import Conditions
from bedkd.experiments.detections import detector_settings
from bedkd.experiments.records import same
from bedkd.metrics import mean_and_spread
from bedkd.presets import PRESETS
from bedkd.purify import settings as purify_settings
from bedkd.repairs import REPAIRS
from bedkd.report import stored, table

PAGE = ROOT / "book" / "results.md"
NAMES = {
    "sst2": "SST-2",
    "olid": "OLID",
    "agnews": "AG News",
    "agnews_lower": "AG News (lower case)",
    "reviews": "embedded reviews",
    "badnets": "BadNets",
    "addsent": "AddSent",
    "synbkd": "SynBkd",
    "stylebkd": "StyleBkd",
    "llm": "LLM rewrite (BGM-like)",
    "combination": "word combination",
    "mixed": "mixed insertions",
    "covered": "BadNets with cover rows",
    "multi-target": "BadNets with two targets",
    "none": "no poison",
}
INTRODUCTION = """\
# Results

Every number on this page is read from the files in `results/` of the repository, one JSON a cell,
each with its command, seed, backbone, versions, device and date. Shares are given in per cent; over
several seeds as mean ± sample standard deviation. ASR stands beside its floor and RACC beside its
ceiling: the same rows through a model of the same kind trained without poison. *Target class* is
the accuracy on triggered rows that truly belong to the target class; a defence that turns the
trigger into "not the target" shows there.

The real data sets are not part of this project; they were read from the folder `BEDKD_DATA_DIR`.
Victims are small: MiniLM, whole or cut to its first layers. Read the tables for what differs
between their rows, not for the best accuracy a data set allows. AG News has no training split in
the released files; the rows come from its development file. Where a cell was trained or judged on a
part of the rows only, or with other settings than its neighbours, the list under the table says so.
"""

QUICK = """\
The default in sizes for a CPU, as the chapters run it, against attackers of several kinds on the
embedded reviews. [When it fails](../notebooks/10_when_it_fails.ipynb) discusses them.

"""
NOTES = {
    "default": "Ours, as `bedkd purify` runs it unless told otherwise.\n\n",
    "cycles": """\
The default before: many short cycles on trusted and flagged rows alone, no presumed clean rows, and
a null of trusted rows that the model gets right. Its victims were trained before those of
`default`, with the same settings.

""",
    "paper": """\
The published recipe on the victims of `cycles`: 80 flipped rows a class, 20 epochs, a fixed
threshold on d(x), at most 32 flagged rows in the repair, 50 cycles of trust and unbounded
punishing. No stopping rule, no content and no wording evidence, so the two AUROCs are one. The mask
of the padding and the ranking of the flagged rows are ours.

""",
    "quick": QUICK,
    "cycles-quick": """\
`cycles` in sizes for a CPU, on the embedded reviews with more and with fewer poisoned rows: where
the curves of [What each part is worth](../notebooks/09_what_each_part_is_worth.ipynb) begin.

""",
}
DEFENDED = """\
*AUROC of mapping alone* is that of the mapping student's score, *AUROC* that of all evidence
together. ASR should come down to its floor, and RACC and the target class up to their ceilings. An
ASR below its floor with a target class below its ceiling is the mark of an inversion, even of a
mild one.

"""
PARTS = """\
One victim a row group, one change at a time. *Rows from* says which rows the repair was given:
those *found*, *oracle* rows drawn among the truly poisoned ones, or *random* ones drawn from the
whole training set. The oracle separates what detection misses from what the repair cannot do;
random rows show what the repair does without detection. `transplants-alone` neither punishes nor
relabels, `relabel-alone` has no transplants, `punish-alone` punishes with the bounded loss and has
no transplants, `bounded` has both, `mapping-alone` is `bounded` without content and wording
evidence. With `all-suspects` the repair draws from all flagged rows and not only from the surest;
`all-cycles` goes on after a plateau, where held-out flagged rows no longer come down. What is not
in the table has not been measured. `cycles` is the whole of which these are parts; those of the
present default were chosen one by one on [the page of the comparison](comparison.md).

"""
CONDITIONS = """\
The preset with one change in what the defender has. The row "as given" of each attack is in
the table above. [What each part is worth](../notebooks/09_what_each_part_is_worth.ipynb) draws
these numbers.

"""
CLEAN = """\
Models that were never poisoned, handed to `bedkd purify` with the clean rows they were trained on.
The right answer is "no evidence", and then the model comes back as it was, to the last bit.

"""
WORDS = """\
Share of triggered rows of the other class that the purified model calls the target, by the trigger
word the row carries, or sentence where insertions are mixed.

"""
DECODERS = """\
SmolLM2-135M, a language model, with a classification head (`benchmarks/decoders.sh`): its first
{layers} layers only, few rows and few epochs, so that two CPU cores can train it. *Trained* says
what of it: adapters beside it, with their rank, or all of its weights. Preset `cycles-quick`;
shares before → after it, and in brackets what a model of the same kind without poison has. A dash:
not measured.
[Decoders](../notebooks/15_decoders.ipynb) tells more, and what a repair takes in memory.

"""
UNDEFENDED = """\
What the attacks achieve when nobody defends. Rewriting attacks have to be read with their floor: a
rewriting can blur the label for an honest model too, and what lies below the floor is no
achievement of the backdoor. A dash stands where there are no triggered rows of the target class.
Training times were taken while other runs shared the processor.

"""


def load(stage: str, folder: Path = ROOT / "results") -> list[dict]:
    """The runs of one stage, none if there is no such folder."""
    return stored(stage, folder) if (folder / stage).is_dir() else []


def share(result: dict, key: str, label: str | None = None) -> float | None:
    """A measured share, or None."""
    found = result.get(key)
    if found is not None and label is not None:
        found = found.get(label)
    return None if found is None else found["value"]


def beside(value: float, limit: float) -> str:
    return f"{100 * value:.1f} ({100 * limit:.1f})"


def spread_text(values: list[float | None], digits: int = 1) -> str:
    """Mean and spread; a dash where nothing was measured."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean, spread = mean_and_spread(known)
    shown = f"{mean:.{digits}f}"
    return shown if spread is None else f"{shown} ± {spread:.{digits}f}"


def cell_text(values: list[float | None]) -> str:
    """Mean and spread of shares, in per cent."""
    return spread_text([None if value is None else 100 * value for value in values])


def section(title: str, note: str, header: list[str], rows: list, records: list[dict]) -> str:
    """A heading, what to know, a table and what was run."""
    return f"\n## {title}\n\n{note}{table(header, rows)}\n{details(records)}"


def settings(record: dict) -> tuple:
    """What cells must share to be averaged over seeds."""
    cell = {key: value for key, value in record["cell"].items() if key != "seed"}
    return json.dumps(cell, sort_keys=True), record.get("preset"), record.get("rows_from")


def groups(records: list[dict]) -> list[list[dict]]:
    """Cells that differ in their seed only, in the order of the book's names."""
    found = defaultdict(list)
    for record in records:
        found[settings(record)].append(record)
    order = list(NAMES)

    def rank(group: list[dict]) -> tuple:
        cell = group[0]["cell"]
        return (order.index(cell["dataset"]), cell["layers"] or 99, order.index(cell["attack"]))

    return sorted(found.values(), key=rank)


def what(group: list[dict]) -> list[str]:
    cell = group[0]["cell"]
    attack = NAMES[cell["attack"]]
    if cell["normalise"]:
        attack += ", normalised text"
    if cell["setting"] != "dirty":
        attack += f", {cell['setting']}-label"
    if cell["rate"] != 0.2:
        attack += f", rate {cell['rate']:g}"
    layers = "all six" if cell["layers"] is None else str(cell["layers"])
    return [NAMES[cell["dataset"]], attack, layers, str(len(group))]


def pair(group: list[dict], stage: str, key: str, beside: str, target: bool = False) -> list[str]:
    labels = [str(r["task"]["target"]) if target else None for r in group]
    both = zip(group, labels, strict=True)
    values = [(share(r[stage], key, x), share(r[stage], beside, x)) for r, x in both]
    return [cell_text([v for v, _ in values]), cell_text([v for _, v in values])]


def undefended() -> str:
    # Those of the embedded task stand beside their defence.
    records = [r for r in load("undefended") if r["cell"]["dataset"] != "reviews"]
    if not records:
        return ""
    header = ["data", "attack", "layers", "seeds", "CACC", "without poison", "ASR", "floor"]
    header += ["RACC", "ceiling", "target class", "its ceiling"]
    rows = []
    for group in groups(records):
        row = what(group)
        row += pair(group, "undefended", "cacc", "cacc_reference")
        row += pair(group, "undefended", "asr", "asr_floor")
        row += pair(group, "undefended", "racc", "racc_ceiling")
        row += pair(group, "undefended", "racc_by_class", "racc_ceiling_by_class", target=True)
        rows.append(row)
    return section("Undefended victims", UNDEFENDED, header, rows, records)


def decoders() -> str:
    """A language model as the victim, before and after."""
    before = load("decoders/undefended")
    if not before:
        return ""
    after = {
        json.dumps(r["cell"], sort_keys=True): r for r in load("decoders/defended-cycles-quick")
    }
    header = ["attack", "trained", "ASR (floor)", "RACC (ceiling)", "target class (ceiling)"]
    header += ["CACC (without poison)", "AUROC", "precision, recall"]
    shares = (("asr", "asr_floor"), ("racc", "racc_ceiling"))
    shares += (("racc_by_class", "racc_ceiling_by_class"), ("cacc", "cacc_reference"))
    rows = []
    for record in sorted(before, key=lambda r: (not r["cell"].get("lora"), r["cell"]["attack"])):
        cell = record["cell"]
        rank = cell.get("lora")
        row = [NAMES[cell["attack"]], f"rank {rank}" if rank else "all weights"]
        repaired = after.get(json.dumps(cell, sort_keys=True))
        found = repaired["detection"] if repaired else {}
        for key, beside in shares:
            target = key == "racc_by_class"
            old, reference = pair([record], "undefended", key, beside, target)
            new = pair([repaired], "defended", key, beside, target)[0] if repaired else "–"
            row.append(f"{old} → {new} ({reference})")
        row.append(spread_text([found.get("auroc")], digits=3))
        row.append(", ".join(cell_text([share(found, key)]) for key in ("precision", "recall")))
        rows.append(row)
    layers = " or ".join(sorted({str(record["cell"]["layers"]) for record in before}))
    note = DECODERS.format(layers=layers)
    return section("A language model as the victim", note, header, rows, before)


def defences() -> list[str]:
    """Folders of defended cells: whole presets first, then parts of them; without rivals."""
    found = [path.name for path in sorted((ROOT / "results").glob("defended-*"))]
    found = [name for name in found if name.removeprefix("defended-") not in REPAIRS]
    return sorted(found, key=lambda name: _rank(name.removeprefix("defended-")))


def _rank(name: str) -> int:
    return list(NOTES).index(name) if name in NOTES else len(NOTES)


def defended() -> str:
    """One section for each whole preset."""
    parts = []
    for folder in defences():
        name = folder.removeprefix("defended-")
        if name not in NOTES:
            continue
        # The embedded task has presets in small, and the table of parts.
        small = name.endswith("quick")
        records = [r for r in load(folder) if small or r["cell"]["dataset"] != "reviews"]
        if not records:
            continue
        header = ["data", "attack", "layers", "seeds", "AUROC of mapping alone", "AUROC"]
        header += ["precision of repair rows"]
        header += ["CACC before", "after", "ASR before", "after", "floor"]
        header += ["RACC after", "ceiling", "target class", "its ceiling"]
        rows = []
        for group in groups(records):
            row = what(group)
            row.append(spread_text([r["mapping_auroc"] for r in group], digits=3))
            row.append(spread_text([r["detection"]["auroc"] for r in group], digits=3))
            row.append(cell_text([r["repair_precision"]["value"] for r in group]))
            for key, last in (("cacc", None), ("asr", "asr_floor")):
                row.append(cell_text([share(r["undefended"], key) for r in group]))
                row.append(cell_text([share(r["defended"], key) for r in group]))
                if last:
                    row.append(cell_text([share(r["defended"], last) for r in group]))
            row += pair(group, "defended", "racc", "racc_ceiling")
            row += pair(group, "defended", "racc_by_class", "racc_ceiling_by_class", target=True)
            rows.append(row)
        title = f"After `bedkd purify`, preset `{name}`"
        parts.append(section(title, NOTES[name] + DEFENDED, header, rows, records))
    return "".join(parts)


def parts() -> str:
    """What each part of the defence contributes, on the cells for which that was measured."""
    others = [name for name in defences() if name.removeprefix("defended-") not in NOTES]
    records = [record for name in others for record in load(name)]
    if not records:
        return ""
    measured = {json.dumps(r["cell"], sort_keys=True) for r in records}
    whole = load("defended-cycles")
    records = [r for r in whole if json.dumps(r["cell"], sort_keys=True) in measured] + records
    header = ["data", "attack", "preset", "rows from", "seeds", "precision", "cycles"]
    header += ["CACC before", "after", "ASR after", "floor"]
    header += ["RACC after", "ceiling", "target class", "its ceiling"]
    rows = []
    for group in sorted(groups(records), key=lambda g: list(NAMES).index(g[0]["cell"]["attack"])):
        data, attack, _, seeds = what(group)
        row = [data, attack, f"`{group[0]['preset']}`", group[0]["rows_from"], seeds]
        row.append(cell_text([r["repair_precision"]["value"] for r in group]))
        row.append(spread_text([len(r["report"]["repair_history"]) for r in group], digits=0))
        row.append(cell_text([share(r["undefended"], "cacc") for r in group]))
        row.append(cell_text([share(r["defended"], "cacc") for r in group]))
        row += pair(group, "defended", "asr", "asr_floor")
        row += pair(group, "defended", "racc", "racc_ceiling")
        row += pair(group, "defended", "racc_by_class", "racc_ceiling_by_class", target=True)
        rows.append(row)
    return section("What each part contributes", PARTS, header, rows, records)


def conditions() -> str:
    """One table for each preset that was run with scarce or dirty means."""
    parts = []
    for folder in sorted((ROOT / "results").glob("conditions-*")):
        records = load(folder.name)
        if not records:
            continue
        header = ["data", "attack", "changed", "verdict", "AUROC", "precision of repair rows"]
        header += ["CACC", "ASR", "floor", "RACC", "ceiling"]
        rows = []
        for record in sorted(records, key=condition):
            row = [*what([record])[:2], changed_text(record), record["report"]["verdict"]]
            row.append(spread_text([record["detection"]["auroc"]], digits=3))
            row.append(cell_text([record["repair_precision"]["value"]]))
            keys = ("cacc", "asr", "asr_floor", "racc", "racc_ceiling")
            rows.append([*row, *(cell_text([share(record["defended"], key)]) for key in keys)])
        name = folder.name.removeprefix("conditions-")
        title = f"Scarce and dirty means, preset `{name}`"
        parts.append(section(title, CONDITIONS, header, rows, records))
    return "".join(parts)


def changed(record: dict) -> list[tuple[str, float]]:
    """What the defender had otherwise than given."""
    return [(key, value) for key, value in record["conditions"].items() if value]


def changed_text(record: dict) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in changed(record))


def condition(record: dict) -> tuple:
    """For sorting: data and attack in the order of the book's names, then what was changed."""
    order, cell = list(NAMES), record["cell"]
    return order.index(cell["dataset"]), order.index(cell["attack"]), changed(record)


def clean() -> str:
    """Models without a backdoor."""
    parts = []
    for folder in sorted((ROOT / "results").glob("clean-*")):
        records = load(folder.name)
        if not records:
            continue
        header = ["data", "layers", "seed", "verdict", "flagged rows", "of"]
        header += ["CACC before", "after"]
        rows = []
        for record in (r for group in groups(records) for r in group):
            data, _, layers, _ = what([record])
            found = record["report"]
            row = [data, layers, str(record["cell"]["seed"]), found["verdict"]]
            row += [str(found["flagged"]), str(found["rows"])]
            row += [cell_text([share(record, f"cacc_{when}")]) for when in ("before", "after")]
            rows.append(row)
        name = folder.name.removeprefix("clean-")
        title = f"Models that were never poisoned, preset `{name}`"
        parts.append(section(title, CLEAN, header, rows, records))
    return "".join(parts)


def by_word() -> str:
    """ASR by trigger word after the whole presets."""
    rows: list[tuple[list[str], dict[str, str], str]] = []
    for folder in defences():
        name = folder.removeprefix("defended-")
        for group in groups([r for r in load(folder) if r.get("asr_by_word")]):
            if name not in NOTES:
                continue
            data, attack, layers, seeds = what(group)
            row = [data, attack, layers, f"`{name}`", seeds]
            found = {
                word: cell_text([r["asr_by_word"][word]["value"] for r in group])
                for word in group[0]["asr_by_word"]
            }
            rows.append((row, found, cell_text([share(r["defended"], "asr_floor") for r in group])))
    if not rows:
        return ""
    words = list(dict.fromkeys(word for _, found, _ in rows for word in found))
    header = ["data", "attack", "layers", "preset", "seeds"]
    header += [f"`{word}`" for word in words] + ["floor of ASR"]
    lines = [[*row, *(found.get(w, "–") for w in words), floor] for row, found, floor in rows]
    return "\n## By trigger word\n\n" + WORDS + table(header, lines)


def details(records: list[dict]) -> str:
    """What was run: training settings, rows, device, dates and the commands."""
    lines = []
    for group in groups(records):
        record, names = group[0], what(group)
        training, made = record["cell"]["training"], record.get("task", {})
        held = sum(made.get("triggered_from_held_out_train", {}).values())
        tests = record["undefended"]["cacc"] if made else record["cacc_before"]
        seconds = sum(r["training_seconds"] for r in group) / len(group)
        seeds = ", ".join(str(r["seed"]) for r in sorted(group, key=lambda r: r["seed"]))
        line = (
            f"- {names[0]}, {names[1]}, layers: {names[2]}, seeds: {seeds}. "
            f"{made.get('rows') or record['report']['rows']} training rows, "
            f"{made.get('poisoned', 0)} poisoned; "
            f"{training['epochs']} epochs, learning rate "
            f"{training['lr']:g}, batch {training['batch_size']}, {training['max_length']} tokens; "
            f"training took {seconds:.0f} s. {tests['n']} clean test rows."
        )
        if held:
            line += f" {held} triggered test rows are held-out rows of the training split."
        lines.append(line + f" `{record['command']}`")
    first = records[0]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    devices = "; ".join(sorted({r["device"] for r in records}))
    dates = sorted(r["date"] for r in records)
    lines.append(f"- Device: {devices}. Versions: {versions}. Run {dates[0]} to {dates[-1]}.")
    body = "\n".join(lines)
    return f"<details><summary>What was run</summary>\n\n{body}\n\n</details>\n"


def states() -> str:
    """Which code state made the numbers, and which of them other settings made than today's."""
    stages = sorted(folder.name for folder in (ROOT / "results").iterdir() if folder.is_dir())
    left_out = ("checks", "comparison", "decoders", "performance", "status", "undefended")
    records = {stage: load(stage) for stage in stages if stage not in left_out}
    rows = []
    for stage, found in records.items():
        other = [r for r in found if not up_to_date(r)]
        commits = {r["code"]["commit"][:7] for r in found if r.get("code", {}).get("commit")}
        unnamed = sum("code" not in r for r in found)
        counts = (len(found), len(other), unnamed)
        rows.append([f"`{stage}`", *map(str, counts), ", ".join(sorted(commits)) or "–"])
    note = (
        "A measurement says with which settings it was made; where a preset has changed since, it "
        "was not always run again. `bedkd reproduce` does not take such a result for finished. "
        "Files made before this version do not name the commit of the code."
    )
    header = ["stage", "runs", "with earlier settings", "without a commit", "commits"]
    return f"\n## State of the code\n\n{note}\n\n" + table(header, rows)


def up_to_date(record: dict) -> bool:
    """Whether a record's settings are today's; those of a repair only where there was one."""
    used, wanted = dict(record["report"]["settings"]), now(record)
    if not record["report"].get("changed", True):
        del used["repair"], wanted["repair"]
    return same(used, wanted)


def now(record: dict) -> dict:
    """What the record's preset or detector is set to today; where rows were named, its own
    detector."""
    if "detector" in record:
        return detector_settings(record["detector"])
    conditions = Conditions(**(record.get("conditions") or {}))
    found = purify_settings(*conditions.applied(PRESETS[record["preset"]]()))
    named = record.get("rows_from", "found") != "found"
    return found | ({"detector": record["report"]["settings"]["detector"]} if named else {})


def page() -> str:
    """The whole page as Markdown."""
    return (
        INTRODUCTION
        + defended()
        + clean()
        + by_word()
        + parts()
        + conditions()
        + decoders()
        + undefended()
        + states()
    )


def write_or_check(path: Path, text: str, description: str) -> None:
    """What a tool that writes a page does: write it, or with ``--check`` fail if it is old."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if the page is out of date")
    if not parser.parse_args().check:
        path.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        sys.exit(f"{path.name} is not what results/ says: make results")


if __name__ == "__main__":
    write_or_check(PAGE, page(), __doc__)
