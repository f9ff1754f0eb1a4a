"""The grid: data set × attack × seed, one JSON a cell, resumable.

A cell is an attack on a data set with one seed. Its victim is trained once and kept outside the
repository, keyed by everything that went into it; so is the reference model trained without
poison. Measuring a cell writes one JSON with provenance; a cell whose JSON exists is skipped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd import attacks, corpora, data, metrics, models, report
from bedkd.attacks import rewriting
from bedkd.case import Case
from bedkd.conditions import AS_GIVEN, Conditions
from bedkd.detectors import Given
from bedkd.errors import InputError
from bedkd.evaluation import asr_by_word, evaluate
from bedkd.files import write_json
from bedkd.presets import PRESETS, Preset
from bedkd.purify import Purified, purify
from bedkd.run import Run
from bedkd.training.fine_tune import TrainingConfig, fine_tune
from bedkd.training.runtime import accelerator

log = logging.getLogger(__name__)

INSERTIONS = {
    "badnets": attacks.BadNets(),
    "addsent": attacks.AddSent(),
    "combination": attacks.WordCombination(),
    "mixed": attacks.Mixed((attacks.BadNets(), attacks.AddSent())),
    "covered": attacks.CoverSamples(attacks.BadNets()),
    "multi-target": attacks.MultiTarget(),
}
ATTACKS = (*INSERTIONS, *rewriting.FORMS)
ROWS_FROM = ("found", "oracle", "random")

# The published grid: which attacks are run on which data set.
GRID = {
    "sst2": ("badnets", "addsent", "synbkd", "stylebkd", "llm"),
    "olid": ("badnets", "addsent", "synbkd", "llm"),
    "agnews": ("badnets", "addsent", "synbkd"),
    "agnews_lower": ("stylebkd",),
}


def trigger(dataset: str, attack: str) -> attacks.Trigger:
    """The trigger of a named attack with its standard parameters.

    Raises:
        InputError: unknown attack, or no rewritings of this data set.
    """
    if attack in INSERTIONS:
        return INSERTIONS[attack]
    if attack not in ATTACKS:
        raise InputError(f"attack {attack!r}: choose one of {', '.join(ATTACKS)}")
    return rewriting.find(dataset, attack)


def default_target(dataset: str) -> int:
    """The usual target label of a named data set, 1 for others."""
    known = {**data.SOURCES, **corpora.TASKS}
    return known[dataset].target if dataset in known else 1


@dataclass(frozen=True)
class Cell:
    """One victim: everything that goes into it. ``attack="none"`` is the reference model."""

    dataset: str
    attack: str
    seed: int = 0
    rate: float = 0.2
    setting: str = "dirty"
    backbone: str = "minilm"
    layers: int | None = None
    pool: int | None = None
    normalise: bool = False
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sizes: tuple[tuple[str, int], ...] = ()

    @property
    def name(self) -> str:
        """A readable file name. Pool, training and sizes are not in it: see :func:`run`."""
        depth = f"L{self.layers}" if self.layers else "all"
        parts = [self.dataset, self.attack, f"r{self.rate:g}", depth, f"s{self.seed}"]
        if self.setting != "dirty":
            parts.insert(2, self.setting)
        if self.normalise:
            parts.insert(2, "normalised")
        if self.backbone != "minilm":
            parts.insert(-2, Path(self.backbone).name)
        return "-".join(parts)

    @property
    def key(self) -> str:
        """Hash of what the victim learnt from and of the library version: the name of its folder.
        How many test rows judge it plays no part, the precision of training does.
        """
        learnt = {**asdict(self), "sizes": [s for s in self.sizes if s[0] != "test"]}
        if (precision := accelerator().mixed_precision) != "no":
            learnt["precision"] = precision
        content = json.dumps({**learnt, "version": report.version("bedkd")}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def reference(self) -> Cell:
        """The same cell without poison; shared by all attacks on the data set."""
        return replace(self, attack="none", rate=0.0, setting="dirty")


def chapter_cell(profile: str, attack: str = "badnets", seed: int = 0) -> Cell:
    """The cell that the book's chapters share.

    ``quick``: three layers of MiniLM on the embedded reviews; ``full``: BERT-base on SST-2.
    """
    if profile == "full":
        return Cell(
            "sst2",
            attack,
            seed=seed,
            backbone="google-bert/bert-base-uncased",
            training=TrainingConfig(lr=2e-5),
        )
    return Cell("reviews", attack, seed=seed, layers=3, training=TrainingConfig(epochs=4))


def chapter_preset(profile: str) -> Preset:
    """The defence that the book's chapters run in this profile."""
    return PRESETS["default" if profile == "full" else "quick"]()


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
        trusted = _splits(cell.dataset, cell.seed, cell.normalise, cell.sizes)["dev"]
    if untrusted is None:
        untrusted = reference_rows(cell) if cell.attack == "none" else task(cell).train
    return Case(
        model,
        tokenizer,
        trusted,
        untrusted,
        preset.parts,
        max_length=cell.training.max_length,
        seed=cell.seed,
    )


