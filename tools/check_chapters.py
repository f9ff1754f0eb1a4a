"""Rules that every chapter keeps; CONTRIBUTING.md, "Anatomy of a chapter", explains them.

``python tools/check_chapters.py [NOTEBOOK ...]`` lists what a chapter still lacks.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import setup_cell
import stamp
from build_book import WIDGET
from chapters import ROOT, chapters, code_cells, read, toc_files
from nbformat import NotebookNode

HEADINGS = (
    "What you will learn",
    "Before you start",
    "Setup",
    "Check yourself",
    "Exercises",
    "Summary",
    "Further reading",
)
TAGS = {
    "nbval-ignore-output",
    "raises-exception",
    "hide-input",
    "hide-output",
    "remove-cell",
    "remove-input",
}
MAX_LINES = 25
MAX_READING = 30  # minutes
MAX_OUTPUT = 500_000
MIN_ALT = 20
CHECK = re.compile(r"notebook\.check\(\s*\"")
ABSOLUTE = re.compile(
    r"(?<![\w.:/<])/(?:home|root|tmp|work|Users|usr|opt|mnt|private|var)/\w|\b[A-Z]:\\\w"
)
SECRET = re.compile(r"\b(?:hf_|ghp_|sk-)[A-Za-z0-9]{20,}")
ROLE_OR_DIRECTIVE = re.compile(r"\{[\w:-]+\}`|^\s*(?:```+|:::+)\{|^\([\w-]+\)=$", re.MULTILINE)
PAPER = re.compile(
    r"https?://(?:arxiv\.org/(?:abs|pdf)|(?:dx\.)?doi\.org|aclanthology\.org)/[^\s)>\]]+"
)
FORBIDDEN_CODE = {
    "%%time": "its output changes from run to run",
    "clear_output": "nbval cannot follow it",
    "display_id": "nbval cannot follow it",
    "trust_remote_code=True": "no code from a model is ever run",
}


def headings(notebook: NotebookNode) -> list[tuple[int, str]]:
    """Level and text of every heading, fenced code left out."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"^```.*?^```", "", cell.source, flags=re.MULTILINE | re.DOTALL)
            for hashes, text in re.findall(r"^(#{1,6}) +(.+?) *$", prose, re.MULTILINE):
                found.append((len(hashes), text))
    return found


def tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def mime_types(cell: NotebookNode) -> list[str]:
    return [mime for output in cell.outputs for mime in output.get("data", {})]


def has_figure(cell: NotebookNode) -> bool:
    return "image/png" in mime_types(cell)


def text_of(output: NotebookNode) -> str:
    """The readable text of one output."""
    data = output.get("data", {})
    parts = [output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]
    return "\n".join("".join(part) for part in parts)


def metadata_problems(notebook: NotebookNode, path: Path) -> Iterator[str]:
    metadata = notebook.metadata
    if "widgets" in metadata:
        yield "metadata.widgets must be stripped"
    if metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernelspec must be python3"
    if metadata.get("accelerator") != "GPU" or metadata.get("colab", {}).get("gpuType") != "T4":
        yield "the metadata must ask Colab for a T4 (accelerator, colab.gpuType)"
    minutes = metadata.get("bedkd", {}).get("minutes", {})
    if set(minutes) != {"quick", "full"}:
        yield "metadata.bedkd.minutes must give the minutes of both profiles, quick and full"
    elif minutes["quick"] > 2:
        yield f"the quick profile may take 2 minutes, not {minutes['quick']}"


def heading_problems(notebook: NotebookNode, path: Path) -> Iterator[str]:
    found = headings(notebook)
    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        yield "the first cell must start with the title, a level-one heading"
    if sum(level == 1 for level, _ in found) != 1:
        yield "there must be exactly one level-one heading"
    for (above, _), (level, text) in itertools.pairwise(found):
        if level > above + 1:
            yield f"heading {text!r} skips a level"
    second = [text for level, text in found if level == 2 and text in HEADINGS]
    if second != list(HEADINGS):
        yield f"level-two headings must be, in this order among others: {', '.join(HEADINGS)}"


def frame_problems(notebook: NotebookNode, path: Path) -> Iterator[str]:
    if stamp.badge(path) not in notebook.cells[0].source:
        yield "the first cell must hold the Colab badge of this notebook (make stamp)"
    first = next(iter(code_cells(notebook)), None)
    if first is None or first.id != "setup":
        yield "the first code cell must be the setup cell, with id 'setup'"
    elif notebook.metadata.get("bedkd", {}).get("minutes"):
        if first.source != setup_cell.render(notebook):
            yield "the setup cell must be the common one (make stamp)"
        if tags(first) != {"nbval-ignore-output"}:
            yield "the setup cell must be tagged nbval-ignore-output and nothing else"


def run_problems(notebook: NotebookNode, path: Path) -> Iterator[str]:
    cells = code_cells(notebook)
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield "the cells must have been run from top to bottom in one go (make notebooks)"
    if not any(cell.outputs and "nbval-ignore-output" not in tags(cell) for cell in cells):
        yield "at least one cell with output must be compared by nbval, so be deterministic"


