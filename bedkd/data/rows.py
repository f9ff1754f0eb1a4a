"""Rows: the columns every data set has, and how rows are made, counted and drawn."""

from __future__ import annotations

import hashlib
import json
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, Value

from bedkd.errors import InputError
from bedkd.files import writing

FEATURES = Features({"text": Value("string"), "label": Value("int64"), "poisoned": Value("bool")})
SPLITS = ("train", "dev", "test")
# Rows that are held in memory as Python objects at a time.
IN_MEMORY = 10_000


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


def make_large(parts: Iterable[tuple[list, list, list]]) -> Dataset:
    """:func:`make` from columns that come in parts. More than one part is kept in a temporary file,
    from which rows are read where they are needed, until the process ends.

    >>> make_large([(["a fine film"], [1], [None]), (["dull"], [0], [None])])["label"][:]
    [1, 0]
    """
    parts = iter(parts)
    begin = [make(*columns) for columns in islice(parts, 2)]
    if len(begin) < 2:
        return begin[0] if begin else make([], [], None)
    path = Path(_temporary_folder().name) / f"{uuid.uuid4().hex}.arrow"
    schema = begin[0].data.schema
    with writing(path):
        file = pa.OSFile(str(path), "wb")
    with file, pa.ipc.new_stream(file, schema) as out:
        for rows in chain(begin, (make(*columns) for columns in parts)):
            with writing(path):
                out.write_table(rows.data.table)
    return Dataset.from_file(str(path))


@lru_cache(maxsize=1)
def _temporary_folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="bedkd-rows-")


def labels_of(dataset: Dataset) -> np.ndarray:
    """The labels of N rows, (N,), without a list of them on the way."""
    return np.asarray(dataset.with_format("numpy")["label"][:], int)


def texts_of(dataset: Dataset) -> Iterator[str]:
    """The texts of all rows, a few thousand of them in memory at a time."""
    for part in dataset.select_columns(["text"]).iter(IN_MEMORY):
        yield from part["text"]


def fingerprint_rows(dataset: Dataset) -> str:
    """SHA-256 of texts and labels in their order, as of their JSON; other columns play no part."""
    digest = hashlib.sha256()
    for start, column in (("[[", texts_of(dataset)), ("], [", labels_of(dataset).tolist())):
        digest.update(start.encode())
        for number, value in enumerate(column):
            digest.update((", " * (number > 0) + json.dumps(value)).encode())
    digest.update(b"]]")
    return digest.hexdigest()


def num_labels(*datasets: Dataset) -> int:
    """Number of classes: largest label of all given rows plus one, at least 2."""
    return max(2, *(int(labels_of(d).max(initial=0)) + 1 for d in datasets))


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
    present = {int(label) for label in np.unique(labels_of(dataset))}
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
    labels = labels_of(dataset)
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
