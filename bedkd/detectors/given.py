"""Rows that the caller names: for an owner who knows them, and for experiments that part detection
from repair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.errors import InputError
from bedkd.run import Run


@dataclass(frozen=True)
class Given:
    """Flag exactly these rows.

    Attributes:
        rows: distinct row numbers of the untrusted set, at least one.

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> np.flatnonzero(Given((3, 7)).detect(case).flagged).tolist()
        [3, 7]
    """

    rows: tuple[int, ...]

    def __post_init__(self):
        object.__setattr__(self, "rows", tuple(int(row) for row in self.rows))

    def detect(self, case: Case, run: Run = Run()) -> Detection:
        """Flag the rows.

        Raises:
            InputError: no rows, a row named twice, or one outside the untrusted set.
        """
        rows, count = np.array(self.rows, int), len(case.untrusted)
        if (
            not len(rows)
            or rows.min() < 0
            or rows.max() >= count
            or len(set(self.rows)) < len(rows)
        ):
            raise InputError(f"rows: give distinct row numbers from 0 to {count - 1}, at least one")
        flagged = np.zeros(count, bool)
        flagged[rows] = True
        return Detection(flagged.astype(float), flagged, 1.0, True, details={"given": len(rows)})
