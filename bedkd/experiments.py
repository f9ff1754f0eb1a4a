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
import time
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd import attacks, corpora, data, metrics, models, report
from bedkd.attacks import rewriting
from bedkd.conditions import AS_GIVEN, Conditions
from bedkd.defence import BeDKDConfig, Purified, purify
from bedkd.distillation import DistillationConfig
from bedkd.engine import accelerator
from bedkd.errors import InputError
from bedkd.evaluation import asr_by_word, evaluate
from bedkd.files import write_json
from bedkd.mapping import MappingConfig
from bedkd.training import TrainingConfig, fine_tune

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
SUSPECTS = ("found", "oracle", "random")


def _without(**changes) -> BeDKDConfig:
    """The default with other settings of its second stage."""
    return BeDKDConfig(distillation=DistillationConfig(**changes))


# The default, the published recipe, sizes for the embedded tasks; then what one part is worth.
CONFIGS = {
    "default": BeDKDConfig,
    "paper": BeDKDConfig.paper,
    "quick": BeDKDConfig.quick,
    "bounded": lambda: _without(punish="bounded"),
    "transplants-alone": lambda: _without(punish="none"),
    "relabel-alone": lambda: _without(transplant_every=None),
    "punish-alone": lambda: _without(punish="bounded", transplant_every=None),
    "mapping-alone": lambda: BeDKDConfig(
        content=False, surface=False, distillation=DistillationConfig(punish="bounded")
    ),
    "all-suspects": lambda: BeDKDConfig(sure_share=MappingConfig().false_share),
    "all-cycles": lambda: _without(patience=None),
}

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


def chapter_config(profile: str) -> BeDKDConfig:
    """The defence that the book's chapters run in this profile."""
    return BeDKDConfig() if profile == "full" else BeDKDConfig.quick()


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
    fine_tune(model, tokenizer, rows, cell.training, seed=cell.seed, progress=progress)
    seconds = time.perf_counter() - start
    models.save_checkpoint(model, tokenizer, folder)
    write_json({"cell": asdict(cell), "seconds": seconds}, folder / "bedkd.json")
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
        several_targets=_several(built),
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


def _several(built: attacks.PoisonedTask) -> bool:
    return isinstance(built.trigger, attacks.MultiTarget)


def named_rows(suspects: str, flags: np.ndarray, count: int, seed: int) -> np.ndarray | None:
    """Rows to distil with in place of those found: what a repair does with perfect suspects
    (``oracle``, drawn among the poisoned rows) and with useless ones (``random``); None with
    ``found``."""
    if suspects == "found":
        return None
    among = np.flatnonzero(flags) if suspects == "oracle" else np.arange(len(flags))
    return np.random.default_rng(seed).permutation(among)[:count]


def defend(
    cell: Cell,
    config: str = "default",
    *,
    undefended: dict,
    suspects: str = "found",
    conditions: Conditions = AS_GIVEN,
    progress: bool = False,
) -> dict:
    """Purify the cell's victim with the clean dev rows as trusted set, and evaluate.

    The defence sees the dev split and the training mix; test rows and flags are only used here,
    afterwards, to judge it. (``suspects`` other than ``found`` are experiments about the second
    stage, not defences.)

    Args:
        undefended: the ``undefended`` part of what :func:`measure` returned: floor and ceiling
            do not change with the defence and are taken from it.
        suspects: see :func:`named_rows`.
        conditions: departures from the dev split and from the configuration.
    """
    model, tokenizer = victim(cell, progress=progress)
    built = task(cell)
    flags = np.asarray(built.train["poisoned"], bool)
    chosen = conditions.configured(CONFIGS[config]())
    purified = purify(
        model,
        tokenizer,
        conditions.trusted_rows(built, cell.seed),
        built.train,
        chosen,
        rows=named_rows(suspects, flags, chosen.distillation.suspects, cell.seed),
        seed=cell.seed,
        progress=progress,
    )
    result = evaluate(
        purified.model,
        tokenizer,
        clean=built.clean["test"],
        poisoned=built.poisoned_test,
        triggered=built.triggered,
        several_targets=_several(built),
        max_length=cell.training.max_length,
        progress=progress,
    )
    # A combination puts all of its words into every row; there is nothing to tell apart.
    combined = isinstance(built.trigger, attacks.WordCombination)
    words = () if combined else getattr(built.trigger, "words", ())
    return {
        **_header(cell, config, suspects, conditions),
        "task": _manifest_summary(built),
        "undefended": undefended,
        "defence": config,
        "suspects": suspects,
        "conditions": conditions.to_dict(),
        "report": _report(purified),
        "detection": metrics.detection(purified.suspicion, purified.suspected, flags).to_dict(),
        # The mapping student's score alone, without the witnesses.
        "mapping_auroc": metrics.detection(
            purified.scores.suspicion, purified.suspected, flags
        ).auroc,
        "punished_precision": metrics.Share.of(flags[purified.punished]).to_dict(),
        "defended": {k: undefended[k] if v is None else v for k, v in result.items()},
        "asr_by_word": asr_by_word(
            purified.model, tokenizer, built.poisoned_test, words, cell.training.max_length
        ),
    }


