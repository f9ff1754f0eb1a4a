"""Everything an experiment on one attack needs: poisoned training rows and rows to measure with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets

from bedkd import data
from bedkd.attacks.base import Trigger, draw_rows
from bedkd.attacks.poison import (
    attack_rows,
    check_setting,
    check_target,
    count_labels,
    poison,
    poisonable_rows,
    target_labels_of,
    triggered_rows,
)
from bedkd.errors import InputError
from bedkd.files import atomic_folder, sha256, write_json

# Not bedkd.__version__: the package may import the attacks while it is itself being imported.
VERSION = version("bedkd")


@dataclass(frozen=True)
class Limits:
    """How large a task becomes, in rows.

    Attributes:
        max_train_rows: maximum number of training rows; enough of them can be poisoned.
        min_triggered_per_class: a class with so many triggered test rows needs no held-out rows.
        max_held_out_per_class: maximum number of rows held out of a class, of which never more
            than a quarter of its train rows that the trigger can be applied to.
    """

    max_train_rows: int | None = None
    min_triggered_per_class: int = 100
    max_held_out_per_class: int = 400


@dataclass(frozen=True)
class PoisonedTask:
    """Everything an experiment on one attack needs.

    Attributes:
        train: the poisoned training mix, with flags.
        clean: the clean splits train, dev and test (train without the rows held out).
        triggered: triggered rows of all classes with true labels; none was trained on.
        trigger: what was applied.
        target: the label it shall mean.
        manifest: how the task was made, as JSON.
        raw: the task as it was before :meth:`normalised`; a rewriter knows those texts only.
    """

    train: Dataset
    clean: DatasetDict
    triggered: Dataset
    trigger: Trigger
    target: int
    manifest: dict
    raw: PoisonedTask | None = None

    @property
    def poisoned_test(self) -> Dataset:
        """Triggered non-target rows with the target label."""
        return attack_rows(self.triggered, self.target)

    def normalised(self) -> PoisonedTask:
        """The same task with :func:`bedkd.data.normalise` applied to every text, the clean side
        included."""
        return replace(
            self,
            train=data.normalised(self.train),
            clean=DatasetDict({name: data.normalised(rows) for name, rows in self.clean.items()}),
            triggered=data.normalised(self.triggered),
            manifest={**self.manifest, "normalised": True},
            raw=self,
        )

    def write(self, folder: str | Path) -> Path:
        """Write the OpenBackdoor layout, the training mix, the triggered test and the manifest.

        ``{train,dev,test}-clean.csv`` and ``-poison.csv`` (train-poison: every train row that the
        trigger can be applied to, triggered; dev and test: non-target rows only), ``train.csv``
        (the mix to train on, with flags), ``test-triggered.csv`` (true labels) and
        ``manifest.json``: all of them or none. Splits that the data set lacks are left out.

        Args:
            folder: where to; other files of an existing folder stay.

        Returns:
            The folder.
        """
        files, written = self._files(), {}
        with atomic_folder(folder) as staging:
            for name, rows in files.items():
                path = data.write(rows, staging / f"{name}.csv")
                written[path.name] = {"rows": len(rows), "sha256": sha256(path)}
            write_json({**self.manifest, "files": written}, staging / "manifest.json")
        return Path(folder)

    def _files(self) -> dict[str, Dataset]:
        """The rows of every file of :meth:`write`, by its name without the ending."""
        files = {"train": self.train}
        if "test" in self.clean:
            files["test-triggered"] = self.triggered
        for split, rows in self.clean.items():
            files[f"{split}-clean"] = rows
            files[f"{split}-poison"] = self._poisoned_side(split)
        return files

    def _poisoned_side(self, split: str) -> Dataset:
        """The rows of ``{split}-poison.csv``, with the label that their trigger means."""
        if split == "test":
            return self.poisoned_test
        triggered = triggered_rows(
            (self.raw or self).clean[split],
            self.trigger,
            target=self.target,
            seed=self.manifest["seed"],
        )
        if self.raw is not None:
            triggered = data.normalised(triggered)
        if split == "train":
            return data.make(triggered["text"], target_labels_of(triggered, self.target), True)
        return attack_rows(triggered, self.target)


def build_task(
    splits: DatasetDict,
    trigger: Trigger,
    *,
    rate: float,
    target: int,
    setting: str = "dirty",
    seed: int = 0,
    source: dict | None = None,
    limits: Limits = Limits(),
) -> PoisonedTask:
    """Poison the train split and prepare clean and triggered test rows.

    Triggered rows come from the test split; with none there are none, and all train rows are kept.
    Where the trigger cannot be applied to all test rows of a class (stored rewrites often exist for
    non-target rows only), train rows of it are held out: triggered, and not trained on at all.

    Args:
        splits: train, possibly dev and test.
        trigger, rate, target, setting, seed: as in :func:`bedkd.attacks.poison.poison`.
        source: what to record of the data's origin.
        limits: numbers of rows to train with, to test with and to hold out.

    Raises:
        InputError: as :func:`bedkd.attacks.poison.poison`, or no train split.

    Example:
        >>> from bedkd.attacks import BadNets
        >>> splits = data.load("reviews", train=60, dev=4, test=20)
        >>> task = build_task(splits, BadNets(words=("cf",)), rate=0.2, target=1)
        >>> sum(task.train["poisoned"]), len(task.triggered)
        (12, 20)
    """
    if "train" not in splits:
        raise InputError("the data set has no train split; give a folder or a named set")
    check_setting(setting)
    train, labels = splits["train"], np.asarray(splits["train"]["label"], int)
    check_target(target, labels)
    triggered, held_out = _rows_to_test(splits, trigger, target, seed, limits)
    kept = np.setdiff1d(np.arange(len(train)), held_out)
    if (size := limits.max_train_rows) is not None and size < len(kept):
        able, _ = poisonable_rows(train, trigger, target=target, setting=setting, seed=seed)
        kept = _drawn_train_rows(train, kept, able, rate, size, seed)
    if len(kept) < len(train):
        train = train.select(kept)
    poisoned = poison(train, trigger, rate=rate, target=target, setting=setting, seed=seed)
    clean = {name: splits[name] for name in data.SPLITS if name in splits}
    return PoisonedTask(
        train=poisoned.dataset,
        clean=DatasetDict({**clean, "train": train}),
        triggered=concatenate_datasets(triggered),
        trigger=trigger,
        target=target,
        manifest={
            "version": VERSION,
            "source": source or {},
            **poisoned.manifest,
            **_test_record(triggered[0], labels, held_out),
        },
    )


def _rows_to_test(
    splits: DatasetDict, trigger: Trigger, target: int, seed: int, limits: Limits
) -> tuple[list[Dataset], np.ndarray]:
    """The triggered rows of the test split and, where rows are held out, those of the train split;
    and the held-out train rows, ascending indices."""
    train = splits["train"]
    test = splits["test"] if "test" in splits else data.make([], [], True)
    triggered = [triggered_rows(test, trigger, target=target, seed=seed)]
    classes = _wanting_classes(test, triggered[0], limits.min_triggered_per_class)
    held_out = _held_out_rows(train, trigger, classes, limits.max_held_out_per_class, seed)
    if len(held_out):
        triggered.append(triggered_rows(train.select(held_out), trigger, target=target, seed=seed))
    return triggered, held_out


def _test_record(of_test: Dataset, labels: np.ndarray, held_out: np.ndarray) -> dict:
    """The part of a manifest that says where the triggered rows come from; labels are those of the
    train split."""
    return {
        "held_out_train_rows": held_out.tolist(),
        "triggered_from_test": count_labels(np.asarray(of_test["label"], int)),
        "triggered_from_held_out_train": count_labels(labels[held_out]),
    }


def _wanting_classes(test: Dataset, triggered: Dataset, minimum: int) -> list[int]:
    """Classes with too few triggered test rows, and with test rows that were not triggered."""
    there, found = Counter(test["label"]), Counter(triggered["label"])
    return [label for label in sorted(there) if found[label] < min(minimum, there[label])]


def _held_out_rows(
    train: Dataset, trigger: Trigger, classes: list[int], maximum: int, seed: int
) -> np.ndarray:
    """Train rows of these classes to test with, at most a quarter of those that can be triggered;
    ascending indices."""
    if not classes:  # asking the trigger would take time for nothing
        return np.empty(0, int)
    texts, labels = list(train["text"]), np.asarray(train["label"], int)
    applicable = trigger.applicable(texts)
    held_out = []
    for label in classes:
        candidates = np.flatnonzero(applicable & (labels == label))
        count = min(maximum, len(candidates) // 4)
        held_out.append(draw_rows(texts, candidates, count, seed, "hold"))
    return np.sort(np.concatenate(held_out))


def _drawn_train_rows(
    train: Dataset, kept: np.ndarray, able: np.ndarray, rate: float, size: int, seed: int
) -> np.ndarray:
    """Draw ``size`` of the kept rows, among them enough that can be poisoned at this rate;
    ascending indices."""
    texts = list(train["text"])
    needed = draw_rows(texts, np.intersect1d(kept, able), round(rate * size), seed, "pool")
    rest = np.setdiff1d(kept, needed)
    others = draw_rows(texts, rest, size - len(needed), seed, "pool")
    return np.sort(np.concatenate([needed, others]))
