"""Measures of attack and defence: functions of arrays, every share with its n and interval.

* **CACC**, clean accuracy: share of clean test rows that get their true label.
* **ASR**, attack success rate: share of triggered *non-target* rows called the target label. Its
  **floor** is the same share for a model trained without poison.
* **RACC**, robust accuracy: share of triggered rows of *all* classes that get their true label.
  Its **ceiling** is the same share for a model trained without poison. A defence that inverts a
  backdoor ("trigger means: not the target") has a low ASR and a low RACC.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score


@dataclass(frozen=True)
class Share:
    """A proportion with its 95 % Wilson interval: ``value``, ``low``, ``high`` in 0 to 1, and
    the number of rows ``n`` it is a share of. Without rows everything but ``n`` is None."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    @classmethod
    def of(cls, hits: np.ndarray) -> Share:
        """Share of true values in a boolean array."""
        hits = np.asarray(hits, bool)
        if not len(hits):
            return cls(None, None, None, 0)
        low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
        return cls(float(hits.mean()), float(low), float(high), len(hits))

    def to_dict(self) -> dict:
        """As a JSON object with the keys ``value, low, high, n``."""
        return asdict(self)

    def __str__(self) -> str:
        if self.value is None:
            return "– (n = 0)"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.n})"


def cacc(predicted: np.ndarray, true: np.ndarray) -> Share:
    """Clean accuracy of predicted labels (N,) against true labels (N,)."""
    return Share.of(np.asarray(predicted) == np.asarray(true))


def asr(predicted: np.ndarray, target: int | np.ndarray) -> Share:
    """Attack success rate of predictions (N,) on triggered rows of *non-target* classes.

    The caller hands in non-target rows only; a triggered row that belongs to the target class
    would count as a success without any attack.
    """
    return Share.of(np.asarray(predicted) == target)


def racc(predicted: np.ndarray, true: np.ndarray) -> tuple[Share, dict[int, Share]]:
    """Accuracy on triggered rows against true labels (N,): overall and by true class."""
    predicted, true = np.asarray(predicted), np.asarray(true)
    hits = predicted == true
    return Share.of(hits), {int(c): Share.of(hits[true == c]) for c in np.unique(true)}


@dataclass(frozen=True)
class DetectionQuality:
    """How well scores find poisoned rows.

    ``precision`` of the flagged rows, ``recall`` and false rejection rate ``frr`` (clean rows
    flagged) as shares, ``auroc`` over all rows; None where it is undefined.
    """

    precision: Share
    recall: Share
    frr: Share
    auroc: float | None

    def to_dict(self) -> dict:
        """As a JSON object."""
        return asdict(self)


def detection_quality(
    scores: np.ndarray, flagged: np.ndarray, poisoned: np.ndarray
) -> DetectionQuality:
    """Judge scores (N,) and decisions (N,) against poison flags (N,)."""
    flagged, poisoned = np.asarray(flagged, bool), np.asarray(poisoned, bool)
    both = 0 < poisoned.sum() < len(poisoned)
    return DetectionQuality(
        precision=Share.of(poisoned[flagged]),
        recall=Share.of(flagged[poisoned]),
        frr=Share.of(flagged[~poisoned]),
        auroc=float(roc_auc_score(poisoned, scores)) if both else None,
    )


def mean_and_spread(values: list[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; the latter is None for a single value."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return float(np.mean(values)), spread
