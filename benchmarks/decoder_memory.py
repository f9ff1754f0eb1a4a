"""Memory of a repair with SmolLM2: adapters on one base against copies of the whole model.

    python benchmarks/decoder_memory.py results/decoders/memory.json

Each case runs in a process of its own: the model is loaded, and what the process holds then is the
start; the peak is the largest resident size while a mapping student and a repair are made from a
few short rows. Batches of four rows: what grows with batches and texts is left out on purpose.
Needs the extra ``lm`` and Linux. Nothing is learned from so few rows, and no outcome is reported.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from transformers.utils import logging

from bedkd import Case, Parts, data, models, presets, report
from bedkd.detectors import DirectionalMapping, Given
from bedkd.files import write_json

CASES = [(layers, lora) for layers in (8, 30) for lora in (16, None)]


def resident(key: str) -> float:
    """Resident size of this process in megabytes: ``VmRSS`` now, ``VmHWM`` at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/self/status has no {key}")


def measure(layers: int, lora: int | None) -> dict:
    """One case, in this process."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    model, tokenizer = models.load_backbone("smollm2", num_labels=2, layers=layers, lora=lora)
    rows = data.load("reviews", train=120, dev=80, test=4)
    case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(4, 4, 8), 16)
    _ = case.embeddings, case.trusted_embeddings, case.fits_label  # the encoder is no part of it
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = resident("VmRSS"), time.process_time()
    DirectionalMapping(epochs=2, batch_size=4).fit(case)
    mapped = resident("VmHWM")
    found = Given(tuple(range(96))).detect(case)
    replace(presets.cycles().repair, cycles=5, batch_size=4).repair(case, found)
    return {
        "layers": layers,
        "lora": lora,
        "weights": sum(w.numel() for w in model.parameters()),
        "trained": sum(w.numel() for w in model.parameters() if w.requires_grad),
        "model_mb": before,
        "mapping_peak_mb": mapped - before,
        "repair_peak_mb": resident("VmHWM") - before,
        "cpu_seconds": time.process_time() - start,
    }


def main(path: str) -> None:
    if path.isdecimal():
        sys.stdout.write(json.dumps(measure(*CASES[int(path)])) + "\n")
        return
    found = []
    for number in range(len(CASES)):
        line = [sys.executable, __file__, str(number)]
        said = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout
        found.append(json.loads(said.splitlines()[-1]))
        sys.stderr.write(f"{found[-1]}\n")
    command = "python benchmarks/decoder_memory.py results/decoders/memory.json"
    made = report.provenance(command, seed=0, backbone="smollm2")
    write_json({**made, "cases": found}, path)


if __name__ == "__main__":
    main(sys.argv[1])
