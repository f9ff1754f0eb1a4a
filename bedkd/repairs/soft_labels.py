"""Soft labels: which labels the content of untrusted rows supports, whatever label they carry."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from bedkd.case import Case
from bedkd.detectors.base import Detection, least_suspicious
from bedkd.detectors.wording import trigger_words
from bedkd.text import without_words
from bedkd.training.embed import embed

# Without its trigger, a row supports its given label less, or as much. If it is more by so much on
# average, what was masked was content.
MASKED_CONTENT = 0.02


def soft_labels(case: Case, detection: Detection) -> np.ndarray:
    """Which labels the content of the untrusted rows supports, (N, K), rows sum to 1.

    A classifier on sentence embeddings of trusted rows and of the presumed clean untrusted rows.
    Flagged rows are read once more without their trigger words, because a trigger says something,
    too, and must not be taken for content.
    """
    flagged = np.flatnonzero(detection.flagged)
    doubtful = np.flatnonzero(detection.flagged | np.isneginf(detection.repair_scores))
    presumed_clean = np.setdiff1d(least_suspicious(detection.scores, case.draws), doubtful)
    found = _classify(case, case.embeddings, presumed_clean)
    if not (detection.is_backdoored and len(flagged)):
        return found
    texts = case.untrusted.select(flagged)["text"][:]
    words = trigger_words(texts, case.divided.all, case.tokenizer)
    if not words:
        return found
    features = case.embeddings.copy()
    features[flagged] = embed([without_words(text, words, case.tokenizer) for text in texts])
    masked = _classify(case, features, presumed_clean)
    own = (flagged, case.labels[flagged])
    # A trigger speaks for the given label. Words that speak against it are content.
    return masked if (masked[own] - found[own]).mean() <= MASKED_CONTENT else found


def _classify(case: Case, features: np.ndarray, presumed_clean: np.ndarray) -> np.ndarray:
    """Class probabilities of the untrusted rows, (N, K).

    Poisoning has thinned out all classes but the target among the presumed clean rows, so classes
    are weighted until each is as common as among all trusted rows.
    """
    labels = np.concatenate([case.trusted_labels, case.labels[presumed_clean]])
    shares = np.bincount(labels, minlength=case.num_labels) / len(labels)
    weights = {k: case.prior[k] / shares[k] for k in np.flatnonzero(shares)}
    model = LogisticRegression(C=3, class_weight=weights, max_iter=2000).fit(
        np.concatenate([case.trusted_embeddings, features[presumed_clean]]), labels
    )
    answers = np.zeros((len(features), case.num_labels))
    answers[:, model.classes_] = model.predict_proba(features)
    return answers
