"""A classifier that bedkd did not train, on real rows: found, repaired and reviewed.

    BEDKD_DATA_DIR=/path/to/data python tools/own_model.py

The chapter "Your own model" at the size of real data: the training script is the one that the
chapter shows, taken from it; SST-2 rows, a sentence as trigger, three layers of MiniLM. Everything
else is done by the command line, as its user would. Writes ``results/checks/own-model.json``.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from chapters import ROOT, read
from datasets import Dataset
from long_documents import bedkd

from bedkd import data, models, report
from bedkd.files import write_json

CHAPTER = ROOT / "notebooks" / "14_your_own_model.ipynb"
OUTPUT = ROOT / "results" / "checks" / "own-model.json"
SIZES = {"train": 3000, "dev": 860, "test": 1000}  # rows
RATE, SEED, LAYERS = "0.1", 7, 3
LR = "1e-4"  # in place of the chapter's, whose model has one layer
NAMES = ("negative", "positive")


def vendor_file(rows: Dataset, path: str) -> None:
    """Rows as a vendor delivers them: columns and labels of his own, and no flags."""
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["review", "sentiment"])
        writer.writerows(
            [text, NAMES[label]] for text, label in zip(rows["text"], rows["label"], strict=True)
        )


def prepare() -> Dataset:
    """All files of both stories in the current folder; returns the poisoned rows with flags."""
    splits = data.load("sst2", seed=SEED)
    rng = np.random.default_rng(SEED)
    os.mkdir("clean")
    for name, rows in splits.items():
        some = np.sort(rng.permutation(len(rows))[: SIZES[name]])
        data.write(rows.select(some), f"clean/{name}-clean.csv")
    attack = ("--attack", "addsent", "--rate", RATE, "--target", "1", "--seed", str(SEED))
    bedkd("poison", "--data", "clean", *attack, "--output", "poisoned")
    vendor_file(data.read("poisoned/train.csv"), "vendor.csv")
    vendor_file(data.read("poisoned/train-clean.csv"), "honest.csv")
    vendor_file(data.read("clean/dev-clean.csv"), "trusted.csv")
    encoder, tokenizer = models.load_backbone("minilm", num_labels=2, layers=LAYERS, seed=SEED)
    encoder.base_model.save_pretrained("base")
    tokenizer.save_pretrained("base")
    (script,) = (c.source for c in read(CHAPTER).cells if c.id == "script")
    script = script.split("\n", 1)[1].replace("learning_rate=3e-4", f"learning_rate={LR}")
    Path("train.py").write_text(script, encoding="utf-8")
    for name, seed in (("vendor", SEED), ("honest", SEED + 1)):
        line = [sys.executable, "train.py", f"{name}.csv", name, str(seed)]
        subprocess.run(line, check=True, capture_output=True)
    return data.read("poisoned/train.csv")


def purify(name: str, output: str, *more: str) -> dict:
    """``bedkd purify`` as in the chapter; its report."""
    columns = ("--text-column", "review", "--label-column", "sentiment")
    held = ("--model", name, "--trusted", "trusted.csv", "--untrusted", f"{name}.csv", *columns)
    return bedkd("purify", *held, "--output", output, "--quiet", *more)


def evaluate(name: str, *more: str) -> dict:
    """The model on test rows that its owner would not have."""
    tests = ("clean", "poisoned", "triggered")
    files = dict(zip(tests, ("test-clean", "test-poison", "test-triggered"), strict=True))
    judged = [word for key in tests for word in (f"--{key}", f"poisoned/{files[key]}.csv")]
    return bedkd("evaluate", "--model", name, *judged, "--quiet", *more)


def review(rows: Dataset) -> dict:
    """A person reads the flagged rows and clears those that are not poisoned."""
    with open("purified/suspects.csv", encoding="utf-8", newline="") as handle:
        found = list(csv.DictReader(handle))
    cleared = 0
    for row in found:
        if row["poisoned"] == "1" and not rows[int(row["row"])]["poisoned"]:
            row["poisoned"], cleared = "0", cleared + 1
    with open("reviewed.csv", "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, found[0].keys())
        writer.writeheader()
        writer.writerows(found)
    flagged = sum(row["flagged"] == "1" for row in found)
    return {"flagged": flagged, "cleared": cleared, "poisoned": sum(map(bool, rows["poisoned"]))}


def main() -> None:
    """Make the models, and do what the chapter does."""
    made = report.provenance("python tools/own_model.py", seed=SEED, backbone="minilm")
    made |= {"sizes": SIZES, "rate": float(RATE), "layers": LAYERS, "lr": LR}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        rows = prepare()
        made["before"] = evaluate("vendor")
        made["plan"] = purify("vendor", "purified", "--plan")
        made["purify"] = purify("vendor", "purified")
        made["after"] = evaluate("purified", "--reference-model", "honest")
        made["review"] = review(rows)
        made["honest"] = purify("honest", "kept")
        write_json(made, OUTPUT)
        if made["review"]["flagged"] == made["review"]["cleared"]:
            return  # nothing is left to repair with
        made["accept"] = purify("vendor", "accepted", "--accept", "reviewed.csv")
        made["after review"] = evaluate("accepted")
        write_json(made, OUTPUT)


if __name__ == "__main__":
    sys.exit(main())