def cache_dir() -> Path:
    """Where victims are kept: ``BEDKD_CACHE``, by default ``~/.cache/bedkd``."""
    return Path(os.environ.get("BEDKD_CACHE") or Path.home() / ".cache" / "bedkd")


@lru_cache(maxsize=4)
def _splits(dataset: str, seed: int, normalise: bool, sizes: tuple) -> DatasetDict:
    splits = data.load(dataset, seed=seed, **dict(sizes))
    if normalise:
        splits = DatasetDict({name: data.normalised(rows) for name, rows in splits.items()})
    return splits


def task(cell: Cell) -> attacks.PoisonedTask:
    """The poisoned data of a cell.

    Raises:
        InputError: for the reference cell, which has none; otherwise as
            :func:`bedkd.attacks.task.build_task`.
    """
    used = trigger(cell.dataset, cell.attack)
    built = attacks.build_task(
        _splits(cell.dataset, cell.seed, False, cell.sizes),
        used,
        rate=cell.rate,
        target=default_target(cell.dataset),
        setting=cell.setting,
        seed=cell.seed,
        source={"data": cell.dataset},
        max_train_rows=cell.pool,
    )
    return built.normalised() if cell.normalise else built


def reference_rows(cell: Cell) -> Dataset:
    """Training rows of the reference model: clean, and without every row that any attack of the
    grid holds out for testing."""
    splits = _splits(cell.dataset, cell.seed, cell.normalise, cell.sizes)
    held: set[int] = set()
    for attack in GRID.get(cell.dataset, ()):
        unpoisoned = replace(cell, attack=attack, rate=0.0, pool=None, normalise=False)
        held |= set(task(unpoisoned).manifest["held_out_train_rows"])
    train = splits["train"]
    keep = np.setdiff1d(np.arange(len(train)), sorted(held))
    if cell.pool:
        rng = np.random.default_rng(cell.seed)
        keep = np.sort(rng.permutation(keep)[: cell.pool])
    return train.select(keep)


