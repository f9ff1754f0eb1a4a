"""Victims and their data: trained once, kept outside the repository, keyed by content.

The key holds everything that goes into a victim: the rows, the backbone's weights, the settings and
the code that trains. A victim made from anything else is another victim.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd import attacks, data, language_model, models, report
from bedkd.attacks import rewriting
from bedkd.case import Case
from bedkd.experiments.grid import GRID, INSERTIONS, Cell, default_target, trigger
from bedkd.files import cache_dir, locked, read_json, sha256, write_json
from bedkd.presets import Preset
from bedkd.run import Run
from bedkd.training.fine_tune import fine_tune

log = logging.getLogger(__name__)


@lru_cache(maxsize=4)
def splits(dataset: str, seed: int, normalise: bool, sizes: tuple) -> DatasetDict:
    loaded = data.load(dataset, seed=seed, **dict(sizes))
    if normalise:
        loaded = DatasetDict({name: data.normalised(rows) for name, rows in loaded.items()})
    return loaded


def task(cell: Cell) -> attacks.PoisonedTask:
    """The poisoned data of a cell.

    Raises:
        InputError: for the reference cell, which has none; otherwise as
            :func:`bedkd.attacks.task.build_task`.
    """
    used = trigger(cell.dataset, cell.attack)
    built = attacks.build_task(
        splits(cell.dataset, cell.seed, False, cell.sizes),
        used,
        rate=cell.rate,
        target=default_target(cell.dataset),
        setting=cell.setting,
        seed=cell.seed,
        source={"data": cell.dataset},
        limits=attacks.Limits(cell.pool),
    )
    return built.normalised() if cell.normalise else built


def reference_rows(cell: Cell) -> Dataset:
    """Training rows of the reference model: clean, and without every row that any attack of the
    grid holds out for testing. Rewritings that are not at hand cannot be tested, and hold out
    none."""
    loaded = splits(cell.dataset, cell.seed, cell.normalise, cell.sizes)
    held: set[int] = set()
    for attack in GRID.get(cell.dataset, ()):
        if attack not in INSERTIONS and not rewriting.at_hand(cell.dataset, attack):
            continue
        unpoisoned = replace(cell, attack=attack, rate=0.0, pool=None, normalise=False)
        held |= set(task(unpoisoned).manifest["held_out_train_rows"])
    train = loaded["train"]
    keep = np.setdiff1d(np.arange(len(train)), sorted(held))
    if cell.pool:
        rng = np.random.default_rng(cell.seed)
        keep = np.sort(rng.permutation(keep)[: cell.pool])
    return train.select(keep)


def victim_folder(cell: Cell) -> Path:
    """Where the cell's trained model is kept; the name holds a hash of all that goes into it."""
    content = {
        "settings": cell.key,
        "rows": data.fingerprint_rows(training_rows(cell)),
        "backbone": _backbone(cell.backbone),
        "code": report.source_hash("training", "models.py", "adapters.py"),
    }
    return cache_dir() / "models" / f"{cell.name}-{report.digest(content)}"


def _backbone(name: str) -> str:
    """What a backbone's weights are: checksums of its files, or name and revision on the hub."""
    if name == "minilm":
        return models.MINILM_SHA256
    if name == "smollm2":
        return language_model.SHA256
    if Path(name).is_dir():
        files = sorted(p for p in Path(name).iterdir() if p.suffix in (".safetensors", ".json"))
        return report.digest({path.name: sha256(path) for path in files})
    return f"{name}@{models.REVISIONS.get(name)}"


def training_rows(cell: Cell) -> Dataset:
    """What the cell's model is trained on."""
    return reference_rows(cell) if cell.attack == "none" else task(cell).train


def victim(
    cell: Cell, *, progress: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The cell's trained model, from the cache or trained now; where another process is training
    it, from there when that is done."""
    folder = victim_folder(cell)
    if not (folder / "bedkd.json").is_file():  # written last
        with locked(folder.with_name(folder.name + ".partial"), wait=True) as state:
            if not (folder / "bedkd.json").is_file():
                _train(cell, folder, Run(state, progress))
            shutil.rmtree(state, ignore_errors=True)
    return models.load_checkpoint(folder)


def _train(cell: Cell, folder: Path, run: Run) -> None:
    rows = training_rows(cell)
    log.info("training %s on %d rows", cell.name, len(rows))
    model, tokenizer = models.load_backbone(
        cell.backbone,
        num_labels=data.num_labels(rows),
        layers=cell.layers,
        seed=cell.seed,
        lora=cell.lora,
    )
    start = time.perf_counter()
    fine_tune(model, tokenizer, rows, cell.training, seed=cell.seed, run=run)
    seconds = time.perf_counter() - start
    models.save_checkpoint(model, tokenizer, folder)
    write_json({"cell": cell.to_dict(), "seconds": seconds}, folder / "bedkd.json")


def training_seconds(cell: Cell) -> float:
    """How long the cached victim took to train."""
    path = victim_folder(cell) / "bedkd.json"
    return read_json(path)["seconds"]


def case(
    cell: Cell, preset: Preset, trusted: Dataset | None = None, untrusted: Dataset | None = None
) -> Case:
    """The cell's victim as a defender meets it: clean dev rows as trusted set and the rows it was
    trained on, read at the length that it was trained with.

    Args:
        preset: says how trusted rows are divided.
        trusted, untrusted: other rows in their place.
    """
    model, tokenizer = victim(cell)
    if trusted is None:
        trusted = splits(cell.dataset, cell.seed, cell.normalise, cell.sizes)["dev"]
    if untrusted is None:
        untrusted = training_rows(cell)
    return Case(
        model,
        tokenizer,
        trusted,
        untrusted,
        preset.parts,
        max_length=cell.training.max_length,
        seed=cell.seed,
    )
