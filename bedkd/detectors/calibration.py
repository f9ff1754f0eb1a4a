"""What clean rows look like that the model *was trained on*, from trusted rows that it was not.

A clean row that is hard to tell is learnt by heart in training: the model says its label whatever
its content speaks for. A trusted row that is as hard is simply classified wrongly. So trusted rows
that are classified correctly are easier than the clean rows among the untrusted ones, and a false
discovery rate estimated from them is too low: about twice as many clean rows were flagged.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bedkd.case import Case
from bedkd.detectors.base import Evidence


def as_if_trained_on(evidence: Evidence, case: Case) -> Evidence:
    """The same evidence of a model's behaviour, with a null that stands for rows it was trained on.

    Trusted rows that the model gets wrong join the null. What it would do with them, had it seen
    them, is drawn from the evidence of those of their class that it gets right (evenly over its
    quantiles); evidence that does not ask the model, such as content, keeps what it says of them.
    Classes weigh in the null as they do among the eligible untrusted rows.

    Args:
        evidence: whose null are the held-out trusted rows classified correctly; NaN for trusted
            rows of which nothing can be said.

    Example:
        >>> from types import SimpleNamespace
        >>> case = SimpleNamespace(
        ...     seed=0, labels=np.array([0, 0, 0, 1]), trusted_labels=np.array([0, 0, 1, 1])
        ... )
        >>> right, all_rows = np.array([True, False, True, True]), np.ones(4, bool)
        >>> found = as_if_trained_on(
        ...     Evidence(np.zeros(4), all_rows, np.array([1.0, -9.0, 2.0, 3.0]), right), case
        ... )
        >>> found.trusted.tolist(), found.null.tolist()
        ([1.0, 1.0, 2.0, 3.0], [1.5, 1.5, 0.5, 0.5])
    """
    rng, labels = np.random.default_rng(case.seed), case.trusted_labels
    trusted, null = evidence.trusted.copy(), np.zeros(len(labels))
    held_out = np.isfinite(trusted)
    given = case.labels[evidence.eligible]
    for label in np.unique(labels[held_out]):
        rows = held_out & (labels == label)
        right = evidence.trusted[rows & evidence.null.astype(bool)]
        wrong = np.flatnonzero(rows & ~evidence.null.astype(bool))
        if len(right):
            ranks = (np.arange(len(wrong)) + 0.5) / max(len(wrong), 1)
            trusted[wrong] = rng.permutation(np.quantile(right, ranks))
        null[rows] = (given == label).mean() * held_out.sum() / rows.sum()
    return dataclasses.replace(evidence, trusted=trusted, null=null)