def leave_alone(cell: Cell, config: str = "default", *, progress: bool = False) -> dict:
    """Purify a model that was never poisoned: the verdict, and what acting cost.

    Args:
        cell: a reference cell (``attack="none"``).
    """
    model, tokenizer = victim(cell, progress=progress)
    splits = _splits(cell.dataset, cell.seed, cell.normalise, cell.sizes)
    purified = purify(
        model,
        tokenizer,
        splits["dev"],
        reference_rows(cell),
        CONFIGS[config](),
        seed=cell.seed,
        progress=progress,
    )

    def accuracy(judged: PreTrainedModel) -> dict:
        length = cell.training.max_length
        found = evaluate(judged, tokenizer, clean=splits["test"], max_length=length)
        return found["cacc"]

    before = accuracy(model)
    return {
        **_header(cell, config),
        "defence": config,
        "report": _report(purified),
        "cacc_before": before,
        "cacc_after": accuracy(purified.model) if purified.changed else before,
    }


def _header(
    cell: Cell, config: str, suspects: str = "found", conditions: Conditions = AS_GIVEN
) -> dict:
    line = command(cell, config, suspects, conditions)
    made = report.provenance(line, seed=cell.seed, backbone=cell.backbone)
    return {"cell": asdict(cell), **made, "training_seconds": training_seconds(cell)}


def _report(purified: Purified) -> dict:
    """The report without its list of rows."""
    return {k: v for k, v in purified.to_dict().items() if k != "punished_rows"}


def command(
    cell: Cell,
    config: str | None = None,
    suspects: str = "found",
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
    if config:
        words.append(f"--defence {config}")
    if suspects != "found":
        words.append(f"--suspects {suspects}")
    words += conditions.options()
    return " ".join(words)


def run(
    cell: Cell,
    folder: str | Path,
    config: str | None = None,
    suspects: str = "found",
    conditions: Conditions = AS_GIVEN,
    *,
    progress: bool = False,
) -> Path:
    """Measure a cell undefended, then with a defence if ``config`` is given; each measurement is
    one JSON, and one that exists is not made again. A reference cell, which has no poison, is only
    defended. Defences under other ``conditions`` have a folder of their own.

    Returns:
        The JSON of the defence if one is given, else of the undefended cell.

    Raises:
        InputError: the JSON of that name holds another cell, say one with another pool; unknown
            ``suspects``; a reference cell, suspects other than ``found`` or other conditions
            without ``config``; other conditions for a reference cell.
    """
    if suspects not in SUSPECTS:
        raise InputError(f"suspects {suspects!r}: choose one of {', '.join(SUSPECTS)}")
    if config is None and suspects != "found":
        raise InputError(f"suspects {suspects}: name the defence that shall distil with them")
    if config is None and conditions.name:
        raise InputError(f"conditions {conditions.name}: name the defence that shall work so")
    if cell.attack == "none":
        if config is None or suspects != "found" or conditions.name:
            raise InputError("attack none: name a defence, which finds its suspects itself")
        cell = cell.reference
        path = Path(folder) / f"clean-{config}" / f"{cell.name}.json"
        if not _finished(path, cell):
            write_json(leave_alone(cell, config, progress=progress), path)
        return path
    path = Path(folder) / "undefended" / f"{cell.name}.json"
    if _finished(path, cell):
        measured = json.loads(path.read_text(encoding="utf-8"))
    else:
        measured = measure(cell, progress=progress)
        write_json(measured, path)
    if config is None:
        return path
    stage = f"conditions-{config}" if conditions.name else f"defended-{config}"
    if suspects != "found":
        stage += f"-{suspects}"
    file = f"{cell.name}-{conditions.name}.json" if conditions.name else path.name
    path = Path(folder) / stage / file
    if not _finished(path, cell):
        found = defend(
            cell,
            config,
            undefended=measured["undefended"],
            suspects=suspects,
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
