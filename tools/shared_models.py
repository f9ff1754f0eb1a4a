"""Train the two models that all chapters share, victim and reference, unless the cache has them.

Each gets a process of its own, so both are ready in little more than the time of one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from chapters import notebook_environment

ONE = """
import sys, transformers
from bedkd import experiments
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
cell = experiments.chapter_cell(sys.argv[1])
experiments.victim(cell.reference if sys.argv[2] == "reference" else cell)
"""


def train(profile: str) -> None:
    """Train what is missing; stop with an error message if a model cannot be trained."""
    started = time.monotonic()
    environment = {**notebook_environment(), **os.environ}
    running = [
        subprocess.Popen([sys.executable, "-c", ONE, profile, which], env=environment)
        for which in ("victim", "reference")
    ]
    statuses = [process.wait() for process in running]
    if any(statuses):
        sys.exit("the shared models could not be trained: the error is above")
    print(f"shared models ready after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    train(os.environ.get("BEDKD_PROFILE") or "quick")
