"""Soft labels: which labels the content of untrusted rows supports, whatever label they carry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression

from bedkd.case import Case
from bedkd.detectors.base import Detection, least_suspicious
from bedkd.detectors.wording import suspected_words
from bedkd.text import without_words
from bedkd.training.embed import embed

# Only words without which a row supports its given label so much less, on average, are masked:
# others say nothing for it, or were content.
SPEAKS = 0.02
# So many flagged rows are read without these words to see it.
ASKED = 200


def soft_labels(case: Case, detection: Detection, rows: np.ndarray | None = None) -> np.ndarray:
    """Which labels the content of untrusted rows supports, (R, K), each row sums to 1.

    A classifier on sentence embeddings of trusted rows and of presumed clean untrusted rows; of
    very many it learns from some. Where their trigger words speak for the given label, flagged rows
    are read once more without them: they must not be taken for content.

    Args:
        rows: numbers of the rows that are asked about, (R,); None asks about all.
    """
    rows = np.arange(len(case.untrusted)) if rows is None else rows
    doubtful = np.flatnonzero(detection.flagged | np.isneginf(detection.repair_scores))
    presumed_clean = np.setdiff1d(least_suspicious(detection.scores, case.draws), doubtful)
    classify = _classifier(case, case.some(presumed_clean))
    found = classify(case.embedded(rows))
    if not (words := suspected_words(case, detection)):
        return found

    def without_trigger(rows: np.ndarray) -> np.ndarray:
        texts = case.untrusted.select(rows)["text"][:]
        return classify(embed([without_words(text, words, case.tokenizer) for text in texts]))

    flagged = np.flatnonzero(detection.flagged)
    asked = flagged[np.argsort(case.draws[flagged], kind="stable")[:ASKED]]
    lost = classify(case.embedded(asked)) - without_trigger(asked)
    if lost[np.arange(len(asked)), case.labels[asked]].mean() >= SPEAKS:
        affected = detection.flagged[rows]
        found[affected] = without_trigger(rows[affected])
    return found


def _classifier(case: Case, presumed_clean: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function of embeddings (R, D) to class probabilities (R, K).

    Poisoning has thinned out all classes but the target among the presumed clean rows, so classes
    are weighted until each is as common as among all trusted rows.
    """
    labels = np.concatenate([case.trusted_labels, case.labels[presumed_clean]])
    shares = np.bincount(labels, minlength=case.num_labels) / len(labels)
    weights = {k: case.prior[k] / shares[k] for k in np.flatnonzero(shares)}
    model = LogisticRegression(C=3, class_weight=weights, max_iter=2000).fit(
        np.concatenate([case.trusted_embeddings, case.embedded(presumed_clean)]), labels
    )

    def classify(features: np.ndarray) -> np.ndarray:
        answers = np.zeros((len(features), case.num_labels))
        if len(features):
            answers[:, model.classes_] = model.predict_proba(features)
        return answers

    return classify
