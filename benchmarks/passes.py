"""How many passes the default needs, and over what, by what a defender can see. No test row is
read.

    python benchmarks/passes.py

Three passes that nothing stops, on SST-2 after the rewriting by a language model, for which one is
not enough. After each: how often flagged rows that it never trained on still get their given label,
and accuracy on held-out trusted rows. Of the model that is kept: how often held-out trusted rows
with spans of those flagged rows in them are called the target, beside spans of presumed clean rows
whose content supports the target as much, and which hold no trigger. More often, in rows of other
labels, is what is left of the backdoor; less often, in rows of the target label, is a backdoor
turned round. Writes ``results/checks/passes.json``, run by run; the same command goes on where it
was interrupted. What stands there of other ways of later passes was measured with earlier code:
each run names its commit.

Then two repairs that the stopping rule ends after a later pass: the same of the weights at the end
of that pass, and of those that the student keeps, which go into it only as far as the aim asks.
Needs BEDKD_DATA_DIR.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from bedkd import experiments, report
from bedkd.case import Case
from bedkd.detectors import Detection
from bedkd.files import read_json, write_json
from bedkd.presets import default
from bedkd.repairs import Repaired
from bedkd.repairs.distillation import presumed_clean
from bedkd.repairs.schedule import Transplants
from bedkd.repairs.soft_labels import soft_labels
from bedkd.run import Run
from bedkd.training.predict import predict

PATH = Path(__file__).resolve().parent.parent / "results" / "checks" / "passes.json"
SEEDS = (0, 1)
LATER = "the default's"
KEPT = ("flagged_given_label", "expected_rate", "held_out_accuracy")
# Attack and seed, on SST-2; what a later pass may do too much.
TOO_FAR = (("synbkd", 1), ("llm", 1))
# So often each held-out trusted row gets a span.
DRAWS = 4


def alike(case: Case, found: Detection, made: Repaired, target: int) -> np.ndarray:
    """For each flagged row that the repair held out a presumed clean one, another each time, whose
    content supports the target as nearly as much as can be had."""
    clean = presumed_clean(case, found, len(case.untrusted))
    free = soft_labels(case, found, clean)[:, target]
    rows = []
    for support in soft_labels(case, found, made.held_out)[:, target]:
        nearest = np.abs(free - support).argmin()
        rows.append(clean[nearest])
        free[nearest] = np.inf
    return np.array(rows)


def called_target(case: Case, found: Detection, made: Repaired, model) -> dict[str, float]:
    """How often held-out trusted rows with spans in them are called the target label."""
    target = int(np.bincount(case.labels[made.rows]).argmax())
    donors = {"flagged": made.held_out, "clean": alike(case, found, made, target)}
    guard, labels = case.divided.held_out["text"][:], np.asarray(case.divided.held_out["label"])
    shares = {}
    for kind, rows in donors.items():
        texts = case.untrusted.select(np.sort(rows))["text"][:]
        spans = Transplants(case.tokenizer, guard, texts, labels, case.max_length)
        rng = np.random.default_rng(case.seed)
        hits = [predict(model, spans.draw(rng)).labels == target for _ in range(DRAWS)]
        for name, hosts in (("target", labels == target), ("others", labels != target)):
            shares[f"{kind}_in_{name}"] = float(np.mean(hits, axis=0)[hosts].mean())
    return shares


def main() -> None:
    """Measure what is missing."""
    preset = default()
    record = report.provenance("python benchmarks/passes.py", seed=0, backbone="minilm")
    record["runs"] = read_json(PATH)["runs"] if PATH.is_file() else []
    done = {run["seed"] for run in record["runs"] if run["later"] == LATER}
    # A rate below 0 is never reached: all passes.
    repair = replace(preset.repair, cycles=3, stop_margin=-1.0)
    for seed in SEEDS:
        if seed in done:
            continue
        case = experiments.case(experiments.Cell("sst2", "llm", seed=seed, layers=3), preset)
        found, _ = experiments.detection(case, preset.detector, progress=True)
        start = time.process_time()
        made = repair.repair(case, found)
        seconds = time.process_time() - start
        record["runs"].append(
            {
                "seed": seed,
                "later": LATER,
                "commit": record["code"]["commit"],
                "held_out_rows": len(made.held_out),
                "passes": [{key: past[key] for key in KEPT} for past in made.history],
                "kept": made.details["kept_cycle"],
                "cpu_seconds": seconds,
                "spans": called_target(case, found, made, made.model),
                "spans_before": called_target(case, found, made, case.suspect),
            }
        )
        write_json(record, PATH)
    known = read_json(PATH).get("ways", [])
    record["ways"] = [way for way in known if (way["attack"], way["seed"]) in TOO_FAR]
    for attack, seed in TOO_FAR:
        if (attack, seed) not in {(way["attack"], way["seed"]) for way in record["ways"]}:
            record["ways"].append(how_far(attack, seed, record["code"]["commit"]))
            write_json(record, PATH)


def how_far(attack: str, seed: int, commit: str) -> dict:
    """A repair that ends after a later pass: all of that pass, and as far as the student goes."""
    preset, students = default(), []
    case = experiments.case(experiments.Cell("sst2", attack, seed=seed, layers=3), preset)
    found, _ = experiments.detection(case, preset.detector, progress=True)
    watch = Run(callback=lambda student: students.append(copy.deepcopy(student)) or {})
    made = preset.repair.repair(case, found, watch)
    rows = case.encoded(case.untrusted.select(made.held_out), "held-out flagged rows")
    given = (predict(made.model, rows).labels == rows.labels).mean()
    return {
        "attack": attack,
        "seed": seed,
        "commit": commit,
        "held_out_rows": len(made.held_out),
        "passes": [{key: past[key] for key in KEPT} for past in made.history],
        "kept_share": made.details["kept_share"],
        "kept_given_label": float(given),
        "spans": called_target(case, found, made, made.model),
        "spans_whole": called_target(case, found, made, students[-1]),
    }


if __name__ == "__main__":
    main()
