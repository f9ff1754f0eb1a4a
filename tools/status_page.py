"""Write the last parts of ``book/status.md``, runs on GPUs and seconds of each chapter, from
``results/status/*.json``.

``--check`` writes nothing and fails if the page is not what the results say.
"""

from __future__ import annotations

import json

from chapters import ROOT
from results_page import write_or_check

from bedkd.report import table

PAGE = ROOT / "book" / "status.md"
HEADING = "## Runs on a GPU\n\n"
NONE = "None yet: the run is owed.\n"
HEADER = ["what", "seconds", "figures within their tolerance"]
TIMES = "\n## Seconds of each chapter\n\n"


def runs(records: list[dict]) -> str:
    """What ``pytest -m gpu`` wrote, as Markdown."""
    return "\n".join(_run(record) for record in records if "measured" in record) or NONE


def times(records: list[dict]) -> str:
    """What ``tools/run_notebooks.py --time`` wrote, as Markdown: a column for each run."""
    timed = [record for record in records if "whole" in record]
    lines, notes = [], []
    for number, record in enumerate(timed, start=1):
        notes.append(
            f"{number}. {record['profile']} profile, {record['device']}, {record['cores']} cores, "
            f"{record['date'].split()[0]}: {record['whole'] / 60:.1f} minutes for all, with the "
            "models that chapters share. In the quick profile two chapters run side by side."
        )
    stems = sorted({stem for record in timed for stem in record["chapters"]})
    for stem in stems:
        found = (record["chapters"].get(stem) for record in timed)
        cells = [f"{part['seconds']:.0f}" if part else "" for part in found]
        lines.append([f"{int(stem[:2])} {stem[3:].replace('_', ' ')}", *cells])
    header = ["chapter", *(f"run {number}" for number in range(1, len(timed) + 1))]
    return table(header, lines) + "\n" + "\n".join(notes) + "\n" if timed else "Not timed yet.\n"


def _run(record: dict) -> str:
    parts = {"training, detection, repair, evaluation": record["measured"]}
    parts |= {f"chapter {stem[:2]}": part for stem, part in sorted(record["chapters"].items())}
    lines = []
    for name, part in parts.items():
        if part:  # empty where the run ended before
            within = sum(figure["within"] for figure in part["figures"])
            counts = f"{within} of {len(part['figures'])}"
            lines.append([name, f"{part['seconds']:.0f}", counts])
    day, torch = record["date"].split()[0], record["versions"]["torch"]
    title = f"{record['device']}, {record['precision']}, torch {torch}, {day}:\n\n"
    return title + table(HEADER, lines)


def page() -> str:
    """The whole page as Markdown: its prose as it stands, runs and times."""
    prose, _, _ = PAGE.read_text(encoding="utf-8").partition(HEADING)
    files = sorted((ROOT / "results" / "status").glob("*.json"))
    records = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return prose + HEADING + runs(records) + TIMES + times(records)


if __name__ == "__main__":
    write_or_check(PAGE, page(), __doc__)
