"""Run chapters in the full profile without a network: does its code run from end to end?

The names on the hub are pointed at stand-ins. BERT-base is an untrained encoder of two narrow
layers under its own name and revision, in a hub cache of our own. SST-2, OLID and AG News are the
embedded tasks in the columns of the hub's sets. A cell put before each chapter hands them out, and
asks for the learning rate that so small a model needs. Numbers that come out mean nothing.

``python tools/full_profile.py [--chapters 1 3 ...]`` writes ``results/checks/full-profile.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time

import transformers
from chapters import ROOT, chapters, read
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from bedkd import corpora, data, models
from bedkd.data.sources import SOURCES
from bedkd.files import write_json
from bedkd.report import provenance

WORK = ROOT / "_build" / "full-profile"
RESULT = ROOT / "results" / "checks" / "full-profile.json"
# Chapters whose cells follow the profile; the others are the same in both.
FOLLOWING = (1, 3, 4, 5, 6, 9)
BERT = "google-bert/bert-base-uncased"
STAND_INS = {"sst2": "reviews", "olid": "chat", "agnews": "topics"}
# Names of the hub's splits and text columns, and splits whose labels are hidden there.
HUB = {
    "sst2": ("sentence", {"train": "train", "dev": "validation", "test": "test"}, {"test"}),
    "olid": ("text", {"train": "train", "dev": "validation", "test": "test"}, set()),
    "agnews": ("text", {"train": "train", "test": "test"}, set()),
}
SIZES = {"train": 1500, "dev": 400, "test": 400}
BEFORE = """
import dataclasses
import json
import pathlib

import datasets

import bedkd.experiments
from bedkd.training.fine_tune import TrainingConfig

HUB = json.loads({hub!r})
asked = pathlib.Path({asked!r})
original = bedkd.experiments.chapter_cell
TRAINING = TrainingConfig(epochs=6, lr=1e-3)


def load_dataset(identifier, config=None, revision=None):
    with asked.open("a") as file:
        print(identifier, config, revision, file=file)
    return datasets.load_from_disk(HUB[identifier])


def chapter_cell(*arguments, **options):
    cell = original(*arguments, **options)
    if cell.backbone == "minilm":
        return cell
    return dataclasses.replace(cell, training=TRAINING)


datasets.load_dataset = load_dataset
bedkd.experiments.chapter_cell = chapter_cell
"""

# Processes read where the hub's cache is when they start, so this one gets a process of its own.
GRID = """
from bedkd.evaluation import evaluate
from bedkd.experiments import Cell, task, victim

for name in ("sst2", "olid", "agnews"):
    cell = Cell(name, "badnets", backbone="google-bert/bert-base-uncased", training=TRAINING)
    rows = task(cell)
    found = evaluate(*victim(cell), clean=rows.clean["test"], poisoned=rows.poisoned_test)
    print(name, "CACC", round(found["cacc"]["value"], 2), "ASR", round(found["asr"]["value"], 2))
"""


def small_bert() -> None:
    """Put an untrained encoder into a hub cache, under the name and revision of BERT-base."""
    revision = models.REVISIONS[BERT]
    folder = WORK / "hub" / f"models--{BERT.replace('/', '--')}"
    snapshot = folder / "snapshots" / revision
    tokenizer = AutoTokenizer.from_pretrained(models.minilm_folder())  # BERT's own vocabulary
    size = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=128, **size)
    transformers.set_seed(0)
    BertForMaskedLM(config).save_pretrained(snapshot)
    tokenizer.save_pretrained(snapshot)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(revision, encoding="utf-8")


def stand_in(name: str) -> str:
    """An embedded task in the form that a data set has on the hub."""
    task = corpora.TASKS[STAND_INS[name]]
    column, splits, hidden = HUB[name]
    rows = data.load(task.name, seed=1, **SIZES)
    made = {}
    for ours, theirs in splits.items():
        count = len(rows[ours])
        labels = [-1] * count if theirs in hidden else rows[ours]["label"][:]
        columns = {column: rows[ours]["text"][:], "label": labels}
        features = {column: Value("string"), "label": ClassLabel(names=list(task.label_names))}
        made[theirs] = Dataset.from_dict(columns, features=Features(features))
    folder = WORK / "data" / name
    DatasetDict(made).save_to_disk(folder)
    return str(folder)


def grid(before: str) -> list[str]:
    """A victim of each data set, from the hub's name to ASR; one line for each."""
    command = [sys.executable, "-c", before + GRID]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()


def run(path, before: str) -> dict:
    """Run a copy of one chapter in the full profile."""
    notebook = read(path)
    notebook.cells.insert(0, new_code_cell(before))
    here = {"metadata": {"path": str(path.parent)}}
    started = time.monotonic()
    problem = None
    try:
        NotebookClient(notebook, timeout=7200, kernel_name="python3", resources=here).execute()
    except CellExecutionError as error:
        problem = str(error)[-1500:]
    said = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    other = said.count("This run shows otherwise")
    seconds = round(time.monotonic() - started)
    return {"seconds": seconds, "sentences_that_do_not_fit": other, "problem": problem}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chapters", type=int, nargs="+", default=FOLLOWING)
    wanted = parser.parse_args().chapters
    shutil.rmtree(WORK, ignore_errors=True)
    small_bert()
    hub = {SOURCES[name].hub: stand_in(name) for name in STAND_INS}
    asked = WORK / "asked.txt"
    asked.touch()
    os.environ |= {
        "BEDKD_PROFILE": "full",
        "BEDKD_CACHE": str(WORK / "cache"),
        "BEDKD_DATA_DIR": "",
        "HF_HUB_CACHE": str(WORK / "hub"),
        "HF_HUB_OFFLINE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    before, found = BEFORE.format(hub=json.dumps(hub), asked=str(asked)), {}
    victims = grid(before)
    print(*victims, sep="\n", flush=True)
    for path in chapters():
        if int(path.name[:2]) in wanted:
            found[path.name] = run(path, before)
            problem = found[path.name]["problem"]
            print(path.name, found[path.name]["seconds"], "s", problem or "", flush=True)
    record = {
        **provenance("python tools/full_profile.py", seed=0, backbone="stand-in"),
        "chapters": found,
        "victims": victims,
        "asked_of_the_hub": sorted(set(asked.read_text(encoding="utf-8").splitlines())),
    }
    write_json(record, RESULT)
    sys.exit(any(chapter["problem"] for chapter in found.values()))


if __name__ == "__main__":
    main()
