"""How much of the machine's matrix-product rate reaches tokens that are not padding, and what holds
the rest; and how many rows a second a scan reads.

    BEDKD_DATA_DIR=/path/to/data python benchmarks/rate.py

Real SST-2 sentences, three layers of MiniLM, single precision, one thread. The machine's rate is
that of square float32 products of ``SIDE``; the work of a text is counted from its own tokens:
the products of every layer, twice that again for training's way back. Everything is repeated
``REPEATS`` times in turns. Writes ``results/performance/rate.json``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from bedkd import data, models, report
from bedkd.files import write_json
from bedkd.training.batches import EncodedTexts
from bedkd.training.loop import Trainer
from bedkd.training.objectives import DistillationLoss, cross_entropy
from bedkd.training.predict import predict

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "results" / "performance" / "rate.json"
ROWS, LAYERS, SEED, SIDE, REPEATS, TOP = 1_000, 3, 0, 1024, 3, 8


def matrix_rate() -> float:
    """Floating-point operations a second of square float32 products."""
    one, two = torch.randn(2, SIDE, SIDE).unbind()
    one @ two
    start, count = time.perf_counter(), 20
    for _ in range(count):
        one @ two
    return 2 * SIDE**3 * count / (time.perf_counter() - start)


def work(config, lengths: np.ndarray) -> float:
    """Operations of the matrix products that texts of these lengths need on their way through."""
    width, inner = config.hidden_size, config.intermediate_size
    tokens, squares = lengths.sum(), (lengths.astype(float) ** 2).sum()
    layer = 2 * tokens * (4 * width**2 + 2 * width * inner) + 4 * squares * width
    return config.num_hidden_layers * layer + 2 * len(lengths) * width**2


class RandomBatches(EncodedTexts):
    """Rows in file order, batches of 16 padded to their longest, as the released script reads."""

    def by_length(self, batch_size: int) -> list[np.ndarray]:
        return np.split(np.arange(len(self)), range(16, len(self), 16))


def main() -> None:
    torch.set_num_threads(1)
    rows = data.load("sst2", seed=SEED)["train"].shuffle(seed=SEED).select(range(ROWS))
    model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=LAYERS, seed=SEED)
    texts, labels = rows["text"][:], rows["label"][:]
    encoded = EncodedTexts(tokenizer, texts, labels)
    plain = RandomBatches(tokenizer, texts, labels)
    objective = DistillationLoss(predict(model, encoded, hidden=True), 1.5, 0.3)

    def train(kind) -> None:
        trainer = Trainer(model, num_steps=100, lr=1e-6, seed=SEED)
        batches = encoded.epoch(32, np.random.default_rng(SEED))
        trainer.train((kind, encoded, batch) for batch in batches)

    ways = {
        "training": (lambda: train(cross_entropy), 3),
        "distillation": (lambda: train(objective), 3),
        "scan": (lambda: predict(model, encoded), 1),
        "scan in random batches": (lambda: predict(model, plain), 1),
    }
    forward, found = work(model.config, encoded.lengths), []
    for _ in range(REPEATS):
        rate = matrix_rate()
        for name, (way, passes) in ways.items():
            start = time.perf_counter()
            way()
            seconds = time.perf_counter() - start
            share = float(passes * forward / seconds / rate)
            found.append({"way": name, "seconds": seconds, "rate": rate, "share": share})
            sys.stderr.write(f"{found[-1]}\n")
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        train(cross_entropy)
    events = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    made = report.provenance("python benchmarks/rate.py", seed=SEED, backbone="minilm")
    write_json(
        {
            **made,
            "rows": ROWS,
            "layers": LAYERS,
            "tokens": int(encoded.lengths.sum()),
            "padded_tokens": {
                "by length": padded(encoded.by_length(64), encoded.lengths),
                "random": padded(plain.by_length(16), plain.lengths),
            },
            "side": SIDE,
            "runs": found,
            "profile": {e.key: e.self_cpu_time_total / total for e in events[:TOP]},
        },
        OUTPUT,
    )


def padded(batches: list[np.ndarray], lengths: np.ndarray) -> int:
    """Token positions that a model computes, padding with them."""
    return int(sum(len(batch) * lengths[batch].max() for batch in batches))


if __name__ == "__main__":
    main()
