"""Content evidence: does what a row says support its given label?

Sentence embeddings of a public encoder that was not fine-tuned on this data, and a logistic
regression on trusted rows; out-of-sample "self-confidence" of the given label, as in confident
learning. It never asks the suspect model, so its errors are not that model's errors. A poisoned row
of a dirty-label attack carries a label that its content does not support.

The encoder knows English: in other languages this evidence says little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict

from bedkd.case import Case
from bedkd.detectors.base import Detection, Evidence, log_odds, too_few
from bedkd.run import Run


def folds(
    texts: Sequence[str], labels: np.ndarray, seed: int, most: int = 5
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Splits of cross-validation, training and test indices: ``most``, or as many as the smallest
    class has different texts.

    Rows with the same text, whatever its case and spaces, stay together: a classifier that has
    seen one copy would know the other by heart.

    Example:
        >>> parts = folds(["a", "b", "A ", "c", "d"], np.array([0, 0, 0, 1, 1]), seed=0)
        >>> [test.tolist() for _, test in parts]
        [[1, 3], [0, 2, 4]]
    """
    numbers: dict[str, int] = {}
    group = np.array([numbers.setdefault(" ".join(t.lower().split()), len(numbers)) for t in texts])
    labels, first = np.asarray(labels), np.unique(group, return_index=True)[1]
    counts = np.unique(labels[first], return_counts=True)[1]
    if len(counts) < len(np.unique(labels)) or counts.min() < 2:
        # A class that is one text over and over cannot be divided.
        group = first = np.arange(len(labels))
        counts = np.unique(labels, return_counts=True)[1]
    splitter = StratifiedKFold(
        max(2, min(most, int(counts.min()))), shuffle=True, random_state=seed
    )
    parts = splitter.split(first, labels[first])
    return [tuple(np.flatnonzero(np.isin(group, some)) for some in pair) for pair in parts]


@dataclass(frozen=True)
class Content:
    """Log-odds that the content speaks *against* the given label.

    Attributes:
        fdr: as a detector of its own, false discovery rate of the flagged rows.
        min_flagged: minimum number of flagged rows for the verdict "backdoored".

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> Content().detect(case).is_backdoored
        False
    """

    fdr: float = 0.05
    min_flagged: int = 16

    def evidence(self, case: Case, run: Run = Run()) -> Evidence:
        """What the content of every row says, trusted rows by a classifier that did not see
        them. Of large sets every part is kept as soon as it is there."""
        against, trusted = against_label(case, case.trusted_embeddings)
        found, parts = [], case.scans
        kept = run if len(parts) > 1 else Run()
        for k, part in enumerate(parts, start=1):
            if (saved := kept.load(f"content-{k}")) is None:
                saved = {"against": against(case.embedded(part), case.labels[part])}
                kept.save(f"content-{k}", lambda: saved)  # noqa: B023
            found.append(saved["against"])
        return Evidence.of(np.concatenate(found), trusted)

    def detect(self, case: Case, run: Run = Run()) -> Detection:
        """Flag rows whose content does not support their label: label errors too."""
        counts = len(case.divided.all), len(case.untrusted)
        if missing := too_few(*counts, self.fdr, self.min_flagged):
            return Detection.undecided(case, missing)
        found = self.evidence(case, run)
        flagged = found.flag(self.fdr)
        enough = int(flagged.sum()) >= self.min_flagged
        return Detection(found.untrusted, flagged, found.threshold(self.fdr), enough)


def against_label(
    case: Case, trusted: np.ndarray
) -> tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], np.ndarray]:
    """Log-odds against the given label, by a logistic regression on trusted rows' features.

    Args:
        trusted: features of the trusted rows in the order of ``case.divided.all``, (M, D).

    Returns:
        A function of features (R, D) and given labels (R,) to log-odds (R,); and the log-odds of
        the trusted rows, by classifiers that did not see the row, (M,).
    """
    labels = case.trusted_labels
    parts = folds(case.divided.all["text"][:], labels, case.seed)
    search = GridSearchCV(
        LogisticRegression(max_iter=2000),
        {"C": np.logspace(-1, 3, 9)},
        scoring="neg_log_loss",
        cv=parts,
    ).fit(trusted, labels)
    unseen = cross_val_predict(
        search.best_estimator_, trusted, labels, cv=parts, method="predict_proba"
    )
    column = {label: k for k, label in enumerate(search.classes_)}

    def odds(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
        # A label that no trusted row has is one the content never supports.
        pairs = zip(probabilities, given, strict=True)
        return -log_odds(np.array([p[column[y]] if y in column else 0.0 for p, y in pairs]))

    return lambda rows, given: odds(search.predict_proba(rows), given), odds(unseen, labels)


def support(case: Case, rows: np.ndarray) -> np.ndarray:
    """Log-odds of every label by the content of untrusted rows, (R, K).

    Args:
        rows: their numbers, (R,).
    """
    against, _ = against_label(case, case.trusted_embeddings)
    features, everyone = case.embedded(rows), np.ones(len(rows), int)
    return np.stack([-against(features, label * everyone) for label in range(case.num_labels)], 1)
