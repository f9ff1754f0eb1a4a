"""Cells of the grid: which attack on which data set, with which seed and training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from bedkd import attacks, corpora, data, report
from bedkd.attacks import rewriting
from bedkd.conditions import AS_GIVEN, Conditions
from bedkd.errors import InputError
from bedkd.presets import PRESETS, Preset
from bedkd.training.fine_tune import TrainingConfig
from bedkd.training.runtime import accelerator

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
    lora: int | None = None

    def to_dict(self) -> dict:
        """As a JSON object; without the rank of an adapter where all weights are trained."""
        return {k: v for k, v in asdict(self).items() if k != "lora" or v is not None}

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
        if self.lora:
            parts.insert(-1, f"lora{self.lora}")
        return "-".join(parts)

    @property
    def key(self) -> str:
        """Hash of the settings that a victim is trained with. How many test rows judge it plays no
        part, the precision of training does."""
        learnt = {**self.to_dict(), "sizes": [s for s in self.sizes if s[0] != "test"]}
        return report.digest({**learnt, "precision": accelerator().mixed_precision})

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


def command(
    cell: Cell,
    preset: str | None = None,
    rows_from: str = "found",
    conditions: Conditions = AS_GIVEN,
    detector: str | None = None,
) -> str:
    """The command line that measures this cell."""
    # Accelerate reads the variable; on CUDA the engine has its own choice.
    bf16 = accelerator().mixed_precision == "bf16"
    words = ["ACCELERATE_MIXED_PRECISION=bf16"] if bf16 else []
    words += [f"bedkd reproduce --dataset {cell.dataset} --attack {cell.attack}"]
    words.append(f"--seed {cell.seed} --rate {cell.rate:g} --backbone {cell.backbone}")
    if cell.layers:
        words.append(f"--layers {cell.layers}")
    if cell.lora:
        words.append(f"--lora {cell.lora}")
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
    if detector:
        words.append(f"--detector {detector}")
    if rows_from != "found":
        words.append(f"--rows-from {rows_from}")
    words += conditions.options()
    return " ".join(words)
