"""Write ``book/results.md`` from ``results/**/*.json``: no number on that page is typed.

``--check`` writes nothing and fails if the page is not what the results say.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict

from chapters import ROOT

from bedkd.metrics import mean_and_spread
from bedkd.report import table

PAGE = ROOT / "book" / "results.md"
NAMES = {
    "sst2": "SST-2",
    "olid": "OLID",
    "agnews": "AG News",
    "agnews_lower": "AG News (lower case)",
    "badnets": "BadNets",
    "addsent": "AddSent",
    "synbkd": "SynBkd",
    "stylebkd": "StyleBkd",
    "llm": "LLM rewrite (BGM-like)",
    "combination": "word combination",
    "mixed": "mixed",
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

BOUNDED = """\
`bounded` punishes suspects where `default` relabels them. It was the default when these cells were
run; the mapping student was then stopped by all held-out rows instead of at most 200 of them.

"""
DEFENDED = """\
*AUROC of mapping alone* is that of the mapping student's score, *AUROC* that of all evidence
together. ASR should come down to its floor, and RACC and the target class up to their ceilings. An
ASR below its floor with a target class below its ceiling is the mark of an inversion, even of a
mild one.

"""
UNDEFENDED = """\
What the attacks achieve when nobody defends. Rewriting attacks have to be read with their floor: a
rewriting can blur the label for an honest model too, and what lies below the floor is no
achievement of the backdoor. A dash stands where there are no triggered rows of the target class.
Training times were taken while other runs shared the processor.

"""


def load(stage: str) -> list[dict]:
    """The cells of one stage, sorted by file name."""
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "results" / stage).glob("*.json"))
    ]


def share(result: dict, key: str, label: str | None = None) -> float | None:
    """A measured share, or None."""
    found = result.get(key)
    if found is not None and label is not None:
        found = found.get(label)
    return None if found is None else found["value"]


def cell_text(values: list[float | None]) -> str:
    """Mean and spread in per cent; a dash where nothing was measured."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    mean, spread = mean_and_spread(known)
    return f"{mean:.1f}" if spread is None else f"{mean:.1f} ± {spread:.1f}"


def auroc_text(values: list[float | None]) -> str:
    """Mean and spread of AUROCs, as fractions."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean, spread = mean_and_spread(known)
    return f"{mean:.3f}" if spread is None else f"{mean:.3f} ± {spread:.3f}"


def settings(record: dict) -> tuple:
    """What cells must share to be averaged over seeds."""
    cell = {key: value for key, value in record["cell"].items() if key != "seed"}
    return json.dumps(cell, sort_keys=True), record.get("defence")


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
    records = load("undefended")
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
    title = "\n## Undefended victims\n\n"
    return title + UNDEFENDED + table(header, rows) + "\n" + details(records)


def defended() -> str:
    parts = []
    for folder in sorted((ROOT / "results").glob("defended-*")):
        records = load(folder.name)
        name = folder.name.removeprefix("defended-")
        header = ["data", "attack", "layers", "seeds", "AUROC of mapping alone", "AUROC"]
        header += ["precision of punished rows"]
        header += ["CACC before", "after", "ASR before", "after", "floor"]
        header += ["RACC after", "ceiling", "target class", "its ceiling"]
        rows = []
        for group in groups(records):
            row = what(group)
            row.append(auroc_text([r["mapping_auroc"] for r in group]))
            row.append(auroc_text([r["detection"]["auroc"] for r in group]))
            row.append(cell_text([r["punished_precision"]["value"] for r in group]))
            for key, last in (("cacc", None), ("asr", "asr_floor")):
                row.append(cell_text([share(r["undefended"], key) for r in group]))
                row.append(cell_text([share(r["defended"], key) for r in group]))
                if last:
                    row.append(cell_text([share(r["defended"], last) for r in group]))
            row += pair(group, "defended", "racc", "racc_ceiling")
            row += pair(group, "defended", "racc_by_class", "racc_ceiling_by_class", target=True)
            rows.append(row)
        title = f"\n## After `bedkd purify`, configuration `{name}`\n\n"
        note = BOUNDED if name == "bounded" else ""
        parts.append(title + note + DEFENDED + table(header, rows) + "\n" + details(records))
    return "".join(parts)


def details(records: list[dict]) -> str:
    """What was run: training settings, rows, device, dates and the commands."""
    lines = []
    for group in groups(records):
        record, names = group[0], what(group)
        training, made = record["cell"]["training"], record["task"]
        held = sum(made["triggered_from_held_out_train"].values())
        seconds = sum(r["training_seconds"] for r in group) / len(group)
        seeds = ", ".join(str(r["seed"]) for r in sorted(group, key=lambda r: r["seed"]))
        line = (
            f"- {names[0]}, {names[1]}, layers: {names[2]}, seeds: {seeds}. "
            f"{made['rows']} training rows, {made['poisoned']} poisoned; "
            f"{training['epochs']} epochs, learning rate "
            f"{training['lr']:g}, batch {training['batch_size']}, {training['max_length']} tokens; "
            f"training took {seconds:.0f} s. {record['undefended']['cacc']['n']} clean test rows."
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


def page() -> str:
    """The whole page as Markdown."""
    return INTRODUCTION + defended() + undefended()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if the page is out of date")
    check = parser.parse_args().check
    text = page()
    if check and PAGE.read_text(encoding="utf-8") != text:
        sys.exit("book/results.md is not what results/ says: run tools/results_page.py")
    if not check:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
