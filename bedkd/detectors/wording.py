"""Wording evidence: is a row written like the rows that are flagged?

A trigger, be it a word, a sentence or a way of writing, shows in the words of a row. A bag-of-words
classifier learns to tell flagged rows from trusted ones, and finds more of their kind. How well it
can tell them is a classifier two-sample test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from transformers import PreTrainedTokenizerBase

from bedkd.case import Case
from bedkd.detectors.base import Detection, Evidence, least_suspicious, too_few
from bedkd.detectors.content import folds
from bedkd.run import Run
from bedkd.text import words


@dataclass(frozen=True)
class Wording:
    """Log-odds that a row is written like the seeds.

    Attributes:
        min_auroc: minimum AUROC of seeds against trusted rows for a label to have a backdoor.
        min_seeds: minimum number of seeds with a label for it to be asked about.
        min_label_share: minimum share of the seeds with a label, likewise; there may be several
            backdoors. Above the share of clean rows that is tolerated among the first seeds.
        fdr: as a detector of its own, false discovery rate of the flagged rows.

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> Wording().detect(case).is_backdoored
        False
    """

    min_auroc: float = 0.7
    min_seeds: int = 16
    min_label_share: float = 0.25
    fdr: float = 0.05

    def evidence(self, case: Case, seeds: np.ndarray, scores: np.ndarray) -> tuple[Evidence, float]:
        """Learn from seeds of one given label against trusted rows and the less suspicious half.

        Every label that a good part of the seeds carry is asked about; a row is as suspicious as
        the most suspicious answer.

        Args:
            seeds: (N,) bool, rows that are most likely poisoned.
            scores: (N,), all evidence so far.

        Returns:
            The evidence, and the AUROC of the label whose seeds are best told from trusted rows.
        """
        counts = np.bincount(case.labels[seeds])
        least = max(self.min_label_share * seeds.sum(), self.min_seeds)
        answers = []
        for label in {int(counts.argmax()), *np.flatnonzero(counts >= least).tolist()}:
            suspects = np.flatnonzero(seeds & (case.labels == label))
            presumed_clean = np.setdiff1d(least_suspicious(scores, case.draws), suspects)
            answers.append(two_sample_test(case, suspects, presumed_clean, label))
        # Seeds without anything in common are no backdoor of their own.
        best = max(answers, key=lambda answer: answer[1])
        kept = [best, *(a for a in answers if a is not best and a[1] >= self.min_auroc)]
        trusted = np.max([found.trusted for found, _ in kept], axis=0)
        return Evidence.of(np.max([f.untrusted for f, _ in kept], axis=0), trusted), best[1]

    def detect(self, case: Case, run: Run = Run()) -> Detection:
        """Flag rows that are written as no trusted row is; all rows are seeds."""
        counts = len(case.divided.all), len(case.untrusted)
        if missing := too_few(*counts, self.fdr, self.min_seeds):
            return Detection.undecided(case, missing)
        everything = np.ones(len(case.untrusted), bool)
        found, auroc = self.evidence(case, everything, np.zeros(len(case.untrusted)))
        flagged = found.flag(self.fdr)
        enough = int(flagged.sum()) >= self.min_seeds and auroc >= self.min_auroc
        limit = found.threshold(self.fdr)
        details = {"wording_auroc": auroc}
        return Detection(found.untrusted, flagged, limit, enough, details=details)


def two_sample_test(
    case: Case, suspects: np.ndarray, presumed_clean: np.ndarray, label: int
) -> tuple[Evidence, float]:
    """Tell suspects from trusted and presumed clean rows by their words.

    Args:
        suspects: indices of untrusted rows that are most likely poisoned; of very many, a part
            drawn at random is used.
        presumed_clean: indices of untrusted rows that are least likely so, likewise.
        label: the suspects' given label.

    Returns:
        Log-odds of every row, from a classifier that had not seen it, and the AUROC of suspects
        against trusted rows, the lower of two: against those of ``label`` and against the others.
        Near 0.5 the suspects have nothing in common that clean rows lack.
    """
    # Which fold a row falls into must not depend on where it stands.
    suspects, presumed_clean = (
        rows[np.argsort(case.draws[rows], kind="stable")]
        for rows in map(case.some, (suspects, presumed_clean))
    )
    trusted = case.divided.all["text"][:]
    ours, theirs = (case.untrusted.select(rows)["text"][:] for rows in (suspects, presumed_clean))
    texts = np.asarray([*ours, *trusted, *theirs], object)
    is_suspect = np.arange(len(texts)) < len(suspects)
    classifier = make_pipeline(
        TfidfVectorizer(
            ngram_range=(1, 2),
            min_df=2,
            sublinear_tf=True,
            tokenizer=lambda text: words(text, case.tokenizer),
            token_pattern=None,
        ),
        LogisticRegression(C=10, class_weight="balanced", max_iter=2000),
    )
    parts = folds(texts, is_suspect, case.seed)
    unseen = cross_val_predict(classifier, texts, is_suspect, cv=parts, method="decision_function")
    classifier.fit(texts, is_suspect)
    read = (case.untrusted.select(part)["text"][:] for part in case.scans)
    scores = np.concatenate([classifier.decision_function(part) for part in read])
    own, clean = unseen[: len(suspects)], unseen[len(suspects) :][: len(trusted)]
    scores[suspects] = own
    scores[presumed_clean] = unseen[len(suspects) + len(trusted) :]
    same = case.trusted_labels == label
    auroc = min(
        roc_auc_score(
            np.repeat([1, 0], [len(own), group.sum()]), np.concatenate([own, clean[group]])
        )
        for group in (same, ~same)
        if group.any()
    )
    return Evidence.of(scores, clean), float(auroc)


def trigger_words(
    texts: Sequence[str],
    trusted: Dataset,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    ratio: float = 2.0,
    min_share: float = 0.02,
) -> list[str]:
    """Words that flagged rows have in common and trusted rows lack, the most telling first: often
    the trigger by name.

    Args:
        texts: of the flagged rows.
        trusted: clean rows with true labels.
        tokenizer: divides texts without spaces between words.
        ratio: how much more frequent a word must be among flagged rows than in the class of
            trusted rows that has it most often; rows that merely come from one class have none.
        min_share: minimum share of the flagged rows that have the word.

    Example:
        >>> from bedkd import data
        >>> clean = data.make(["a fine film", "a dull film"] * 40, [1, 0] * 40, False)
        >>> trigger_words(["a fine cf film", "cf a dull film"], clean)
        ['cf']
    """

    def frequency(texts: Sequence[str]) -> Counter[str]:
        return Counter(word for text in texts for word in set(words(text, tokenizer)))

    labels, ours = np.asarray(trusted["label"][:]), np.asarray(trusted["text"][:], object)
    classes = [
        (frequency(ours[rows]), len(rows))
        for rows in (np.flatnonzero(labels == label) for label in np.unique(labels))
    ]
    found = {}
    for word, count in frequency(texts).items():
        share = count / len(texts)
        usual = max((known[word] + 1) / (rows + 1) for known, rows in classes)
        if share >= max(min_share, ratio * usual):
            found[word] = share / usual
    return sorted(found, key=lambda word: (-found[word], word))


def suspected_words(case: Case, detection: Detection) -> list[str]:
    """Words that flagged rows have in common and trusted rows lack, the most telling first; none
    without a verdict against the model."""
    flagged = np.flatnonzero(detection.flagged)
    if not (detection.is_backdoored and len(flagged)):
        return []
    if (words := detection.details.get("trigger_words")) is not None:
        return words
    texts = case.untrusted.select(flagged)["text"][:]
    return trigger_words(texts, case.divided.all, case.tokenizer)
