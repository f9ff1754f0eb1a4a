"""Mahalanobis distance: is a row's hidden state far from those of trusted rows of its label?

Source: Lee et al. 2018, *A Simple Unified Framework for Detecting Out-of-Distribution Samples and
Adversarial Attacks*; as a detector of textual backdoors also in DAN (Chen et al. 2022) and DUP.

Kept: √((h − μ_y)ᵀ Σ⁻¹ (h − μ_y)) with the mean μ of each label and one covariance Σ for all.
Changed: y is the row's given label; Σ is shrunk (Ledoit and Wolf), as trusted rows are few; the
trusted rows' own distances are taken from fits that did not see them. Left out: the layers below
the last, and what DUP adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.covariance import LedoitWolf

from bedkd.case import Case
from bedkd.detectors.base import Rival
from bedkd.detectors.content import folds
from bedkd.detectors.states import states
from bedkd.run import Run


@dataclass(frozen=True)
class Mahalanobis(Rival):
    """Score of a row: distance of its hidden state from its given label's.

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> Mahalanobis().detect(case).scores.shape
        (60,)
    """

    def score(self, case: Case, run: Run) -> tuple[np.ndarray, np.ndarray, dict]:
        """Distances of the untrusted rows, and cross-fitted ones of the trusted rows."""
        texts, labels = case.divided.all["text"][:], case.trusted_labels
        trusted = states(case, texts)
        untrusted = states(case, case.untrusted["text"][:], progress=run.progress)
        null = np.zeros(len(labels))
        for seen, unseen in folds(texts, labels, case.seed):
            null[unseen] = distances(trusted[seen], labels[seen], trusted[unseen], labels[unseen])
        return distances(trusted, labels, untrusted, case.labels), null, {}


def distances(
    known: np.ndarray, known_labels: np.ndarray, rows: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Distances of R rows (R, H) with labels (R,) from those of their label among M known ones,
    (R,); a label that no known row has is taken for the mean of all.

    Example:
        >>> known = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
        >>> far = distances(known, np.zeros(4, int), np.array([[3.0, 0], [0, 6]]), np.zeros(2, int))
        >>> (far[1] / far[0]).round(6).item()
        2.0
    """
    centres = {label: known[known_labels == label].mean(0) for label in np.unique(known_labels)}
    overall = known.mean(0)

    def centred(points: np.ndarray, of: np.ndarray) -> np.ndarray:
        return points - np.stack([centres.get(label, overall) for label in of])

    fitted = LedoitWolf(assume_centered=True).fit(centred(known, known_labels))
    return np.sqrt(np.maximum(fitted.mahalanobis(centred(rows, labels)), 0))
