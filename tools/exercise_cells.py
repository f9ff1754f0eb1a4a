"""Cells of the exercises, in the chapters and in the notebook of solutions.

Everything comes from ``bedkd/teaching/exercises``: text, stub, solution and check. ``make stamp``
carries it to the notebooks. The cells are run here, since they need nothing of their chapter.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from pathlib import Path

import nbformat
import setup_cell
from chapters import ROOT, chapters, code_cells, read

from bedkd.teaching import exercises
from bedkd.teaching.exercises import Exercise

SOLUTIONS = ROOT / "notebooks" / "solutions" / "solutions.ipynb"
PREFIX = "exercise-"
ALL_IMPORTS = """\
import hashlib
import html
import itertools
import math
import re

import numpy as np
import torch
from torch import Tensor"""
HEAD = """\
# Solutions

The exercises of all chapters with one solution each, made from `bedkd/teaching/exercises`. Other
solutions are as good if the check is content with them. Try first: a solution that was read is
soon forgotten."""


def number_of(path: Path) -> int:
    """The number of a chapter; 0 for the template."""
    found = re.match(r"\d+", path.name)
    return int(found[0]) if found else 0


def _imports(number: int, code: str) -> str:
    """Those imports of a chapter's exercises that some code needs."""
    block = inspect.getsource(exercises.chapter(number)).split("\n\nfrom bedkd")[0]
    lines = block.split("from __future__ import annotations\n")[1].splitlines()
    kept = [line for line in lines if not line or re.search(rf"\b{line.split()[-1]}\b", code)]
    return "\n".join(kept).strip()


def _own(number: int) -> str:
    return f"from bedkd.teaching.exercises import chapter{number:02} as exercises"


def _code(name: str, source: str, names: dict) -> nbformat.NotebookNode:
    """A code cell, run in ``names``."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, name, "exec"), names)
    cell = nbformat.v4.new_code_cell(source, id=PREFIX + name, execution_count=1)
    if printed.getvalue():
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=printed.getvalue())]
    return cell


def _head(exercise: Exercise) -> nbformat.NotebookNode:
    def dots(n: int) -> str:
        return "●" * n + "○" * (5 - n)

    text = (
        f"### {exercise.title}\n\n"
        f"Difficulty {dots(exercise.difficulty)} · importance {dots(exercise.importance)} · "
        f"about {exercise.minutes} minutes (an estimate)\n\n{exercise.task}"
    )
    return nbformat.v4.new_markdown_cell(text, id=f"{PREFIX}{slug(exercise)}")


def slug(exercise: Exercise) -> str:
    return exercise.name.replace("_", "-")


def _cells(number: int, solved: bool) -> list[nbformat.NotebookNode]:
    """All cells of a chapter's exercises, with stubs or with solutions."""
    found = exercises.of_chapter(number)
    if not found:
        return []
    codes = {e.name: e.source() if solved else e.stub() for e in found}
    names: dict = {}
    kind = f"solved-{number}" if solved else "try"
    imports = _imports(number, "\n".join(codes.values()))
    exec(imports, names)  # the notebook of solutions has them all in one place
    shown = _own(number) if solved else f"{imports}\n\n{_own(number)}".strip()
    cells = [_code(f"{kind}-imports", shown, names)]
    for exercise in found:
        check = f"exercises.check_{exercise.name}({exercise.name})"
        source = f"{codes[exercise.name]}\n\n\n{check}"
        cells += [_head(exercise), _code(f"{kind}-{slug(exercise)}", source, names)]
        if not solved:
            text = f"```python\n{exercise.source()}\n```"
            folded = f"<details><summary>Solution</summary>\n\n{text}\n\n</details>"
            cells.append(
                nbformat.v4.new_markdown_cell(folded, id=f"{PREFIX}solved-{slug(exercise)}")
            )
    return cells


def refresh(notebook: nbformat.NotebookNode, number: int) -> None:
    """Put the exercises of a chapter behind the cell with the id "exercises"."""
    cells = [cell for cell in notebook.cells if not cell.id.startswith(PREFIX)]
    was_run = all(cell.execution_count for cell in code_cells(notebook))
    place = next((i for i, cell in enumerate(cells, 1) if cell.id == "exercises"), len(cells))
    notebook.cells = [*cells[:place], *_cells(number, solved=False), *cells[place:]]
    if was_run:
        for count, cell in enumerate(code_cells(notebook), 1):
            cell.execution_count = count


def solutions() -> nbformat.NotebookNode:
    """The notebook of solutions."""
    notebook = nbformat.v4.new_notebook()
    like = read(chapters()[0])
    notebook.metadata = like.metadata
    notebook.metadata["bedkd"] = {"minutes": {"quick": 0.1, "full": 0.1}}
    setup = nbformat.v4.new_code_cell(setup_cell.render(notebook), id="setup", execution_count=1)
    setup.metadata["tags"] = ["nbval-ignore-output"]
    imports = _code("imports", ALL_IMPORTS, {})
    notebook.cells = [nbformat.v4.new_markdown_cell(HEAD, id="title"), setup, imports]
    for path in chapters():
        if cells := _cells(number_of(path), solved=True):
            title = read(path).cells[0].source.splitlines()[0].removeprefix("# ")
            heading = nbformat.v4.new_markdown_cell(f"## {title}", id=f"chapter-{path.name[:2]}")
            notebook.cells += [heading, *cells]
    for count, cell in enumerate(code_cells(notebook), 1):
        cell.execution_count = count
    return notebook
