"""Write the last parts of ``book/status.md``: runs on GPUs and seconds of each chapter from
``results/status/*.json``, clean environments and the full profile from ``results/checks/*.json``.

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
ELSEWHERE = "\n## In clean environments, as in Colab\n\n"
ABOUT = """Each chapter in an environment of its own, bedkd installed over it without dependencies
by the chapter's own setup cell, in a folder with nothing else (`tools/colab.py`); and the full
profile without a network, its names on the hub pointed at local files and a small untrained model
(`tools/full_profile.py`; chapters that are the same in both profiles are not run again). A
*sentence that does not fit* is one that a check beside it could not confirm on that run.

"""


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


def elsewhere(records: list[dict]) -> str:
    """What ``tools/colab.py`` and ``tools/full_profile.py`` wrote, as Markdown."""
    lines = []
    for record in records:
        found, what = record["chapters"].values(), "full profile, stand-ins"
        if "set" in record:
            of = record["versions"]
            what = f"{record['set']}, from a {record['installed_from']}: torch {of['torch']}, "
            what += f"transformers {of['transformers']}"
            ran = sum(chapter["passed"] for chapter in found)
            unfit = sum(int(c["says"][-1].split()[0]) for c in found if c["passed"])
        else:
            ran = sum(chapter["problem"] is None for chapter in found)
            unfit = sum(chapter["sentences_that_do_not_fit"] for chapter in found)
        lines.append([what, f"{ran} of {len(found)}", str(unfit)])
    header = ["environment", "chapters that ran to the end", "sentences that do not fit"]
    return ABOUT + table(header, lines)


def page() -> str:
    """The whole page as Markdown: its prose as it stands, and what was run."""
    prose, _, _ = PAGE.read_text(encoding="utf-8").partition(HEADING)
    ran = read("status/*.json")
    checked = read("checks/colab-*.json") + read("checks/full-*.json")
    return prose + HEADING + runs(ran) + TIMES + times(ran) + ELSEWHERE + elsewhere(checked)


def read(pattern: str) -> list[dict]:
    """Result files by name."""
    files = sorted((ROOT / "results").glob(pattern))
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


if __name__ == "__main__":
    write_or_check(PAGE, page(), __doc__)
