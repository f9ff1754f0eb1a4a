"""The files of the page *Laboratory*: models that run in the browser, and what its sliders show.

All of it comes from the chapters themselves: their cells are run up to the one that has made what
is wanted. The files are kept in the cache, by the hash of these cells, of the library and of the
tools that write them; ``tools/build_book.py`` copies them beside the pages.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chapters import ROOT, chapters, code_cells, notebook_environment, read, tree_hash

# By chapter, the last cell to run.
WANTED = {"04": "judge", "05": "watch-run", "06": "ten", "08": "default"}
EXPECTED = "expected.json"  # what the library says of sentences, for the browser test
TOOLS = ("laboratory.py", "laboratory_files.py")


def cells(number: str) -> list[str]:
    """The code of the chapter up to the cell that ``WANTED`` names, without the setup cell.

    Raises:
        SystemExit: the chapter has no such cell.
    """
    (path,) = (p for p in chapters() if p.name.startswith(number))
    found = []
    for cell in code_cells(read(path)):
        if cell.id != "setup":
            found.append(cell.source)
        if cell.id == WANTED[number]:
            return found
    sys.exit(f"{path.name} has no cell {WANTED[number]!r}; tools/laboratory.py needs it")


def run_cells(number: str) -> dict:
    """What the chapter's names stand for after these cells."""
    from bedkd import notebook, plotting

    notebook.quieten()
    plotting.use_style()
    names = {"PROFILE": "quick", "notebook": notebook, "__name__": f"chapter{number}"}
    for source in cells(number):
        exec(source, names)
    return names


def folder(number: str) -> Path:
    """Where the chapter's files are kept."""
    tools = [(Path(__file__).parent / name).read_text(encoding="utf-8") for name in TOOLS]
    content = json.dumps([tree_hash(with_results=False), *cells(number), *tools])
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    cache = os.environ.get("BEDKD_CACHE") or notebook_environment()["BEDKD_CACHE"]
    return Path(cache) / "laboratory" / f"chapter{number}-{digest}"


def make() -> list[Path]:
    """Make what the cache lacks, two chapters at a time; the folders with the files."""
    quick = {"BEDKD_PROFILE": "quick", "MPLBACKEND": "Agg"}
    environment = {**notebook_environment(), **os.environ, **quick}

    def one(number: str) -> int:
        if folder(number).is_dir():
            return 0
        command = [sys.executable, __file__, number]
        return subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode

    with ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(one, WANTED))
    if any(statuses):
        sys.exit("the files of the laboratory could not be made: the error is above")
    return [folder(number) for number in WANTED]


def copy(target: Path) -> None:
    """Put all files below ``target``, and what tests compare them with into ``_build``."""
    target.mkdir(parents=True, exist_ok=True)
    expected = {}
    for made in make():
        for path in made.glob("*.js"):
            shutil.copy(path, target)
        if (made / EXPECTED).is_file():
            expected |= json.loads((made / EXPECTED).read_text(encoding="utf-8"))
    sizes = {path.stem: path.stat().st_size for path in sorted(target.glob("*.js"))}
    (target / "sizes.js").write_text(f"bedkdLab.sizes = {json.dumps(sizes)};\n", encoding="utf-8")
    (ROOT / "_build" / "laboratory.json").write_text(json.dumps(expected), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter", choices=WANTED, help="whose files to make")
    number = parser.parse_args().chapter
    import laboratory_files

    from bedkd.files import atomic_folder

    names = run_cells(number)
    with atomic_folder(folder(number)) as staging:
        getattr(laboratory_files, f"chapter{number}")(names, staging)


if __name__ == "__main__":
    main()
