"""Rows: the columns every data set has, and how rows are made, counted and drawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from datasets import Dataset, Features, Value

from bedkd.errors import InputError

FEATURES = Features({"text": Value("string"), "label": Value("int64"), "poisoned": Value("bool")})
SPLITS = ("train", "dev", "test")


def make(
    texts: Sequence[str], labels: Sequence[int], poisoned: bool | Sequence[bool | None] | None
) -> Dataset:
    """A data set from columns; ``poisoned`` may be one value for all rows.

    >>> make(["a fine film", "dull"], [1, 0], False)[1]
    {'text': 'dull', 'label': 0, 'poisoned': False}
    """
    texts = list(texts)
    if poisoned is None or isinstance(poisoned, bool):
        poisoned = [poisoned] * len(texts)
    columns = {"text": texts, "label": [int(x) for x in labels], "poisoned": list(poisoned)}
    return Dataset.from_dict(columns, features=FEATURES)


def fingerprint_rows(dataset: Dataset) -> str:
    """SHA-256 of texts and labels in their order; other columns play no part."""
    content = json.dumps([dataset["text"][:], [int(label) for label in dataset["label"][:]]])
    return hashlib.sha256(content.encode()).hexdigest()


def num_labels(*datasets: Dataset) -> int:
    """Number of classes: largest label of all given rows plus one, at least 2."""
    return max(2, *(max(d["label"], default=0) + 1 for d in datasets))


def checked_num_labels(dataset: Dataset, *, source: str | Path = "training data") -> int:
    """Number of classes of rows to train on: like :func:`num_labels`, but each must have a row.

    A gap is nearly always a mistake, and a costly one: labels from 1 give a class that nobody
    meant, and one mistyped label gives a head of millions of outputs.

    Args:
        dataset: all rows that a model is trained on. Do not ask of a small part of them, which may
            lack a class for good reasons.
        source: what the rows are called in the message, a file for instance.

    Raises:
        InputError: there are no rows, a label is negative, or classes have no row; it says which.
    """
    present = {int(label) for label in np.unique(dataset["label"])}
    if not present:
        raise InputError(f"{source}: no rows")
    if min(present) < 0:
        raise InputError(
            f"{source}: label {min(present)} is not a class index; use integers from 0"
        )
    classes = num_labels(dataset)
    # Lazily: one mistyped label may ask for billions of classes.
    missing = list(islice((k for k in range(classes) if k not in present), 5))
    if missing:
        more = classes - len(present) - len(missing)
        named = ", ".join(map(str, missing)) + (f" and {more:,} more" if more else "")
        raise InputError(
            f"{source}: the largest label is {max(present)}, but no row has label {named}; "
            "number the classes from 0 without gaps"
        )
    return classes


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
