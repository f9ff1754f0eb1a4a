"""``bedkd purify`` killed with -9 at 25 random moments and started again: the same bytes?

    python tools/kills.py

Runs the test that the suite runs with fewer kills: a toy victim, the command in a process of its
own, killed at moments drawn with a fixed seed and repeated until it is through. Each finished
output is compared with that of a run which nobody disturbed: weights, tokenizer, suspects and card
byte by byte, the reports without their times. Writes ``results/checks/kills.json``; some minutes on
one core.
"""

from __future__ import annotations

import os
import sys

import pytest
from chapters import ROOT

from bedkd import report
from bedkd.files import write_json

OUTPUT = ROOT / "results" / "checks" / "kills.json"
TEST = "tests/test_interruption.py::test_a_run_killed_at_random_moments_ends_the_same"
KILLS = 25


class Recorder:
    """Keeps what the test recorded."""

    def __init__(self):
        self.kills: list[dict] = []
        self.runs = 0

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.kills = [value for name, value in report.user_properties if name == "kill"]
            self.runs = dict(report.user_properties).get("runs", 0)


def main() -> int:
    """Run the test, and write down what it saw if it passed."""
    os.environ["BEDKD_KILLS"] = str(KILLS)
    recorder = Recorder()
    options = ["-q", "-n0", f"--rootdir={ROOT}", str(ROOT / TEST)]
    if status := pytest.main(options, plugins=[recorder]):
        return status
    made = report.provenance("python tools/kills.py", seed=0)
    made |= {"kills": len(recorder.kills), "runs": recorder.runs, "identical": True}
    write_json({**made, "moments": recorder.kills}, OUTPUT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