def reading_problems(notebook: NotebookNode, path: Path) -> Iterator[str]:
    if (minutes := stamp.reading_minutes(notebook)) > MAX_READING:
        yield f"reading takes {minutes} minutes; divide the chapter above {MAX_READING}"


def cell_problems(notebook: NotebookNode, path: Path) -> Iterator[str]:
    for number, cell in enumerate(code_cells(notebook), start=1):
        where = f"code cell {number}"
        if len(cell.source.splitlines()) > MAX_LINES:
            yield f"{where} is longer than {MAX_LINES} lines"
        if unknown := tags(cell) - TAGS:
            yield f"{where} has tags outside the policy: {', '.join(sorted(unknown))}"
        for word, reason in FORBIDDEN_CODE.items():
            if word in cell.source:
                yield f"{where} uses {word}: {reason}"
        if sum(len(str(output)) for output in cell.outputs) > MAX_OUTPUT:
            yield f"{where} has more than {MAX_OUTPUT // 1000} kB of output"
        for output in cell.outputs:
            is_error = output.output_type == "error" or output.get("name") == "stderr"
            if is_error and "raises-exception" not in tags(cell):
                yield f"{where} holds an error or a message on stderr"


def figure_problems(notebook: NotebookNode, path: Path) -> Iterator[str]:
    cells = code_cells(notebook)
    for number, cell in enumerate(cells, start=1):
        where, mimes = f"code cell {number}", mime_types(cell)
        if "image/svg+xml" in mimes:
            yield f"{where}: figures are PNG, not SVG"
        if mimes.count("image/png") > 1:
            yield f"{where} draws more than one figure; one alternative text fits only one"
        if has_figure(cell):
            settings = cell.metadata.get("mystnb", {})
            alt = settings.get("image", {}).get("alt", "")
            caption = settings.get("figure", {}).get("caption", "")
            if len(alt) <= MIN_ALT or alt == caption:
                yield f"{where}: mystnb.image.alt must describe the figure, {MIN_ALT}+ characters"
            if not caption:
                yield f"{where}: mystnb.figure.caption must say what the figure shows"
        if WIDGET in mimes:
            if "nbval-ignore-output" not in tags(cell):
                yield f"{where} shows a widget and must be tagged nbval-ignore-output"
            if not any(has_figure(near) for near in cells[number : number + 2]):
                yield f"{where} shows a widget; one of the next two code cells must draw a figure"


def check_problems(notebook: NotebookNode, path: Path) -> Iterator[str]:
    """Sentences about results have a check beside them, above all captions."""
    cells = code_cells(notebook)
    checking = [bool(CHECK.search(cell.source)) for cell in cells]
    if not any(checking):
        yield "no statement about a result is checked: notebook.check in a hidden cell"
    for number, cell in enumerate(cells, start=1):
        where = f"code cell {number}"
        if checking[number - 1] and "remove-cell" not in tags(cell):
            yield f"{where} checks statements and must be tagged remove-cell"
        if has_figure(cell) and not any(checking[number : number + 2]):
            yield f"{where}: one of the next two code cells must check what the caption says"


def text_problems(notebook: NotebookNode, path: Path) -> Iterator[str]:
    known = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    for number, cell in enumerate(notebook.cells, start=1):
        where = f"cell {number}"
        texts = [cell.source, *map(text_of, cell.get("outputs", []))]
        if any(ABSOLUTE.search(text) for text in texts):
            yield f"{where} shows an absolute path"
        if any(SECRET.search(text) for text in texts):
            yield f"{where} shows what looks like an access token"
        if cell.cell_type == "markdown":
            if ROLE_OR_DIRECTIVE.search(cell.source):
                yield f"{where} has a MyST role or directive, which Jupyter and Colab do not render"
            for address in PAPER.findall(cell.source):
                if address.rstrip(".,;") not in known:
                    yield f"{where} links {address}, which book/references.bib does not have"


def responsibility_problems(notebook: NotebookNode, path: Path) -> Iterator[str]:
    attacks = any(re.search(r"\battacks\b|\bpoison\(", c.source) for c in code_cells(notebook))
    notes = (c.source for c in notebook.cells if c.cell_type == "markdown")
    if attacks and not any(re.search(r"^> \*\*Responsible use", n, re.MULTILINE) for n in notes):
        yield "a chapter that builds an attack needs a note: > **Responsible use.** ..."


def toc_problems(notebook: NotebookNode, path: Path) -> Iterator[str]:
    if f"notebooks/{path.stem}" not in toc_files():
        yield "the chapter is missing from _toc.yml"


RULES = (
    metadata_problems,
    heading_problems,
    frame_problems,
    run_problems,
    reading_problems,
    cell_problems,
    figure_problems,
    check_problems,
    text_problems,
    responsibility_problems,
    toc_problems,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all chapters")
    found = False
    for path in parser.parse_args().notebooks or chapters():
        notebook = read(path)
        for rule in RULES:
            for problem in rule(notebook, path):
                found = True
                print(f"{path.name}: {problem}")
    sys.exit(found)


if __name__ == "__main__":
    main()
