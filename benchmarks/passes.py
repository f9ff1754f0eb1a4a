"""How many passes the default needs, and how often it goes over flagged rows in each, by what a
defender can see: how often flagged rows that it never trained on still get their given label. No
test row is read.

    python benchmarks/passes.py

Two passes that nothing stops, on SST-2 with two rewriting attacks, of which few rows are flagged:
once with every flagged row once in a pass, once with as many repetitions as the default makes.
Writes ``results/checks/passes.json``, run by run; the same command goes on where it was
interrupted. Needs BEDKD_DATA_DIR.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock

from bedkd import experiments, report
from bedkd.files import read_json, write_json
from bedkd.presets import default
from bedkd.repairs import schedule

PATH = Path(__file__).resolve().parent.parent / "results" / "checks" / "passes.json"
CELLS = (("llm", 0), ("llm", 1), ("stylebkd", 0))  # attack and seed
KEPT = ("flagged_given_label", "expected_rate", "held_out_accuracy")


def main() -> None:
    """Measure what is missing."""
    preset = default()
    repair = replace(preset.repair, cycles=2, stop_margin=-1.0)  # a rate below 0: never reached
    record = report.provenance("python benchmarks/passes.py", seed=0, backbone="minilm")
    record["cells"] = read_json(PATH)["cells"] if PATH.is_file() else {}
    for attack, seed in CELLS:
        cell = experiments.Cell("sst2", attack, layers=3, seed=seed)
        made = record["cells"].setdefault(cell.name, {"attack": attack, "seed": seed})
        wanted = [name for name in ("once", "repeated") if name not in made]
        if not wanted:
            continue
        case = experiments.case(cell, preset)
        found, _ = experiments.detection(case, preset.detector, progress=True)
        for name in wanted:
            most = 1 if name == "once" else schedule.MOST_REPEATED
            with mock.patch.object(schedule, "MOST_REPEATED", most):
                repaired = repair.repair(case, found)
            made["held_out_rows"] = len(repaired.held_out)
            made[name] = [{key: past[key] for key in KEPT} for past in repaired.history]
            write_json(record, PATH)


if __name__ == "__main__":
    main()
