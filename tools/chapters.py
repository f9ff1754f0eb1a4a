"""Where the chapters are and what they depend on: shared by the other tools and the tests."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "tools" / "chapter_template.ipynb"


def chapters() -> list[Path]:
    """The chapter notebooks in reading order."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Code cells that hold code, in order."""
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def toc_files() -> list[str]:
    """Every page that ``_toc.yml`` names, as a path without suffix."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    found = [toc["root"]]

    def walk(node: object) -> None:
        if isinstance(node, dict):
            found.extend([node["file"]] if "file" in node else [])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk({key: value for key, value in toc.items() if key != "root"})
    return found


def tree_hash(*, with_results: bool = True) -> str:
    """Hash of everything outside a notebook that its outputs depend on: the library with its data
    files, the pinned environment and the committed results.

    Models do not depend on results: their cache leaves them out. Nothing depends on the reports
    of devices in ``results/status``.
    """
    digest = hashlib.sha256()
    files = [ROOT / "requirements.txt"]
    files += [
        p for p in sorted((ROOT / "bedkd").rglob("*")) if p.suffix in {".py", ".json", ".txt"}
    ]
    if with_results:
        results = sorted((ROOT / "results").rglob("*.json"))
        files += [path for path in results if path.parent.name != "status"]
    for path in files:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def notebook_environment() -> dict[str, str]:
    """Environment in which the project runs its own notebooks.

    The library keys its cache of victims by configuration and version, and a version stays the same
    while the library is being changed; so each state of the library gets a cache of its own here.
    """
    return {
        "BEDKD_CACHE": str(ROOT / "_build" / "cache" / tree_hash(with_results=False)[:16]),
        # One thread a chapter: stored outputs do not depend on the number of cores, and chapters
        # run side by side, which uses two cores better than two threads of one chapter do.
        "OMP_NUM_THREADS": "1",
        "BEDKD_CHECKS": "raise",  # a sentence that the run does not show is an error
        "JUPYTER_PREFER_ENV_PATH": "1",  # a kernel installed for the user must not step in
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
