"""Rows: the columns every data set has, and how rows are made, counted and drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset, Features, Value

from bedkd.errors import InputError

FEATURES = Features({"text": Value("string"), "label": Value("int64"), "poisoned": Value("bool")})
SPLITS = ("train", "dev", "test")


def make(
    texts: Sequence[str], labels: Sequence[int], poisoned: bool | Sequence[bool | None] | None
) -> Dataset:
    """A data set from columns; ``poisoned`` may be one value for all rows."""
    texts = list(texts)
    if poisoned is None or isinstance(poisoned, bool):
        poisoned = [poisoned] * len(texts)
    columns = {"text": texts, "label": [int(x) for x in labels], "poisoned": list(poisoned)}
    return Dataset.from_dict(columns, features=FEATURES)


def num_labels(*datasets: Dataset) -> int:
    """Number of classes: largest label of all given rows plus one, at least 2."""
    return max(2, *(max(d["label"], default=0) + 1 for d in datasets))


def balanced_split(dataset: Dataset, per_class: int, *, seed: int) -> tuple[Dataset, Dataset]:
    """Draw ``per_class`` rows of every class; returns (drawn, rest), both in original order.

    Raises:
        InputError: a class has fewer rows.
    """
    labels = np.asarray(dataset["label"])
    rng = np.random.default_rng(seed)
    drawn = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < per_class:
            raise InputError(f"label {label}: {len(rows)} rows, {per_class} asked for")
        drawn.append(rng.permutation(rows)[:per_class])
    chosen = np.sort(np.concatenate(drawn))
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    return dataset.select(chosen), dataset.select(rest)
