"""Carry the repository's public address, the version, the setup cell, exercises, quizzes and the
minutes of reading to where they are shown.

The address is one setting, ``[tool.bedkd] repository`` in ``pyproject.toml``. Edit it, then run
``make stamp``. ``--check`` changes nothing and fails if something is out of step.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import exercise_cells
import nbformat
import quiz_cells
import setup_cell
import yaml
from chapters import ROOT, TEMPLATE, chapters, project, read

TEXTS = ("pyproject.toml", "_config.yml", "README.md", "CITATION.cff", "CONTRIBUTING.md")
TEXT_FOLDERS = {"book": "*.md", ".github": "**/*.yml"}
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"


def slug(repository: str) -> str:
    """``owner/name`` of a GitHub address; Colab opens notebooks from no other host."""
    match = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)", repository)
    if match is None:
        sys.exit(
            f"[tool.bedkd] repository is {repository!r}; it must look like "
            "https://github.com/owner/name"
        )
    return match[1]


def new_slug() -> str:
    return slug(project()["tool"]["bedkd"]["repository"])


def stamped_slug() -> str:
    """The address of the last stamping, as ``_config.yml`` has it."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    return slug(config["repository"]["url"])


def stamped_text(text: str, old: str, new: str, version: str) -> str:
    """``text`` with the address ``old`` and any release tag behind it replaced."""

    def pages(name: str) -> str:
        owner, _, repository = name.partition("/")
        return f"{owner}.github.io/{repository}"

    text = re.sub(rf"((?:github\.com|/github)/){re.escape(old)}(?![\w-])", rf"\g<1>{new}", text)
    text = re.sub(rf"(?<![\w.-]){re.escape(pages(old))}(?![\w-])", pages(new), text)
    return re.sub(rf"(?<={re.escape(new)}@v)\d+\.\d+\.\d+", version, text)


def badge(path: Path) -> str:
    """The line under a chapter's title that opens it in Colab."""
    name = "NN_slug.ipynb" if path == TEMPLATE else path.name
    target = f"https://colab.research.google.com/github/{new_slug()}/blob/main/notebooks/{name}"
    return f"{BADGE}({target})"


def reading_minutes(notebook: nbformat.NotebookNode) -> int:
    """Minutes that the prose of a chapter takes, at 200 words a minute, without code and quiz."""
    cells = [c for c in notebook.cells if c.cell_type == "markdown" and c.id != quiz_cells.ID]
    prose = " ".join(c.source for c in cells)
    return round(len(re.sub(r"```.*?```", "", prose, flags=re.DOTALL).split()) / 200)


def stamped_notebook(path: Path) -> str:
    """The text of the notebook with badge, setup cell, exercises and quiz renewed."""
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and BADGE in cell.source:
            cell.source = re.sub(rf"{re.escape(BADGE)}\([^)]*\)", badge(path), cell.source)
        if cell.cell_type == "code" and cell.id == "setup":
            cell.source = setup_cell.render(notebook)
    number = exercise_cells.number_of(path)
    exercise_cells.refresh(notebook, number)
    quiz_cells.refresh(notebook, number)
    before = next(cell for cell in notebook.cells if cell.id == "before")
    before.source = re.sub(r"\n\nReading takes about \d+ minutes?\.", "", before.source)
    minutes = reading_minutes(notebook)
    before.source += f"\n\nReading takes about {minutes} minute{'s' * (minutes != 1)}."
    return nbformat.writes(notebook) + "\n"


def renewed() -> dict[Path, str]:
    """Every stamped file with the text it should have."""
    old, new, version = stamped_slug(), new_slug(), project()["project"]["version"]
    paths = [ROOT / name for name in TEXTS]
    for folder, pattern in TEXT_FOLDERS.items():
        paths += sorted((ROOT / folder).glob(pattern))
    texts = {p: stamped_text(p.read_text(encoding="utf-8"), old, new, version) for p in paths}
    texts |= {p: stamped_notebook(p) for p in [TEMPLATE, *chapters()]}
    return texts | {exercise_cells.SOLUTIONS: nbformat.writes(exercise_cells.solutions()) + "\n"}


def out_of_step() -> dict[Path, str]:
    return {
        p: t for p, t in renewed().items() if not p.is_file() or p.read_text(encoding="utf-8") != t
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, fail if out of step")
    check = parser.parse_args().check
    changes = out_of_step()
    for path, text in changes.items():
        print(f"{'out of step' if check else 'stamped'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if check and changes:
        sys.exit("run: make stamp")


if __name__ == "__main__":
    main()
