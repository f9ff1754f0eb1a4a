"""Z-scores: does a word go with a label more often than chance allows?

Source: He et al. 2023, *Mitigating Backdoor Poisoning Attacks through the Lens of Spurious
Correlation* ("Z-defence"). It never asks the suspect model: a trigger is a word (or a run of words)
whose rows nearly all carry the target label.

Kept: z(w, y) = (p(y|w) − p(y)) / √(p(y)(1 − p(y)) / n(w)), n(w) the number of rows with w, and the
row's largest z. Changed: a row is left out of its own counts, so that it is judged like a trusted
row, which is in none; the threshold comes from trusted rows, not from a multiple of z's spread.
Left out: syntax trees as features. Words of content go with a label too; where they do so more
often than the trigger, trusted rows hide it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from bedkd.case import Case
from bedkd.detectors.base import Rival
from bedkd.errors import at_least
from bedkd.run import Run
from bedkd.text import words

# So many words are named in the report.
NAMED = 10


@dataclass(frozen=True)
class ZScore(Rival):
    """Score of a row: the largest z of its words with its own label.

    Attributes:
        ngrams: longest run of words that counts as a word, at least 1; larger sees sentences, and
            more chance.

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> ZScore().detect(case).is_backdoored
        False
    """

    ngrams: int = 1

    def __post_init__(self):
        super().__post_init__()
        at_least(self, ngrams=1)

    def score(self, case: Case, run: Run) -> tuple[np.ndarray, np.ndarray, dict]:
        """Counts of the untrusted rows; scores of both sets."""
        untrusted, trusted = case.untrusted["text"][:], case.divided.all["text"][:]
        # "a": no set of texts is without a word.
        reader = word_counter(case, self.ngrams).fit(["a", *untrusted, *trusted])
        has, labelled = reader.transform(untrusted), np.eye(case.num_labels)[case.labels]
        rows, together = np.asarray(has.sum(0)).ravel(), has.T @ labelled
        shares = labelled.mean(0)

        def largest(has, labels: np.ndarray, own: int) -> np.ndarray:
            row, word = has.nonzero()
            label = labels[row]
            found = np.full(has.shape[0], -np.inf)
            z = z_scores(rows[word] - own, together[word, label] - own, shares[label])
            np.maximum.at(found, row, z)
            return np.where(np.isneginf(found), 0.0, found)  # a row without words

        null = largest(reader.transform(trusted), case.trusted_labels, own=0)
        table = z_scores(rows[:, None], together, shares)
        best, names = table.max(1), reader.get_feature_names_out()
        order = np.lexsort((names, -best))[:NAMED]
        named = [[str(names[w]), int(table[w].argmax()), float(best[w])] for w in order]
        return largest(has, case.labels, own=1), null, {"words": named}


def word_counter(case: Case, ngrams: int) -> CountVectorizer:
    """Says which words, and runs of up to ``ngrams`` words, a text has."""
    return CountVectorizer(
        binary=True,
        lowercase=False,
        tokenizer=lambda text: words(text, case.tokenizer),
        token_pattern=None,
        ngram_range=(1, ngrams),
    )


def z_scores(rows: np.ndarray, together: np.ndarray, share: np.ndarray) -> np.ndarray:
    """z of a word with a label; 0 where no row has the word, or all rows the label.

    Args:
        rows: number of rows with the word.
        together: number of those that carry the label.
        share: share of all rows that carry it.

    Example:
        >>> z_scores(np.array([100, 0]), np.array([80, 0]), np.array([0.5, 0.5])).round(6).tolist()
        [6.0, 0.0]
    """
    spread = np.sqrt(share * (1 - share) / np.maximum(rows, 1))
    known = (rows > 0) & (spread > 0)
    safe = np.where(spread > 0, spread, 1.0)
    return np.where(known, (together / np.maximum(rows, 1) - share) / safe, 0.0)
