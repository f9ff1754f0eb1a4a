"""How good is the estimate of ``bedkd purify --plan``? It is made, and then the work is done.

    python tools/plan_check.py

Two models of one MiniLM layer on the embedded reviews, one poisoned and one honest, with the preset
``quick``; estimate and work one after the other on the same machine, so that the ratio means
something whatever else it does. Writes ``results/checks/plan.json``; some minutes on one core.
"""

from __future__ import annotations

import sys
import time

from chapters import ROOT

from bedkd import Case, attacks, data, models, presets, purify, report
from bedkd.files import write_json
from bedkd.plan import plan
from bedkd.training.fine_tune import TrainingConfig, fine_tune

OUTPUT = ROOT / "results" / "checks" / "plan.json"
SEED = 0


def check(task: attacks.PoisonedTask, name: str) -> dict:
    """Estimate and real run for the model that was trained on these rows."""
    rows = task.train if name == "poisoned" else task.clean["train"]
    model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1, seed=SEED)
    fine_tune(model, tokenizer, rows, TrainingConfig(epochs=4), seed=SEED)
    preset = presets.quick()
    least, most = plan(Case(model, tokenizer, task.clean["dev"], rows, preset.parts), preset)[
        "seconds"
    ]
    case = Case(model, tokenizer, task.clean["dev"], rows, preset.parts)  # nothing is known yet
    start = time.perf_counter()
    done = purify(case, preset.detector, preset.repair)
    seconds = time.perf_counter() - start
    found = {"verdict": done.verdict, "estimate": [least, most], "seconds": seconds}
    return {
        **found,
        "by_stage": done.seconds,
        "of_lower": seconds / least,
        "of_upper": seconds / most,
    }


def main() -> None:
    """Check both models and write what came out."""
    rows = data.load("reviews", train=800, dev=400, test=20, seed=SEED)
    task = attacks.build_task(rows, attacks.AddSent(), rate=0.1, target=1, seed=SEED)
    made = report.provenance("python tools/plan_check.py", seed=SEED, backbone="minilm")
    made |= {"rows": 800, "preset": "quick"}
    made |= {name: check(task, name) for name in ("poisoned", "honest")}
    write_json(made, OUTPUT)


if __name__ == "__main__":
    sys.exit(main())
