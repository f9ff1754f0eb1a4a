"""What suspected trigger words in presumed clean rows do, by what a defender can see. No test row
is read.

    python benchmarks/planted.py

The default with such words in none and in half of its presumed clean rows, on four cells.
After each: how often held-out flagged rows get their given label beside how often their
content supports it, accuracy on held-out trusted rows, and how often trusted rows of the target
label keep it when the suspected trigger words are put in front of them. Writes
``results/checks/planted.json``, run by run; the same command goes on where it was interrupted.
Needs BEDKD_DATA_DIR.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from bedkd import experiments, outcome, report
from bedkd.detectors.wording import suspected_words
from bedkd.files import read_json, write_json
from bedkd.presets import default

PATH = Path(__file__).resolve().parent.parent / "results" / "checks" / "planted.json"
CELLS = (
    experiments.Cell("sst2", "badnets", seed=1, layers=3),
    experiments.Cell("sst2", "addsent", layers=3),
    experiments.Cell("sst2", "llm", layers=3),
    experiments.Cell("olid", "badnets", layers=3, pool=4000),
)
SHARES = (0.0, 0.5)


def main() -> None:
    """Measure what is missing."""
    preset, command = default(), "python benchmarks/planted.py"
    record = report.provenance(command, seed=0, backbone="minilm")
    record["runs"] = read_json(PATH)["runs"] if PATH.is_file() else []
    done = {(run["cell"], run["share"]) for run in record["runs"]}
    for cell in CELLS:
        wanted = [share for share in SHARES if (cell.name, share) not in done]
        if not wanted:
            continue
        case = experiments.case(cell, preset)
        found, _ = experiments.detection(case, preset.detector, progress=True)
        words = suspected_words(case, found)
        for share in wanted:
            start = time.process_time()
            made = replace(preset.repair, planted=share).repair(case, found)
            seconds, last = time.process_time() - start, made.history[-1]
            planted = outcome.plant(case, made.model, words, case.labels[made.rows])
            kept = ("flagged_given_label", "expected_rate", "held_out_accuracy")
            record["runs"].append(
                {
                    "cell": cell.name,
                    "dataset": cell.dataset,
                    "attack": cell.attack,
                    "share": share,
                    "passes": len(made.history),
                    "cpu_seconds": seconds,
                    **{key: last[key] for key in kept},
                    "own_bare": planted.own_bare.to_dict(),
                    "own_after": planted.own_after.to_dict(),
                }
            )
            write_json(record, PATH)


if __name__ == "__main__":
    main()
