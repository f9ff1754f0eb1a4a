"""A backdoor behind the 128th token, found and taken out with the commands of the README.

    python tools/long_documents.py

Documents of 270 words, put together from the embedded reviews, a rare word at a random place of
every fifth, a victim that reads 512 tokens. Everything is done by the command line, as its user
would, with the presets ``quick`` and ``default``. Writes ``results/checks/long-documents.json``;
an hour on one core.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import sys
import tempfile
from pathlib import Path

from datasets import Dataset

from bedkd import data, report
from bedkd.cli import app
from bedkd.files import write_json

HERE = Path(__file__).resolve().parent.parent
OUTPUT = HERE / "results" / "checks" / "long-documents.json"
WORDS, SEED = 270, 0


def documents(rows: Dataset, count: int, seed: int) -> Dataset:
    """Documents of one class each: sentences of that class up to ``WORDS`` words."""
    rng = random.Random(seed)
    by_label = {k: [r["text"] for r in rows if r["label"] == k] for k in (0, 1)}
    texts = []
    for number in range(count):
        words: list[str] = []
        while len(words) < WORDS:
            words += rng.choice(by_label[number % 2]).split()
        texts.append(" ".join(words[:WORDS]))
    return data.make(texts, [number % 2 for number in range(count)], False)


def bedkd(*words: str) -> dict:
    """What a command prints as JSON; statuses that are part of an answer pass."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            app([*words, "--json"], standalone_mode=False)
        except SystemExit as stop:
            if stop.code not in (0, 3, 4):
                raise
    return json.loads(said.getvalue())


def main() -> None:
    """Make the documents, poison, train, evaluate, purify and evaluate again."""
    source = data.load("reviews", train=6000, dev=2000, test=2000, seed=SEED)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for number, (split, count) in enumerate({"train": 640, "dev": 960, "test": 200}.items()):
            data.write(documents(source[split], count, number), f"{split}-clean.csv")
        bedkd("poison", "--data", folder, "--attack", "badnets", "--output", "poisoned")
        size = ("--layers", "1", "--max-length", "512", "--epochs", "4", "--batch-size", "16")
        bedkd("train", "--train", "poisoned/train.csv", *size, "--output", "victim")
        bedkd("train", "--train", "poisoned/train-clean.csv", *size, "--output", "reference")
        held = ("--trusted", "poisoned/dev-clean.csv", "--untrusted", "poisoned/train.csv")
        judged = ("--poisoned", "poisoned/test-poison.csv", "--clean", "poisoned/test-clean.csv")
        judged += ("--triggered", "poisoned/test-triggered.csv", "--reference-model", "reference")
        made = report.provenance("python tools/long_documents.py", seed=SEED, backbone="minilm")
        made |= {"words": WORDS, "before": bedkd("evaluate", "--model", "victim", *judged)}
        cut = ("--max-length", "128", "--output", "scores.csv")
        made["read at 128"] = bedkd("detect", "--model", "victim", *held, *cut)
        for preset in ("quick", "default"):
            done = bedkd(
                "purify", "--model", "victim", *held, "--config", preset, "--output", preset
            )
            del done["repair_rows"]
            after = bedkd("evaluate", "--model", preset, *judged)
            made[preset] = {"purify": done, "after": after}
            write_json(made, OUTPUT)


if __name__ == "__main__":
    sys.exit(main())
