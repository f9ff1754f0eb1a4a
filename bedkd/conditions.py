"""What a defender has, made scarce or dirty on purpose: conditions of an experiment.

A cell of the grid gives the defender the clean dev split, and the preset says how many flagged rows
a repair uses. Here are fewer trusted rows, poisoned ones among them, wrong labels, and fewer or
more flagged rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from datasets import Dataset

from bedkd import data
from bedkd.attacks import PoisonedTask, target_labels
from bedkd.detectors.directional_mapping import flip
from bedkd.errors import InputError
from bedkd.presets import Preset


@dataclass(frozen=True)
class Conditions:
    """Departures from what a cell gives the defender; the default departs in nothing.

    Attributes:
        trusted_rows: number of trusted rows a class, drawn at random; None for all of dev.
        contaminated: share of the trusted rows that are poisoned: they carry the trigger, belong to
            another class and have the target label.
        mislabelled: share of the trusted rows with the next class's label (without any trigger).
        max_suspects: maximum number of flagged rows that the repair uses; None as in the preset.
    """

    trusted_rows: int | None = None
    contaminated: float = 0.0
    mislabelled: float = 0.0
    max_suspects: int | None = None

    def __post_init__(self):
        for name in ("trusted_rows", "max_suspects"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: give at least 1")
        for name in ("contaminated", "mislabelled"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise InputError(f"{name}={getattr(self, name)}: give a share from 0 to 0.5")

    @property
    def name(self) -> str:
        """The departures as part of a file name, empty without any."""
        short = {"trusted_rows": "trusted", "max_suspects": "suspects"}
        return "-".join(f"{short.get(k, k)}{v:g}" for k, v in self.to_dict().items() if v)

    def options(self) -> list[str]:
        """The departures as options of ``bedkd reproduce``."""
        names = {
            "trusted_rows": "--trusted-rows",
            "contaminated": "--contaminated",
            "mislabelled": "--mislabelled",
            "max_suspects": "--max-suspects",
        }
        return [f"{names[key]} {value:g}" for key, value in self.to_dict().items() if value]

    def to_dict(self) -> dict:
        return asdict(self)

    def draw_trusted(self, task: PoisonedTask, seed: int) -> Dataset:
        """The trusted rows of a task under these conditions.

        Raises:
            InputError: too few rows a class, or too few that can be poisoned.
        """
        rows = task.clean["dev"].select_columns(["text", "label"])
        if self.trusted_rows is not None:
            rows, _ = data.balanced_split(rows, self.trusted_rows, seed=seed)
        texts, labels = list(rows["text"]), np.asarray(rows["label"], int)
        rng = np.random.default_rng(seed)
        count = round(self.contaminated * len(rows))
        classes = data.num_labels(task.clean["dev"])
        wished = target_labels(task.trigger, texts, task.target, classes, seed)
        able = np.flatnonzero((labels != wished) & task.trigger.applicable(texts))
        if count > len(able):
            raise InputError(
                f"contaminated={self.contaminated}: {count} trusted rows are to be poisoned, but "
                f"only {len(able)} can be"
            )
        chosen = rng.permutation(able)[:count]
        poisoned = task.trigger.apply([texts[i] for i in chosen], seed) if count else []
        for i, text in zip(chosen, poisoned, strict=True):
            texts[i] = text
        labels[chosen] = wished[chosen]
        honest = np.setdiff1d(np.arange(len(rows)), chosen)
        wrong = rng.permutation(honest)[: round(self.mislabelled * len(rows))]
        labels[wrong] = flip(labels[wrong], classes)
        return data.make(texts, labels, None)

    def applied(self, preset: Preset) -> Preset:
        """A preset under these conditions."""
        if self.max_suspects is None:
            return preset
        return preset._replace(repair=replace(preset.repair, max_suspects=self.max_suspects))


AS_GIVEN = Conditions()
