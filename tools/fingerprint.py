"""Print what the defence finds and makes, as hashes: the safety net of a change that must not
change results.

    python tools/fingerprint.py before.json                # on the code as it was
    python tools/fingerprint.py after.json --against before.json

Each record holds hashes of scores, flagged rows and repaired weights, on one machine with fixed
seeds. Presets run with their own settings on the embedded reviews; to save time the second stage is
cut to CYCLES cycles there. Where BEDKD_DATA_DIR is set, a real SST-2 cell and an honest SST-2 model
follow, at full length.
"""

import hashlib
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from bedkd import experiments
from bedkd.files import write_json
from bedkd.presets import PRESETS
from bedkd.training.fine_tune import TrainingConfig

CYCLES = 5


def digest(*arrays) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def weights(model) -> str:
    return digest(*(w.detach().cpu().float().numpy() for w in model.state_dict().values()))


def record(case, preset, known: dict) -> dict:
    """What one preset finds and makes. Presets that share a detector share its detection."""
    start = time.perf_counter()
    key = (str(case.hashes), repr(preset.detector))
    if key not in known:
        known[key] = preset.detector.detect(case)
    found = known[key]
    made = preset.repair.repair(case, found) if found.is_backdoored else None
    return {
        "verdict": ("no evidence of a backdoor", "backdoor suspected")[found.is_backdoored],
        "flagged": int(found.flagged.sum()),
        "flagged_hash": digest(np.flatnonzero(found.flagged)),
        "scores_hash": digest(found.scores.astype(np.float64)),
        "repair_rows_hash": digest(np.empty(0, int) if made is None else made.rows),
        "model_hash": weights(case.model if made is None else made.model),
        "cycles": 0 if made is None else len(made.history),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main(path: str, against: str | None) -> int:
    done = json.loads(Path(path).read_text()) if Path(path).is_file() else {}
    reviews, known = experiments.chapter_cell("quick"), {}
    jobs = [(f"reviews {name}", reviews, name, CYCLES) for name in PRESETS]
    if os.environ.get("BEDKD_DATA_DIR"):
        sst2 = experiments.Cell("sst2", "badnets", layers=3, training=TrainingConfig())
        jobs.append(("sst2 badnets default", sst2, "default", None))
        jobs.append(("sst2 honest default", sst2.reference, "default", None))
    for name, cell, chosen, cycles in jobs:
        if name in done:
            continue
        preset = PRESETS[chosen]()
        if cycles is not None:
            fewer = min(cycles, preset.repair.cycles)
            preset = preset._replace(repair=replace(preset.repair, cycles=fewer))
        done[name] = record(experiments.case(cell, preset), preset, known)
        write_json(done, path)
        print(name, done[name], flush=True)
    if against is None:
        return 0
    before, bad = json.loads(Path(against).read_text()), 0
    for name in before.keys() & done.keys():
        one, two = ({k: v for k, v in r[name].items() if k != "seconds"} for r in (before, done))
        same = one == two
        bad += not same
        print("same" if same else f"DIFFERS {one} {two}", name)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[3] if sys.argv[2:3] == ["--against"] else None))
