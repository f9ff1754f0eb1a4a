"""Figures of chapters 1 to 6 that must come out alike on every device, and how alike.

The stored outputs of a notebook were made on a CPU; ``tests/test_gpu.py`` compares what a GPU finds
with them. Another precision and another order of additions make another training: weights differ
from the first step on, so figures are compared within tolerances.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import nbformat
from chapters import code_cells

SHARE = 0.05  # CACC, precision, recall, and the ASR of a victim: a test set's interval is as wide
AUROC = 0.02
# The ASR that a repair leaves falls fast from one cycle to the next, as chapter 5 shows.
REPAIRED = 0.15
SAME = None  # the same text


@dataclass(frozen=True)
class Figure:
    """The first group of ``pattern`` in the outputs of a cell. ``unit`` is 100 for percentages."""

    chapter: str
    cell: str
    name: str
    pattern: str
    tolerance: float | None
    unit: int = 1


FIGURES = (
    Figure("01", "measure-code", "CACC", r"CACC (\S+)", SHARE),
    Figure("01", "measure-code", "ASR", r"ASR (\S+)", SHARE),
    Figure("02", "library-run", "poisoned rows", r'"poisoned": (\d+)', SAME),
    Figure("02", "stealth-table", "similarity of BadNets", r"BadNets +\S+ +(\S+)", AUROC),
    Figure("03", "evaluate", "CACC", r"CACC +(\S+)", SHARE),
    Figure("03", "evaluate", "ASR", r"ASR +(\S+)", SHARE),
    Figure("03", "evaluate", "floor", r"(?s)reference model.*ASR +(\S+)", SHARE),
    Figure("04", "judge", "precision", r"trusted rows \| \d+ \| (\S+)", SHARE),
    Figure("04", "judge", "recall", r"trusted rows \| \d+ \| [^|]+ \| (\S+)", SHARE),
    Figure("04", "judge", "AUROC", r"trusted rows \|.*\| (\S+) \|", AUROC),
    Figure("04", "witnesses-code", "AUROC of all evidence", r"all three \| (\S+)", AUROC),
    Figure("05", "compare", "CACC of the victim", r"victim \| (\S+)", SHARE),
    Figure("05", "compare", "ASR of the victim", r"victim \| \S+ \| (\S+)", SHARE),
    Figure("05", "compare", "CACC, repaired", r"transplants \| (\S+)", SHARE),
    Figure("05", "compare", "ASR, repaired", r"transplants \| \S+ \| (\S+)", REPAIRED),
    Figure("06", "ten", "verdict", r"verdict: (.+)", SAME),
    Figure("06", "ten", "target label", r"target label (\S+)", SAME),
    Figure("06", "evaluate", "CACC, repaired", r"CACC \|[^|]+\| (\S+)", SHARE, 100),
    Figure("06", "evaluate", "ASR, repaired", r"ASR \|[^|]+\| (\S+)", REPAIRED, 100),
    Figure("06", "clean", "verdict on an honest model", r"verdict: (.+)", SAME),
)
# The same of the grid's record of the chapters' victim: where in the JSON, and the tolerance.
MEASURED = {
    "undefended.cacc.value": SHARE,
    "undefended.asr.value": SHARE,
    "detection.auroc": AUROC,
    "report.verdict": SAME,
    "report.target_label": SAME,
    "defended.cacc.value": SHARE,
    "defended.asr.value": REPAIRED,
}


def text(outputs: Iterable[dict]) -> str:
    """What the outputs of a cell say, as text."""
    said = []
    for output in outputs:
        data = output.get("data", {})
        said.append(output.get("text") or data.get("text/markdown") or data.get("text/plain") or "")
    return "\n".join(said)


def outputs_by_cell(notebook: nbformat.NotebookNode, outputs: list | None = None) -> dict[str, str]:
    """What each code cell says, by its id: as stored, or in these outputs of another run."""
    cells = code_cells(notebook)
    found = [cell.outputs for cell in cells] if outputs is None else outputs
    return {cell.id: text(made) for cell, made in zip(cells, found, strict=True)}


def compared(chapter: str, stored: dict[str, str], found: dict[str, str]) -> list[dict]:
    """The key figures of a chapter in two runs; both as :func:`outputs_by_cell` has them."""
    return [
        judged(
            f"{figure.cell}: {figure.name}",
            *(_read(figure, run[figure.cell]) for run in (stored, found)),
            figure.tolerance,
        )
        for figure in FIGURES
        if chapter.startswith(figure.chapter)
    ]


def compared_records(stored: dict, found: dict) -> list[dict]:
    """The key figures of two records that ``bedkd reproduce`` wrote."""

    def at(record: dict, path: str) -> object:
        for key in path.split("."):
            record = record[key]
        return record

    return [
        judged(path, at(stored, path), at(found, path), tolerance)
        for path, tolerance in MEASURED.items()
    ]


def judged(name: str, stored: object, found: object, tolerance: float | None) -> dict:
    """One comparison as JSON; ``within`` says how it ended. What is missing is not within."""
    if stored is None or found is None:
        within = False
    elif tolerance is SAME:
        within = stored == found
    else:
        within = abs(found - stored) <= tolerance + 1e-9  # 0.95 - 0.9 is above 0.05
    record = {"name": name, "stored": stored, "found": found, "tolerance": tolerance}
    return {**record, "within": within}


def _read(figure: Figure, said: str) -> str | float | None:
    match = re.search(figure.pattern, said)
    if match is None:
        return None
    return match[1] if figure.tolerance is SAME else float(match[1]) / figure.unit
