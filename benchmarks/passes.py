"""How many passes the default needs, by what a defender can see: how often flagged rows that
it never trained on still get their given label after each pass. No test row is read.

    python benchmarks/passes.py

Three passes that nothing stops, on SST-2 with two rewriting attacks, on which one is not enough.
Writes ``results/checks/passes.json``, cell by cell; the same command goes on where it was
interrupted. Needs BEDKD_DATA_DIR.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bedkd import experiments, report
from bedkd.files import read_json, write_json
from bedkd.presets import default

PATH = Path(__file__).resolve().parent.parent / "results" / "checks" / "passes.json"
ATTACKS = ("llm", "stylebkd")
KEPT = ("flagged_given_label", "expected_rate", "held_out_accuracy")


def main() -> None:
    """Measure what is missing."""
    preset = default()
    repair = replace(preset.repair, cycles=3, stop_margin=-1.0)  # a rate below 0: never reached
    record = report.provenance("python benchmarks/passes.py", seed=0, backbone="minilm")
    record["cells"] = read_json(PATH)["cells"] if PATH.is_file() else {}
    for attack in ATTACKS:
        cell = experiments.Cell("sst2", attack, layers=3)
        if cell.name in record["cells"]:
            continue
        case = experiments.case(cell, preset)
        found, _ = experiments.detection(case, preset.detector, progress=True)
        made = repair.repair(case, found)
        passes = [{key: past[key] for key in KEPT} for past in made.history]
        rows = len(made.held_out)
        record["cells"][cell.name] = {"attack": attack, "held_out_rows": rows, "passes": passes}
        write_json(record, PATH)


if __name__ == "__main__":
    main()
