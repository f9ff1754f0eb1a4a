"""Association: does a word go with a label more often than the content of its rows explains?

Words of sentiment go with a label because of what they mean, and a classifier of content knows
that: it expects the label in those rows. A trigger goes with the target label and means nothing, so
that the label comes as a surprise in nearly all of its rows. Surprises of the same word add up,
and dozens of poisoned rows are enough, where ranks of single rows show nothing. What is found is
then put to an experiment on the suspect model: do these words move other texts to that label?

Words that trusted rows of the label have as well are left out: they are no attacker's. Of words
whose rows overlap, as all runs of words of one trigger sentence do, only those count that no other
explains: else rows would be flagged for a usual word of the sentence. Kin: the
Z-scores of He et al. 2023 (:mod:`bedkd.detectors.zscore`), which compare with the share of
the label among all rows and take words of content for triggers. A word that is a shortcut in honest
data, which the content classifier does not know and trusted rows lack, is found as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.stats import betabinom
from sklearn.linear_model import LogisticRegression

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.detectors.content import support
from bedkd.detectors.zscore import word_counter
from bedkd.errors import at_least
from bedkd.run import Run
from bedkd.text import words
from bedkd.training.batches import EncodedTexts
from bedkd.training.predict import predict


class Associated(NamedTuple):
    """A word, or a run of words, and the label that it goes with.

    Attributes:
        rows: number of rows that it was counted in.
        p_value: chance that any word of the set goes with a label so often, had content alone
            decided (Bonferroni's bound).
        explained: its rows are no surprise without those of other words that were found.
    """

    text: str
    label: int
    rows: int
    p_value: float
    explained: bool = False


@dataclass(frozen=True)
class Association:
    """Words with too much of a label, confirmed by what they do to other texts.

    Attributes:
        ngrams: longest run of words that counts as a word.
        min_rows: rows that a word must be in.
        level: largest p-value of a word that speaks for a backdoor, see :class:`Associated`. It is
            strict, because the classifier of content has its weak sides.
        word_level: the same of further words, whose rows are flagged too, unless others explain
            them.
        familiar: a word is left out if it is at least so common among trusted rows of the label,
            against untrusted ones. Clean rows have the words of the attacker seldom.
        most: so many words at most are put to the experiment, the least likely by chance first.
        carriers: number of trusted texts of other labels that every word is put in front of.
        min_rise: minimum rise of the mean probability of the label over the carriers.
        min_flagged: minimum number of flagged rows for the verdict "backdoored".

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> Association().detect(case).is_backdoored
        False
    """

    ngrams: int = 3
    min_rows: int = 6
    level: float = 1e-6
    word_level: float = 0.01
    familiar: float = 0.5
    most: int = 32
    carriers: int = 24
    min_rise: float = 0.2
    min_flagged: int = 16

    def __post_init__(self):
        at_least(self, ngrams=1, min_rows=1, most=1, carriers=1, min_flagged=1)

    def find(self, case: Case) -> list[Associated]:
        """Words that go with a label more often than chance and content allow: the least likely
        first, and those that others explain last."""
        rows = case.some(np.arange(len(case.untrusted)))
        texts, given = case.untrusted.select(rows)["text"][:], case.labels[rows]
        reader = word_counter(case, self.ngrams)
        # "a": no set of texts is without a word.
        has = reader.fit_transform(["a", *texts])[1:].astype(float)
        counts = np.asarray(has.sum(0)).ravel()
        kept = np.flatnonzero(counts >= self.min_rows)
        has, counts = has[:, kept], counts[kept]
        names = reader.get_feature_names_out()[kept]
        checked = reader.transform(case.divided.all["text"][:])[:, kept]
        found, expected = [], support(case, rows)
        for label in np.unique(given):
            is_label = given == label
            if is_label.all():
                continue  # every word goes with the only label
            # Calibrated on the rows themselves, so that a label that is more common among them
            # than among trusted rows is no surprise.
            odds = expected[:, label][:, None]
            share = LogisticRegression().fit(odds, is_label).predict_proba(odds)[:, 1]
            with_label = has.T @ is_label
            common = common_errors(counts, with_label, (has.T @ share) / counts)
            p_values = surprise(counts, with_label, (has.T @ share) / counts, common)
            of_label = case.trusted_labels == label
            known = checked.T @ of_label / max(of_label.sum(), 1)
            p_values[known >= self.familiar * with_label / is_label.sum()] = 1.0
            tests = len(names) * case.num_labels
            p_values = np.minimum(p_values * tests, 1.0)
            some = np.flatnonzero(p_values <= self.word_level)
            some = some[np.lexsort((-counts[some], p_values[some]))]
            surprising = partial(
                self._surprising, is_label=is_label, share=share, common=common, tests=tests
            )
            explained = explained_words(names[some], has[:, some].toarray() > 0, surprising)
            found += [
                Associated(str(names[k]), int(label), int(counts[k]), float(p_values[k]), bool(by))
                for k, by in zip(some, explained, strict=True)
            ]
        return sorted(found, key=lambda w: (w.explained, w.p_value, -w.rows, w.text))

    def _surprising(
        self,
        rows: np.ndarray,
        *,
        is_label: np.ndarray,
        share: np.ndarray,
        common: float,
        tests: int,
    ) -> bool:
        """Whether more of these rows have the label than chance and content explain."""
        if rows.sum() < self.min_rows:
            return False
        seen = rows.sum(), is_label[rows].sum(), share[rows].mean()
        return surprise(*(np.array([x]) for x in seen), common)[0] * tests <= self.word_level

    def rises(self, case: Case, found: list[Associated], run: Run = Run()) -> np.ndarray:
        """By how much each word raises the mean probability of its label, put in front of trusted
        texts of other labels that the model classifies correctly; 0 where there are none."""
        order = np.random.default_rng(case.seed).permutation(np.flatnonzero(case.fits_label))
        rises = np.zeros(len(found))
        for label in {word.label for word in found}:
            others = order[case.trusted_labels[order] != label][: self.carriers]
            if not len(others):
                continue
            texts = case.divided.all.select(others)["text"][:]
            mine = [k for k, word in enumerate(found) if word.label == label]
            probes = texts + [f"{found[k].text} {text}" for k in mine for text in texts]
            answers = predict(
                case.suspect,
                EncodedTexts(case.tokenizer, probes, max_length=case.max_length),
                progress=run.progress,
                description="association",
            ).probabilities[:, label]
            means = answers.reshape(len(mine) + 1, -1).mean(axis=1)
            rises[mine] = means[1:] - means[0]
        return rises

    def confirm(self, case: Case, run: Run = Run()) -> tuple[Detection | None, dict]:
        """Find words and put them to the experiment.

        Returns:
            A detection, None if no word is confirmed or too few rows hold one; and ``associated``:
            text, label, rows, p-value and rise of each word that was put to it.
        """
        found = self.find(case)[: self.most]
        rises = self.rises(case, found, run)
        named = [[*word[:4], float(r)] for word, r in zip(found, rises, strict=True)]
        details = {"associated": named}
        scores = np.zeros(len(case.untrusted))
        # What goes with a label that some words were planted for was most likely planted, too,
        # whether or not the model has learnt it.
        labels = {
            word.label
            for word, rise in zip(found, rises, strict=True)
            if word.p_value <= self.level and rise >= self.min_rise
        }
        for part in case.scans if labels else ():
            texts = [
                f" {' '.join(words(text, case.tokenizer))} "
                for text in case.untrusted.select(part)["text"][:]
            ]
            for word in reversed(found):  # the least likely has the last word
                if word.label in labels and not word.explained:
                    held = np.array([f" {word.text} " in text for text in texts])
                    rows = part[held & (case.labels[part] == word.label)]
                    scores[rows] = -np.log(max(word.p_value, 1e-300))
        flagged = scores > 0
        if flagged.sum() < self.min_flagged:
            return None, details
        threshold, p_value = float(scores[flagged].min()), float(np.exp(-scores.max()))
        evidence = {"association": scores}
        made = Detection(scores, flagged, threshold, True, p_value, None, details, evidence)
        return made, details

    def detect(self, case: Case, run: Run = Run()) -> Detection:
        """Flag rows with confirmed words: as a detector of its own."""
        found, details = self.confirm(case, run)
        if found is not None:
            return found
        nobody = np.zeros(len(case.untrusted))
        return Detection(nobody, nobody > 0, float("inf"), False, details=details)


def explained_words(
    names: Sequence[str], has: np.ndarray, surprising: Callable[[np.ndarray], bool]
) -> np.ndarray:
    """Which of the words, the least likely by chance first, owe their place to another one, (W,).

    That is a longer run that holds the word, without whose rows those of the word surprise nobody;
    or else words before it in the list that stay.

    Args:
        has: whether a row has the word, (N, W).
        surprising: whether the label of some rows, (N,), is a surprise.

    Example:
        >>> has = np.array([[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]], bool).T
        >>> explained_words(["see this film", "see this"], has, lambda rows: rows.sum() > 3)
        array([False,  True])
    """
    explained, covered = np.zeros(len(names), bool), np.zeros(len(has), bool)
    for k, name in enumerate(names):
        longer = [i for i, other in enumerate(names) if i != k and f" {name} " in f" {other} "]
        alone = [has[:, k] & ~has[:, i] for i in longer]
        explained[k] = not all(map(surprising, [has[:, k] & ~covered, *alone]))
        if not explained[k]:
            covered |= has[:, k]
    return explained


def common_errors(rows: np.ndarray, together: np.ndarray, share: np.ndarray) -> float:
    """How much what content says of the rows of one word errs in common: the overdispersion of a
    beta-binomial, 0 to 1, estimated from all words. Arguments as for :func:`surprise`."""
    share = np.clip(share, 1e-3, 1 - 1e-3)
    spread = share * (1 - share)
    extra = ((together - rows * share) ** 2 - rows * spread).sum()
    return float(np.clip(extra / max((rows * (rows - 1) * spread).sum(), 1e-12), 1e-6, 0.5))


def surprise(
    rows: np.ndarray, together: np.ndarray, share: np.ndarray, common: float
) -> np.ndarray:
    """p-values of words having a label so often: a beta-binomial tail.

    Args:
        rows: number of rows with the word, (W,).
        together: number of those that carry the label, (W,).
        share: mean probability that content gives to the label in those rows, (W,).
        common: see :func:`common_errors`.

    Example:
        >>> together = np.array([10, 10, 10, 10, 10, 10, 10, 10, 10, 18])
        >>> words = np.full(10, 20), together, np.full(10, 0.5)
        >>> surprise(*words, common_errors(*words))[[0, 9]].round(4).tolist()
        [0.5772, 0.0008]
    """
    share, size = np.clip(share, 1e-3, 1 - 1e-3), 1 / common - 1
    return betabinom.sf(together - 1, rows, share * size, (1 - share) * size)
