"""The contract of detectors, the evidence they add up, and the threshold that they share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy.stats import betabinom, false_discovery_control

from bedkd.case import Case
from bedkd.errors import InputError
from bedkd.run import Run


@dataclass(frozen=True)
class Detection:
    """What a detector found.

    Attributes:
        scores: (N,), finite numbers, larger is more suspicious.
        flagged: (N,) bool, rows believed to be poisoned.
        threshold: of the score, or of what ``details`` names; infinity if no row is flagged.
        is_backdoored: the verdict on the model.
        p_value: of "there is no backdoor", from trusted rows alone; None where the method has none.
        repair_scores: in which order a repair takes rows, (N,); −inf for rows that it must not
            take. Default: ``scores``.
        details: the method's own figures, as JSON; shown in the report.
        evidence: the scores' parts by name, each (N,), where the method has parts.
        cannot_tell: what is missing for any verdict, one sentence each; empty where there is one.
    """

    scores: np.ndarray
    flagged: np.ndarray
    threshold: float
    is_backdoored: bool
    p_value: float | None = None
    repair_scores: np.ndarray | None = None
    details: dict = field(default_factory=dict)
    evidence: dict[str, np.ndarray] = field(default_factory=dict)
    cannot_tell: list[str] = field(default_factory=list)

    def __post_init__(self):
        if self.repair_scores is None:
            object.__setattr__(self, "repair_scores", self.scores)

    @classmethod
    def undecided(cls, case: Case, reasons: list[str]) -> Detection:
        """No verdict on a case: all scores are 0 and no row is flagged."""
        count = len(case.untrusted)
        nobody = np.zeros(count, bool)
        return cls(np.zeros(count), nobody, float("inf"), False, cannot_tell=reasons)

    @property
    def verdict(self) -> str:
        """``backdoor suspected``, ``no evidence of a backdoor`` or ``cannot tell``."""
        if self.cannot_tell:
            return "cannot tell"
        return "backdoor suspected" if self.is_backdoored else "no evidence of a backdoor"


class Detector(Protocol):
    """Which rows are poisoned, and is there a backdoor at all?

    A detector never changes ``case.model`` and has no way to see a poison flag. Its result must not
    depend on the order of rows or on padding, and the same seed gives the same result. It is a
    frozen dataclass whose fields are its settings.

    Most need little more than what the model says of rows, ``predict(case.suspect, rows).logits``
    (:func:`bedkd.training.predict.predict`) with ``case.encoded_untrusted`` or
    ``case.encoded(case.divided.all, "the trusted set")`` for ``rows``; a threshold, as
    :func:`fdr_threshold` takes it from trusted rows; and where something is drawn,
    ``np.random.default_rng(case.seed)`` or, for untrusted rows, ``case.draws``.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Longest:
        ...     words: int = 30
        ...     def detect(self, case, run=None):
        ...         scores = np.array([len(t.split()) for t in case.untrusted["text"]], float)
        ...         flagged = scores >= self.words
        ...         return Detection(scores, flagged, self.words, bool(flagged.any()))
    """

    def detect(self, case: Case, run: Run = Run()) -> Detection:
        """Score the N untrusted rows of a case.

        Args:
            case: what the defender holds: ``case.untrusted`` are rows with ``text`` and given
                ``label``, ``case.divided`` the trusted rows, ``case.suspect`` the model on the
                accelerator's device.
            run: where long work may keep its state.

        Returns:
            A verdict with scores; or :meth:`Detection.undecided`, before any long work, where the
            rows are too few for the method (see :func:`too_few`).
        """
        ...


def fdr_threshold(
    null: np.ndarray, scores: np.ndarray, fdr: float, weights: np.ndarray | None = None
) -> float:
    """The lowest threshold at which the false discovery rate is estimated to stay below ``fdr``.

    ``null`` are scores of trusted rows that the detector did not train on: what clean rows look
    like. (1 + number of the null ≥ s) / (1 + M) is the conformal p-value of a score s; the rule is
    Benjamini and Hochberg's.

    Args:
        null: (M,) scores of held-out trusted rows.
        scores: (N,) scores of untrusted rows.
        fdr: largest tolerated share of clean rows among the flagged ones, as estimated; larger
            flags more rows.
        weights: (M,), how many rows a row of the null stands for; one each by default.

    Returns:
        The threshold: rows ≥ it are flagged. Infinity if no row qualifies.

    Example:
        >>> fdr_threshold(np.arange(99) / 100, np.array([0.2, 0.5, 1.5, 1.6, 1.7]), fdr=0.05)
        1.5
    """
    return float(min(scores[_rates(null, scores, weights) <= fdr], default=float("inf")))


def p_value(null: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Simes' p-value of "the N scores look like the null": the smallest false discovery rate at
    which any row would be flagged. Arguments are those of :func:`fdr_threshold`.

    >>> p_value(np.arange(99) / 100, np.array([0.2, 1.5]))
    0.02
    """
    return float(min(_rates(null, scores, weights), default=1.0))