def victim(
    cell: Cell, *, progress: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The cell's trained model, from the cache or trained now."""
    folder = cache_dir() / "models" / f"{cell.name}-{cell.key}"
    if (folder / "bedkd.json").is_file():  # written last
        return models.load_checkpoint(folder)
    rows = reference_rows(cell) if cell.attack == "none" else task(cell).train
    log.info("training %s on %d rows", cell.name, len(rows))
    model, tokenizer = models.load_backbone(
        cell.backbone, num_labels=data.num_labels(rows), layers=cell.layers, seed=cell.seed
    )
    start = time.perf_counter()
    run = Run(folder.with_name(folder.name + ".partial"), progress)
    fine_tune(model, tokenizer, rows, cell.training, seed=cell.seed, run=run)
    seconds = time.perf_counter() - start
    models.save_checkpoint(model, tokenizer, folder)
    write_json({"cell": asdict(cell), "seconds": seconds}, folder / "bedkd.json")
    shutil.rmtree(run.folder, ignore_errors=True)
    return model, tokenizer


def training_seconds(cell: Cell) -> float:
    """How long the cached victim took to train."""
    path = cache_dir() / "models" / f"{cell.name}-{cell.key}" / "bedkd.json"
    return json.loads(path.read_text(encoding="utf-8"))["seconds"]


def _manifest_summary(built: attacks.PoisonedTask) -> dict:
    """The manifest without its lists of rows."""
    lists = ("poisoned_rows", "decoy_rows", "held_out_train_rows")
    return {k: v for k, v in built.manifest.items() if k not in lists}


def measure(cell: Cell, *, progress: bool = False) -> dict:
    """Train or load victim and reference, and evaluate the victim undefended."""
    model, tokenizer = victim(cell, progress=progress)
    reference = victim(cell.reference, progress=progress)
    built = task(cell)
    result = evaluate(
        model,
        tokenizer,
        clean=built.clean["test"],
        poisoned=built.poisoned_test,
        triggered=built.triggered,
        reference=reference,
        target=_target(built),
        max_length=cell.training.max_length,
        progress=progress,
    )
    return {
        "cell": asdict(cell),
        **report.provenance(command(cell), seed=cell.seed, backbone=cell.backbone),
        "training_seconds": training_seconds(cell),
        "task": _manifest_summary(built),
        "undefended": result,
    }


def _target(built: attacks.PoisonedTask) -> str | None:
    return "several" if isinstance(built.trigger, attacks.MultiTarget) else None


def named_rows(rows_from: str, flags: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows to repair with in place of those found: what a repair does with perfect ones
    (``oracle``, drawn among the poisoned rows) and with useless ones (``random``)."""
    among = np.flatnonzero(flags) if rows_from == "oracle" else np.arange(len(flags))
    return np.random.default_rng(seed).permutation(among)[:count]


def defend(
    cell: Cell,
    preset: str = "default",
    *,
    undefended: dict,
    rows_from: str = "found",
    conditions: Conditions = AS_GIVEN,
    progress: bool = False,
) -> dict:
    """Purify the cell's victim with the clean dev rows as trusted set, and evaluate.

    The defence sees the dev split and the training mix; test rows and flags are only used here,
    afterwards, to judge it. (``rows_from`` other than ``found`` are experiments about the second
    stage, not defences.)

    Args:
        undefended: the ``undefended`` part of what :func:`measure` returned: floor and ceiling
            do not change with the defence and are taken from it.
        rows_from: see :func:`named_rows`.
        conditions: departures from the dev split and from the preset.
    """
    built = task(cell)
    flags = np.asarray(built.train["poisoned"][:], bool)
    chosen = conditions.applied(PRESETS[preset]())
    if rows_from != "found":
        rows = named_rows(rows_from, flags, chosen.repair.max_suspects, cell.seed)
        chosen = chosen._replace(detector=Given(tuple(rows)))
    given = case(cell, chosen, conditions.draw_trusted(built, cell.seed))
    purified = purify(given, chosen.detector, chosen.repair, run=Run(progress=progress))
    return {
        **_header(cell, preset, rows_from, conditions),
        "task": _manifest_summary(built),
        "undefended": undefended,
        "preset": preset,
        "rows_from": rows_from,
        "conditions": conditions.to_dict(),
        "report": _report(purified),
        **_judged(cell, built, purified, flags, undefended, progress),
    }


def _judged(
    cell: Cell,
    built: attacks.PoisonedTask,
    purified: Purified,
    flags: np.ndarray,
    undefended: dict,
    progress: bool,
) -> dict:
    """Detection against the flags, and the purified model on test rows."""
    found, length = purified.detection, cell.training.max_length
    result = evaluate(
        purified.model,
        purified.case.tokenizer,
        clean=built.clean["test"],
        poisoned=built.poisoned_test,
        triggered=built.triggered,
        target=_target(built),
        max_length=length,
        progress=progress,
    )
    # A combination puts all of its words into every row; there is nothing to tell apart.
    combined = isinstance(built.trigger, attacks.WordCombination)
    words = () if combined else getattr(built.trigger, "words", ())
    mapping = found.evidence.get("mapping", found.scores)
    made = purified.repaired
    used = flags[made.rows] if made is not None else flags[:0]
    return {
        "detection": metrics.detection_quality(found.scores, found.flagged, flags).to_dict(),
        # The mapping student's score alone, without the other evidence.
        "mapping_auroc": metrics.detection_quality(mapping, found.flagged, flags).auroc,
        "repair_precision": metrics.Share.of(used).to_dict(),
        "defended": {k: undefended[k] if v is None else v for k, v in result.items()},
        "asr_by_word": asr_by_word(
            purified.model, purified.case.tokenizer, built.poisoned_test, words, length
        ),
    }


def evaluate_clean_model(cell: Cell, preset: str = "default", *, progress: bool = False) -> dict:
    """Purify a model that was never poisoned: the verdict, and what acting cost.

    Args:
        cell: a reference cell (``attack="none"``).
    """
    splits, chosen = _splits(cell.dataset, cell.seed, cell.normalise, cell.sizes), PRESETS[preset]()
    given = case(cell, chosen)
    purified = purify(given, chosen.detector, chosen.repair, run=Run(progress=progress))

    def accuracy(judged: PreTrainedModel) -> dict:
        length = cell.training.max_length
        found = evaluate(judged, given.tokenizer, clean=splits["test"], max_length=length)
        return found["cacc"]

    before = accuracy(given.model)
    return {
        **_header(cell, preset),
        "preset": preset,
        "report": _report(purified),
        "cacc_before": before,
        "cacc_after": accuracy(purified.model) if purified.changed else before,
    }


def _header(
    cell: Cell, preset: str, rows_from: str = "found", conditions: Conditions = AS_GIVEN
) -> dict:
    line = command(cell, preset, rows_from, conditions)
    made = report.provenance(line, seed=cell.seed, backbone=cell.backbone)
    return {"cell": asdict(cell), **made, "training_seconds": training_seconds(cell)}


def _report(purified: Purified) -> dict:
    """The report without its list of rows."""
    return {k: v for k, v in purified.to_dict().items() if k != "repair_rows"}


def command(
    cell: Cell,
    preset: str | None = None,
    rows_from: str = "found",
    conditions: Conditions = AS_GIVEN,
) -> str:
    """The command line that measures this cell."""
    # Accelerate reads the variable; on CUDA the engine has its own choice.
    bf16 = accelerator().mixed_precision == "bf16"
    words = ["ACCELERATE_MIXED_PRECISION=bf16"] if bf16 else []
    words += [f"bedkd reproduce --dataset {cell.dataset} --attack {cell.attack}"]
    words.append(f"--seed {cell.seed} --rate {cell.rate:g} --backbone {cell.backbone}")
    if cell.layers:
        words.append(f"--layers {cell.layers}")
    if cell.pool:
        words.append(f"--pool {cell.pool}")
    for split, size in cell.sizes:
        words.append(f"--{split}-rows {size}")
    if cell.setting != "dirty":
        words.append(f"--setting {cell.setting}")
    if cell.normalise:
        words.append("--normalise")
    training = cell.training
    words.append(f"--epochs {training.epochs} --batch-size {training.batch_size}")
    words.append(f"--lr {training.lr:g}")
    words.append(f"--max-length {training.max_length}")
    if preset:
        words.append(f"--preset {preset}")
    if rows_from != "found":
        words.append(f"--rows-from {rows_from}")
    words += conditions.options()
    return " ".join(words)


def run(
    cell: Cell,
    folder: str | Path,
    preset: str | None = None,
    rows_from: str = "found",
    conditions: Conditions = AS_GIVEN,
    *,
    progress: bool = False,
) -> Path:
    """Measure a cell undefended, then with a defence if ``preset`` is given; each measurement is
    one JSON, and one that exists is not made again. A reference cell, which has no poison, is only
    defended. Defences under other ``conditions`` have a folder of their own.

    Returns:
        The JSON of the defence if one is given, else of the undefended cell.

    Raises:
        InputError: the JSON of that name holds another cell, say one with another pool; unknown
            ``rows_from``; a reference cell, rows from elsewhere than ``found`` or other conditions
            without ``preset``; other conditions for a reference cell.
    """
    if rows_from not in ROWS_FROM:
        raise InputError(f"rows-from {rows_from!r}: choose one of {', '.join(ROWS_FROM)}")
    if preset is None and rows_from != "found":
        raise InputError(f"rows-from {rows_from}: name the preset that shall repair with them")
    if preset is None and conditions.name:
        raise InputError(f"conditions {conditions.name}: name the preset that shall work so")
    if cell.attack == "none":
        if preset is None or rows_from != "found" or conditions.name:
            raise InputError("attack none: name a preset, which finds its rows itself")
        cell = cell.reference
        path = Path(folder) / f"clean-{preset}" / f"{cell.name}.json"
        if not _finished(path, cell):
            write_json(evaluate_clean_model(cell, preset, progress=progress), path)
        return path
    path = Path(folder) / "undefended" / f"{cell.name}.json"
    if _finished(path, cell):
        measured = json.loads(path.read_text(encoding="utf-8"))
    else:
        measured = measure(cell, progress=progress)
        write_json(measured, path)
    if preset is None:
        return path
    stage = f"conditions-{preset}" if conditions.name else f"defended-{preset}"
    if rows_from != "found":
        stage += f"-{rows_from}"
    file = f"{cell.name}-{conditions.name}.json" if conditions.name else path.name
    path = Path(folder) / stage / file
    if not _finished(path, cell):
        found = defend(
            cell,
            preset,
            undefended=measured["undefended"],
            rows_from=rows_from,
            conditions=conditions,
            progress=progress,
        )
        write_json(found, path)
    return path


def _finished(path: Path, cell: Cell) -> bool:
    """Whether ``path`` holds the measurement of this very cell."""
    if not path.is_file():
        return False
    stored = json.loads(path.read_text(encoding="utf-8"))["cell"]
    if stored != json.loads(json.dumps(asdict(cell))):
        raise InputError(f"{path}: holds a cell with other settings; give another folder")
    log.info("%s exists", path)
    return True
