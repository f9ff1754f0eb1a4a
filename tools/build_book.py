"""Build the HTML book from a staged copy of its sources, with every warning an error.

The stage (``_build/source/``) keeps the reader's tree clean: with ``--executed`` it holds the
notebooks with the outputs of their last run, otherwise with the outputs they are committed with.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import laboratory
import nbformat
from chapters import ROOT, chapters, read
from run_notebooks import executed
from slides import write as write_slides

# The pages show their formulas without asking another host for the means.
MATHJAX = files("mathjax") / "static" / "mathjax" / "es5"
MATHJAX_FONTS = "output/chtml/fonts/woff-v2"
STAGE = ROOT / "_build" / "source"
LIVE_ONLY = (
    "<p><em>An interactive control stands here when this chapter runs in Jupyter or Colab.</em></p>"
)
WIDGET = "application/vnd.jupyter.widget-view+json"


def without_widgets(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Replace each live widget, which a static page cannot serve, by a line that says so."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                output.data = nbformat.from_dict({"text/html": LIVE_ONLY})
    return notebook


def stage(use_executed: bool) -> None:
    shutil.rmtree(STAGE, ignore_errors=True)
    (STAGE / "notebooks").mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, STAGE)
    shutil.copytree(ROOT / "book", STAGE / "book")
    static = STAGE / "book" / "_static"
    shutil.copy(MATHJAX / "tex-chtml.js", static / "mathjax.js")
    shutil.copytree(MATHJAX / MATHJAX_FONTS, static / MATHJAX_FONTS)
    laboratory.copy(static / "lab")
    write_slides(static / "slides.html")
    for path in chapters():
        notebook = executed(path) if use_executed else read(path)
        target = STAGE / "notebooks" / path.name
        target.write_text(nbformat.writes(without_widgets(notebook)), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--executed", action="store_true", help="use the outputs of the last run")
    stage(parser.parse_args().executed)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", STAGE]
    options = ["--path-output", ROOT, "--all", "--warningiserror", "--nitpick", "--keep-going"]
    done = subprocess.run([*command, *options, "--quiet"], check=False)
    if done.returncode:
        sys.exit("the book was not built: each warning above is an error")
    print(f"The book is ready: open {(ROOT / '_build' / 'html' / 'index.html').as_uri()}")


if __name__ == "__main__":
    main()