def _rates(null: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """The false discovery rate at which each score would be flagged, (N,)."""
    if not len(scores):
        return np.empty(0)
    weights = np.ones(len(null)) if weights is None else weights
    order = np.argsort(null)
    above = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
    tail = above[np.searchsorted(null[order], scores, side="left")]
    return false_discovery_control(np.minimum((tail + 1) / (weights.sum() + 1), 1.0))


def min_detectable(null: int, rows: int, fdr: float) -> int:
    """How many rows must stand above the whole null for :func:`fdr_threshold` to flag any.

    Args:
        null: M, number of held-out trusted rows.
        rows: N, number of untrusted rows.
        fdr: as there.

    Example:
        >>> min_detectable(null=199, rows=1000, fdr=0.05)
        100
    """
    return math.ceil(rows / ((null + 1) * fdr))


def too_few(null: int, rows: int, fdr: float, min_flagged: int = 1) -> list[str]:
    """Why :func:`fdr_threshold` could not flag enough rows whatever their scores; empty if it
    could.

    Args:
        null, rows, fdr: as in :func:`min_detectable`.
        min_flagged: minimum number of flagged rows for the verdict "backdoored".

    Example:
        >>> too_few(null=199, rows=1000, fdr=0.05)
        []
        >>> too_few(null=8, rows=600, fdr=0.05)[0]
        '8 trusted rows to compare with: at a false discovery rate of 0.05 no number of poisoned rows could be noticed; it takes at least 19'
    """  # noqa: E501
    if rows < min_flagged:
        return [f"{rows} untrusted rows: a verdict needs {min_flagged} flagged ones; give more"]
    if min_detectable(null, rows, fdr) > rows:
        needed = math.ceil(1 / fdr) - 1
        return [
            f"{null} trusted rows to compare with: at a false discovery rate of {fdr:g} no number "
            f"of poisoned rows could be noticed; it takes at least {needed}"
        ]
    return []


def _rank(null: int, fpr: float) -> int:
    """Which of M sorted null scores is the conformal (1 − fpr) quantile, counted from 1."""
    return math.ceil(round((null + 1) * (1 - fpr), 9))  # 20 · 0.95 is not exactly 19


def flag_by_fpr(
    scores: np.ndarray,
    null: np.ndarray,
    fpr: float,
    *,
    min_flagged: int = 16,
    level: float = 0.01,
    details: dict | None = None,
) -> Detection:
    """Flag what scores higher than all but a share ``fpr`` of trusted rows, as the rivals of this
    method do, and say whether so many would be flagged without a backdoor.

    The threshold is the k-th smallest of M trusted scores, k = ⌈(M + 1)(1 − fpr)⌉: a clean row
    like the trusted ones lies above it with probability (M + 1 − k) / (M + 1) ≤ fpr. How many of N
    clean rows do is beta-binomial with parameters N, M − k + 1, k, since the threshold itself was
    drawn; the p-value is its tail. It knows of one threshold for all rows, not of copies: rows that
    are alike, or unlike the trusted ones for another reason than a trigger, make it too small.

    Args:
        scores: (N,), larger is more suspicious.
        null: (M,) scores of trusted rows that the detector was not fitted on, M ≥ k.
        fpr: share of clean rows that may be flagged, 0 to 1; larger flags more.
        min_flagged: minimum number of flagged rows for the verdict "backdoored".
        level: largest p-value for that verdict.
        details: the method's own figures.

    Example:
        >>> found = flag_by_fpr(np.arange(100.0), np.arange(19.0), fpr=0.05)
        >>> found.threshold, int(found.flagged.sum()), round(found.p_value, 3)
        (18.0, 81, 0.0)
    """
    rank = _rank(len(null), fpr)
    threshold = float(np.sort(null)[rank - 1])
    flagged = scores > threshold
    count = int(flagged.sum())
    p_value = float(betabinom.sf(count - 1, len(scores), len(null) - rank + 1, rank))
    p_value = min(max(p_value, 0.0), 1.0)  # rounding leaves it a little outside
    bad = p_value <= level and count >= min_flagged
    return Detection(scores, flagged, threshold, bad, p_value, details=details or {})


@dataclass(frozen=True)
class Rival:
    """What published detectors have in common here: a score a row, and :func:`flag_by_fpr`.

    A method is a subclass with :meth:`score`, and with :meth:`null_rows` where it trains on
    trusted rows.

    Attributes:
        fpr: share of clean rows that may be flagged, 0 to 1; larger flags more.
        min_flagged: minimum number of flagged rows for the verdict "backdoored".
    """

    fpr: float = 0.05
    min_flagged: int = 16

    def __post_init__(self):
        if not 0 < self.fpr < 1:
            raise InputError(f"fpr={self.fpr}: give a share between 0 and 1, such as 0.05")
        if self.min_flagged < 1:
            raise InputError(f"min_flagged={self.min_flagged}: give at least 1")

    def score(self, case: Case, run: Run) -> tuple[np.ndarray, np.ndarray, dict]:
        """Scores of the untrusted rows, (N,), and of trusted rows, (M,), with JSON figures."""
        raise NotImplementedError

    def null_rows(self, case: Case) -> int:
        """M, the number of trusted rows that say what clean rows look like."""
        return len(case.divided.all)

    def missing(self, case: Case) -> list[str]:
        """Why no scores of this case could be enough; known before any long work."""
        null, rows = self.null_rows(case), len(case.untrusted)
        if rows < self.min_flagged:
            return [f"{rows} untrusted rows: a verdict needs {self.min_flagged} flagged; give more"]
        if _rank(null, self.fpr) > null:
            least = math.ceil(round(1 / self.fpr, 9)) - 1
            return [
                f"{null} trusted rows to compare with: no threshold has a false positive rate of "
                f"{self.fpr:g}; it takes at least {least}"
            ]
        return []

    def detect(self, case: Case, run: Run = Run()) -> Detection:
        """Score all rows, then flag by the trusted ones."""
        if missing := self.missing(case):
            return Detection.undecided(case, missing)
        scores, null, details = self.score(case, run)
        return flag_by_fpr(scores, null, self.fpr, min_flagged=self.min_flagged, details=details)


@dataclass(frozen=True)
class Evidence:
    """Log-odds that a row is poisoned; evidence adds up.

    Attributes:
        untrusted: (N,).
        eligible: (N,) bool, rows that may be flagged: the model predicts the given label.
        trusted: (M,), in the order of ``case.divided.all``.
        null: (M,), how many rows each trusted row stands for in saying what clean rows look like.
            False, or 0, for rows that made the evidence, and for rows that the model gets wrong
            unless :func:`bedkd.detectors.calibration.as_if_trained_on` has spoken for them.

    Example:
        >>> yes, no = np.array([True, True]), np.array([True] * 19)
        >>> one = Evidence(np.array([3.0, 0.0]), yes, np.zeros(19), no)
        >>> (one + one).untrusted.tolist(), (one + one).flag(fdr=0.5).tolist()
        ([6.0, 0.0], [True, False])
    """

    untrusted: np.ndarray
    eligible: np.ndarray
    trusted: np.ndarray
    null: np.ndarray

    @classmethod
    def of(cls, untrusted: np.ndarray, trusted: np.ndarray) -> Evidence:
        """Evidence that restricts nothing."""
        return cls(untrusted, np.ones(len(untrusted), bool), trusted, np.ones(len(trusted), bool))

    def __add__(self, other: Evidence | None) -> Evidence:
        if other is None:
            return self
        return Evidence(
            self.untrusted + other.untrusted,
            self.eligible & other.eligible,
            self.trusted + other.trusted,
            self.null * other.null,
        )

    def threshold(self, fdr: float) -> float:
        """See :func:`fdr_threshold`."""
        null, scores, weights = self._compared()
        return fdr_threshold(null, scores, fdr, weights)

    def p_value(self) -> float:
        """See :func:`p_value`."""
        return p_value(*self._compared())

    def _compared(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        used = self.null > 0
        return self.trusted[used], self.untrusted[self.eligible], self.null[used].astype(float)

    def flag(self, fdr: float) -> np.ndarray:
        """Eligible rows at or above the threshold, (N,) bool."""
        return (self.untrusted >= self.threshold(fdr)) & self.eligible


def least_suspicious(scores: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Indices of the less suspicious half of N rows; ``draws`` (N,) decide between equal scores.

    >>> least_suspicious(np.array([0.3, 0.1, 0.3, 0.9]), np.array([0.5, 0.2, 0.1, 0.8])).tolist()
    [1, 2]
    """
    return np.lexsort((draws, scores))[: len(scores) // 2]


def log_odds(p: np.ndarray) -> np.ndarray:
    """log(p / (1 − p)), with p kept off 0 and 1 by 1e-6.

    >>> log_odds(np.array([0.5])).tolist()
    [0.0]
    """
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))
