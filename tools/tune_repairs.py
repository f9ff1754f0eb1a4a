"""How the settings of the repairs were chosen: every candidate on one victim, judged by what a
defender sees.

    python tools/tune_repairs.py [NAME ...]

The victim is that of the embedded reviews with rare words, which is in no table of the comparison;
all repairs get the flagged rows of one detection. Of the settings that cost at most ``ACCURACY`` of
the accuracy on held-out trusted rows, the one is chosen after which flagged rows that it has not
used get their given label as often as their content supports it: more often means that the
backdoor is there, more seldom that it is turned round. Neither test rows nor poison flags play a
part.

Writes ``results/checks/tuning.json``. A setting that was judged is not judged again.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from chapters import ROOT
from transformers.utils import logging

from bedkd import Case, experiments, presets, purify, report
from bedkd.detectors import Detection
from bedkd.files import read_json, write_json
from bedkd.repairs import REPAIRS, Repair

OUTPUT = ROOT / "results" / "checks" / "tuning.json"
ACCURACY = 0.02
RATES = [{"lr": lr} for lr in (1e-4, 2e-4, 5e-4)]
CANDIDATES: dict[str, list[dict]] = {
    "bedkd": RATES,
    "finetune": [*RATES, {"lr": 1e-3}],
    "continue": [{"lr": 5e-5}, *RATES],
    "rga": [{"lr": 5e-5}, *RATES],
    "interpolate": [{"share": share} for share in (0.1, 0.3, 0.5)],
    "fineprune": [{"pruned": pruned, **rate} for pruned in (0.5, 0.9) for rate in RATES],
    "nad": [{"beta": beta, **rate} for beta in (100.0, 1000.0) for rate in RATES],
    "headprune": [{"threshold": 0.85, **rate} for rate in RATES],
    "meft": RATES,
}


def candidate(name: str, setting: dict) -> Repair:
    """The named repair, ours with presumed clean rows, with this setting in place of its own."""
    own = presets.presumed_clean().repair if name == "bedkd" else REPAIRS[name]()
    return replace(own, **setting)


def judged(case: Case, detection: Detection, name: str, setting: dict) -> dict:
    """What a defender sees of a candidate, and its price."""
    detector, repair = presets.presumed_clean().detector, candidate(name, setting)
    done = purify(case, detector, repair, found=detection)
    seen = done.outcome
    return {
        "setting": setting,
        "given": seen.given_after.value,
        "expected": seen.expected_rate,
        "held_out": seen.held_out,
        "accuracy": [seen.accuracy_before.value, seen.accuracy_after.value],
        "cpu_seconds": round(done.cpu_seconds["repair"], 1),
    }


def chosen(runs: list[dict]) -> dict:
    """The run that a defender would keep: the nearest to what content supports, of those that cost
    little accuracy; if all cost more, of all."""
    cheap = [run for run in runs if run["accuracy"][0] - run["accuracy"][1] <= ACCURACY]
    return min(cheap or runs, key=lambda run: abs(run["given"] - run["expected"]))


def main() -> None:
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    record = read_json(OUTPUT) if OUTPUT.is_file() else {"repairs": {}}
    preset = presets.presumed_clean()
    case = experiments.case(experiments.chapter_cell("quick"), preset)
    detection, _ = experiments.detection(case, preset.detector)
    for name in sys.argv[1:] or CANDIDATES:
        runs = record["repairs"].setdefault(name, {"runs": []})["runs"]
        for setting in CANDIDATES[name]:
            if any(run["setting"] == setting for run in runs):
                continue
            runs.append(judged(case, detection, name, setting))
            print(name, runs[-1], flush=True)
            record["repairs"][name]["chosen"] = chosen(runs)["setting"]
            made = report.provenance("python tools/tune_repairs.py", seed=case.seed)
            write_json({**made, **record}, OUTPUT)


if __name__ == "__main__":
    main()
