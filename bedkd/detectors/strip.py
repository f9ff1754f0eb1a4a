"""STRIP: does the model stay sure of a row when half of its words are those of other rows?

Source: Gao et al. 2019, *STRIP: A Defence Against Trojan Attacks on Deep Neural Networks*; for
texts Gao et al. 2021, *Design and Evaluation of a Multi-Domain Trojan Detection Method on Deep
Neural Networks*. A trigger that survives leaves no doubt, so a low entropy is suspicious.

Kept: H(x) = −(1/C) Σ_c Σ_k p_k(x_c) log p_k(x_c) over C perturbed copies x_c of a row, the mean
taken row by row. How a copy is made here: a share of the row's positions, drawn at random, get the
word that stands there in a random trusted row (from its beginning again where that is shorter);
all other words stay where they are. Left out: choosing the foreign words by TF-IDF.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bedkd.case import Case
from bedkd.detectors.base import Rival
from bedkd.errors import InputError, at_least
from bedkd.run import Run
from bedkd.text import as_read, is_spaced, join, split
from bedkd.training.batches import EncodedTexts
from bedkd.training.predict import predict


@dataclass(frozen=True)
class Strip(Rival):
    """Score of a row: −(mean entropy of the answers to its perturbed copies).

    Attributes:
        copies: perturbed copies of a row, at least 1; larger is steadier and slower.
        share: share of a row's positions that get foreign words, above 0, at most 1; larger leaves
            less of the content, and of a trigger of several words.

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> Strip(copies=2).detect(case).is_backdoored
        False
    """

    copies: int = 10
    share: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        at_least(self, copies=1)
        if not 0 < self.share <= 1:
            raise InputError(f"share={self.share}: give a share above 0, at most 1, such as 0.5")

    def score(self, case: Case, run: Run) -> tuple[np.ndarray, np.ndarray, dict]:
        """Entropies of untrusted and trusted rows, perturbed alike."""
        trusted = replace(case, untrusted=case.divided.all)
        null = self.entropies(case, trusted.untrusted["text"][:], trusted.draws, run)
        found = self.entropies(case, case.untrusted["text"][:], case.draws, run)
        return -found, -null, {}

    def entropies(
        self, case: Case, texts: Sequence[str], draws: np.ndarray, run: Run = Run()
    ) -> np.ndarray:
        """H(x) of R texts, (R,); ``draws`` (R,) in 0 to 1 decide how each is perturbed."""

        def pieces(text: str) -> list[str]:
            read = as_read(text, case.tokenizer, case.max_length)
            return split(read, case.tokenizer)

        foreign = [row for row in map(pieces, case.divided.all["text"][:]) if row] or [[""]]
        copies: list[str] = []
        for text, draw in zip(texts, draws, strict=True):
            rng, own = np.random.default_rng(int(draw * 2**53)), pieces(text)
            for number in rng.integers(len(foreign), size=self.copies):
                other = foreign[number]
                if other == own:  # a trusted row is not perturbed by itself
                    other = foreign[(number + 1) % len(foreign)]
                copies.append(join(self.perturb(own, other, rng), is_spaced(text)))
        rows = EncodedTexts(case.tokenizer, copies, max_length=case.max_length)
        answers = predict(case.suspect, rows, progress=run.progress, description="STRIP")
        return mean_entropy(answers.probabilities, self.copies)

    def perturb(self, own: list[str], other: list[str], rng: np.random.Generator) -> list[str]:
        """Pieces with a share of them, at least one, replaced."""
        made = list(own)
        count = min(len(own), max(1, round(self.share * len(own))))
        for i in rng.choice(len(own), count, replace=False) if own else ():
            made[i] = other[i % len(other)]
        return made


def mean_entropy(probabilities: np.ndarray, copies: int) -> np.ndarray:
    """Entropy in nats, mean over the copies of each row.

    Args:
        probabilities: (R · copies, K), all copies of the first row, then all of the second ...
        copies: C.

    Returns:
        (R,), 0 to log K.

    Example:
        >>> mean_entropy(np.array([[1, 0], [1, 0], [0.5, 0.5], [0.5, 0.5]]), copies=2).round(3)
        array([0.   , 0.693])
    """
    safe = np.clip(probabilities, 1e-12, 1)
    entropy = -(probabilities * np.log(safe)).sum(axis=1)
    return entropy.reshape(-1, copies).mean(axis=1) + 0.0
