"""BKI, backdoor keyword identification: which words move the hidden state most, again and again?

Source: Chen and Dai 2021, *Mitigating Backdoor Attacks in LSTM-based Text Classification Systems by
Backdoor Keyword Identification*.

Kept: the impact of a word is ‖h(x) − h(x without the word)‖_∞; a row's words of largest impact
are its keywords; a word's salience is its mean impact times the logarithm of the number of rows
whose keyword it is. Changed: h is the state that the model's head reads, not an LSTM's; keywords
are counted label by label; not the one most salient word but several are kept, as triggers have
several words; trusted rows, which hold the words of content as well, say how salient a word may be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bedkd.case import Case
from bedkd.detectors.base import Rival
from bedkd.detectors.states import states
from bedkd.errors import at_least
from bedkd.run import Run
from bedkd.text import as_read, leave_one_out, split


@dataclass(frozen=True)
class KeywordIdentification(Rival):
    """Score of a row: the salience of its most salient word with its label.

    Attributes:
        words_per_row: keywords of a row, at least 1.
        n_keywords: so many pairs of word and label are suspicious, at least 1; larger finds more
            triggers, and words of content.

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=20, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> found = KeywordIdentification(n_keywords=3).detect(case)
        >>> len(found.details["keywords"])
        3
    """

    words_per_row: int = 5
    n_keywords: int = 10

    def __post_init__(self):
        super().__post_init__()
        at_least(self, words_per_row=1, n_keywords=1)

    def score(self, case: Case, run: Run) -> tuple[np.ndarray, np.ndarray, dict]:
        """Find the keywords of the untrusted rows; look them up in both sets."""
        read = [
            [as_read(text, case.tokenizer, case.max_length) for text in rows["text"]]
            for rows in (case.untrusted, case.divided.all)
        ]
        found = self.keywords(case, read[0], run)
        salience = {(word, label): value for word, label, value in found}

        def largest(texts: Sequence[str], labels: np.ndarray) -> np.ndarray:
            rows = zip(texts, labels, strict=True)
            return np.array(
                [max([0.0, *(salience.get((w, y), 0.0) for w in _words(t, case))]) for t, y in rows]
            )

        scores, null = largest(read[0], case.labels), largest(read[1], case.trusted_labels)
        return scores, null, {"keywords": [[w, int(y), float(value)] for w, y, value in found]}

    def keywords(self, case: Case, texts: Sequence[str], run: Run) -> list[tuple]:
        """The most salient (word, label, salience) of N rows, the most salient first."""
        shorter = [leave_one_out(text, case.tokenizer) for text in texts]
        every = [*texts, *(text for row in shorter for text in row)]
        known = states(case, every, progress=run.progress, description="BKI")
        start, impacts = len(texts), defaultdict(list)
        for i, (text, label) in enumerate(zip(texts, case.labels, strict=True)):
            changed = np.abs(known[start : start + len(shorter[i])] - known[i]).max(axis=1)
            start += len(shorter[i])
            row: dict[str, float] = {}
            for word, impact in zip(_words(text, case), changed.tolist(), strict=True):
                row[word] = max(impact, row.get(word, 0.0))
            for word in sorted(row, key=lambda w: (-row[w], w))[: self.words_per_row]:
                impacts[word, label].append(row[word])
        # Sorted, so that the sum does not depend on the order of rows.
        found = [(w, y, np.mean(sorted(v)) * np.log(len(v))) for (w, y), v in impacts.items()]
        return sorted(found, key=lambda item: (-item[2], item[:2]))[: self.n_keywords]


def _words(text: str, case: Case) -> list[str]:
    return [piece.lower() for piece in split(text, case.tokenizer)]
