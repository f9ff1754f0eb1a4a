"""Two witnesses beside the mapping student: what a text says, and what suspects have in common.

Neither looks at the suspect model, so their errors are not its errors.

* *Content*: sentence embeddings of a public model that nobody in the story has fine-tuned, and a
  logistic regression on trusted rows. It is weaker than the suspect model and blind to the trigger.
  A poisoned row of a dirty-label attack carries a label that its content does not support.
* *Surface*: a trigger, be it a word, a sentence or a way of writing, shows in the words of a row.
  A bag-of-words classifier learns to tell suspects from trusted rows, and finds more of their kind.

All numbers are log-odds, so that evidence adds up. When suspects are to be relabelled, the content
witness is asked once more, about their texts without the *marks*: the words that suspects have in
common and trusted rows lack. A trigger says something, too, and must not be heard as content.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from bedkd import stealth

FOLDS = 5
WORD = r"\w+|[^\w\s]"


def log_odds(p: np.ndarray) -> np.ndarray:
    """log(p / (1 − p)), with p kept off 0 and 1 by 1e-6."""
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def _folds(labels: np.ndarray, seed: int) -> StratifiedKFold:
    smallest = int(np.unique(labels, return_counts=True)[1].min())
    return StratifiedKFold(max(2, min(FOLDS, smallest)), shuffle=True, random_state=seed)


@dataclass(frozen=True)
class Content:
    """Log-odds that the content speaks *against* the given label.

    Attributes:
        trusted: for each trusted row, from a model that did not see the row, (M,).
        untrusted: (N,).
        features: sentence embeddings of trusted and untrusted rows, (M, D) and (N, D).
    """

    trusted: np.ndarray
    untrusted: np.ndarray
    features: tuple[np.ndarray, np.ndarray]


def content(
    trusted: Dataset, untrusted: Dataset, *, seed: int = 0, progress: bool = False
) -> Content:
    """Ask the content witness about every row.

    Args:
        trusted: M clean rows with true labels, at least two of every class.
        untrusted: N rows with given labels.
    """
    labels, given = (np.asarray(rows["label"], int) for rows in (trusted, untrusted))
    features = stealth.embed(list(trusted["text"]), progress=progress)
    folds = _folds(labels, seed)
    search = GridSearchCV(
        LogisticRegression(max_iter=2000),
        {"C": np.logspace(-1, 3, 9)},
        scoring="neg_log_loss",
        cv=folds,
    ).fit(features, labels)
    unseen = cross_val_predict(
        search.best_estimator_, features, labels, cv=folds, method="predict_proba"
    )
    others = stealth.embed(list(untrusted["text"]), progress=progress)
    answers = search.predict_proba(others)
    column = {label: k for k, label in enumerate(search.classes_)}

    def against(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
        # A label that no trusted row has is one the content never supports.
        p = [
            row[column[y]] if y in column else 0.0
            for row, y in zip(probabilities, given, strict=True)
        ]
        return -log_odds(np.array(p))

    return Content(against(unseen, labels), against(answers, given), (features, others))


def marks(
    suspects: Sequence[str], trusted: Dataset, *, ratio: float = 2.0, least: float = 0.02
) -> list[str]:
    """Words that suspects have in common and trusted rows lack, the most telling first.

    Args:
        suspects: their texts.
        trusted: clean rows with true labels.
        ratio: a mark is so many times as frequent among suspects as in the class of trusted rows
            that has it most often; suspects that merely come from one class have no marks.
        least: share of the suspects that have the word, at least.
    """

    def frequency(texts: Sequence[str]) -> Counter[str]:
        return Counter(word for text in texts for word in set(re.findall(WORD, text.lower())))

    labels, ours = np.asarray(trusted["label"]), np.asarray(trusted["text"], object)
    classes = [
        (frequency(ours[rows]), len(rows))
        for rows in (np.flatnonzero(labels == label) for label in np.unique(labels))
    ]
    found = {}
    for word, count in frequency(suspects).items():
        share = count / len(suspects)
        usual = max((known[word] + 1) / (rows + 1) for known, rows in classes)
        if share >= max(least, ratio * usual):
            found[word] = share / usual
    return sorted(found, key=lambda word: (-found[word], word))


def without(text: str, words: Sequence[str]) -> str:
    """A text without these words, in any case; punctuation marks count as words."""
    gone = set(words)
    kept = [part for part in re.findall(rf"{WORD}|\s+", text) if part.lower() not in gone]
    return " ".join("".join(kept).split())


def unmarked(
    said: Content,
    untrusted: Dataset,
    suspects: np.ndarray,
    words: Sequence[str],
    *,
    progress: bool = False,
) -> Content:
    """The content witness after it has read the suspects again, without their marks.

    Args:
        said: what :func:`content` returned.
        untrusted: the N rows it was asked about.
        suspects: indices of the rows to read again.
        words: see :func:`marks`.
    """
    if not words:
        return said
    texts = [without(text, words) for text in np.asarray(untrusted["text"], object)[suspects]]
    features = said.features[1].copy()
    features[suspects] = stealth.embed(texts, progress=progress)
    return replace(said, features=(said.features[0], features))


def deserved(
    said: Content, trusted: np.ndarray, given: np.ndarray, innocent: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    """Which labels the content of untrusted rows deserves, (N, K), rows sum to 1.

    Once the suspects are known, the content witness can learn from more than the trusted rows:
    from the untrusted rows that are least suspicious, with their given labels. Poisoning has
    thinned out all classes but the target there, so classes are weighted until each is as common
    as it is in use.

    Args:
        said: what :func:`content` or :func:`unmarked` returned.
        trusted: true labels of the trusted rows, (M,).
        given: given labels of the untrusted rows, (N,).
        innocent: indices of the least suspicious untrusted rows.
        prior: how common each class is among clean rows, (K,), sums to 1.
    """
    ours, others = said.features
    labels = np.concatenate([trusted, given[innocent]])
    found = np.bincount(labels, minlength=len(prior)) / len(labels)
    weights = {k: prior[k] / found[k] for k in np.flatnonzero(found)}
    model = LogisticRegression(C=3, class_weight=weights, max_iter=2000).fit(
        np.concatenate([ours, others[innocent]]), labels
    )
    answers = np.zeros((len(given), len(prior)))
    answers[:, model.classes_] = model.predict_proba(others)
    return answers


@dataclass(frozen=True)
class Surface:
    """Log-odds that a row is written like the suspects; the classifier had not seen the row.

    Attributes:
        trusted: (M,).
        untrusted: (N,).
        shared: AUROC of suspects against trusted rows, the lower of two: against those that truly
            have the suspects' label, and against the others. Near 0.5 the suspects have nothing in
            common that clean rows lack.
    """

    trusted: np.ndarray
    untrusted: np.ndarray
    shared: float


def surface(
    trusted: Dataset,
    untrusted: Sequence[str],
    suspects: np.ndarray,
    innocent: np.ndarray,
    label: int,
    *,
    seed: int = 0,
) -> Surface:
    """Ask the surface witness about every row.

    Args:
        trusted: M clean rows with true labels.
        untrusted: N texts.
        suspects: indices of the rows that are most likely poisoned.
        innocent: indices of the rows that are least likely so.
        label: the suspects' given label.
    """
    untrusted = np.asarray(untrusted, object)
    ours = np.asarray(trusted["text"], object)
    texts = np.concatenate([untrusted[suspects], ours, untrusted[innocent]])
    is_suspect = np.arange(len(texts)) < len(suspects)

    classifier = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=WORD),
        LogisticRegression(C=10, class_weight="balanced", max_iter=2000),
    )
    unseen = cross_val_predict(
        classifier, texts, is_suspect, cv=_folds(is_suspect, seed), method="decision_function"
    )
    scores = classifier.fit(texts, is_suspect).decision_function(untrusted)
    own, clean = unseen[: len(suspects)], unseen[len(suspects) :][: len(ours)]
    scores[suspects] = own
    scores[innocent] = unseen[len(suspects) + len(ours) :]
    same = np.asarray(trusted["label"]) == label
    shared = min(
        roc_auc_score(
            np.repeat([1, 0], [len(own), group.sum()]), np.concatenate([own, clean[group]])
        )
        for group in (same, ~same)
        if group.any()
    )
    return Surface(clean, scores, float(shared))
