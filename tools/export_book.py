"""The whole book as one page, ``_build/singlehtml/index.html``, and as ``_build/bedkd.pdf``.

The page is made by the book's own builder from the stage that ``tools/build_book.py`` leaves;
Chromium prints it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from build_book import STAGE
from chapters import ROOT

PAGE = ROOT / "_build" / "singlehtml" / "index.html"
PDF = ROOT / "_build" / "bedkd.pdf"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def main() -> None:
    if not STAGE.is_dir():
        sys.exit("there is no built book yet: run `make book` first")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", STAGE]
    options = ["--path-output", ROOT, "--builder", "custom", "--custom-builder", "singlehtml"]
    if subprocess.run([*command, *options, "--quiet"], check=False).returncode:
        sys.exit("the single page was not built; what is wrong stands above")
    print(f"The single page is ready: {PAGE.as_uri()}")
    if BROWSER is None:
        sys.exit("for the PDF, install Chromium (Debian: chromium), or print the page yourself")
    print_page(PAGE.as_uri(), PDF)
    print(f"The PDF is ready: {PDF.as_uri()}")


def print_page(address: str, target: Path) -> None:
    """Print a page after its formulas are set."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    wait = "--virtual-time-budget=60000"
    command = [BROWSER, *flags, wait, f"--print-to-pdf={target}", address]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode or not target.is_file():
        sys.exit(f"Chromium could not print the page:\n{done.stderr}")


if __name__ == "__main__":
    main()
