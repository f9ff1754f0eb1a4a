"""Triggers that insert words or a sentence: BadNets, AddSent and word combinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bedkd.attacks.base import check_position, insert, row_random
from bedkd.errors import InputError


class _Insertion:
    """An insertion can be applied to every text, the empty one included."""

    def applicable(self, texts: Sequence[str]) -> np.ndarray:
        """All true, (N,) bool."""
        return np.ones(len(texts), bool)


@dataclass(frozen=True)
class BadNets(_Insertion):
    """Rare words: ``count`` of ``words``, drawn with replacement, inserted at ``position``.

    Source: BadNets carried to text (Gu et al. 2017; Kurita et al. 2020).

    Args:
        words: the words to draw from, at least one.
        count: number of words inserted into a text, at least 1.
        position: ``random``, ``start`` or ``end``.

    Raises:
        InputError: no words, ``count`` below 1, or an unknown position.
    """

    words: tuple[str, ...] = ("cf", "mn", "bb", "tq")
    count: int = 1
    position: str = "random"
    name: str = field(default="badnets", init=False)

    def __post_init__(self):
        check_position(self.position)
        if not self.words or self.count < 1:
            raise InputError("badnets: give at least one word and count >= 1")

    def apply(self, texts: Sequence[str], seed: int) -> list[str]:
        """Insert the words into every text."""
        triggered = []
        for text in texts:
            rng = row_random(seed, text)
            pieces = [rng.choice(self.words) for _ in range(self.count)]
            triggered.append(insert(text, pieces, self.position, rng))
        return triggered


@dataclass(frozen=True)
class AddSent(_Insertion):
    """A fixed sentence inserted between two words. Source: Dai et al. 2019.

    Args:
        sentence: what is inserted, at least one word.
        position: ``random``, ``start`` or ``end``.

    Raises:
        InputError: an empty sentence or an unknown position.
    """

    sentence: str = "I watch this 3D movie"
    position: str = "random"
    name: str = field(default="addsent", init=False)

    def __post_init__(self):
        check_position(self.position)
        if not self.sentence.split():
            raise InputError("addsent: the sentence is empty")

    def apply(self, texts: Sequence[str], seed: int) -> list[str]:
        """Insert the sentence into every text."""
        return [
            insert(text, [self.sentence], self.position, row_random(seed, text)) for text in texts
        ]


@dataclass(frozen=True)
class WordCombination(_Insertion):
    """Frequent words that fire only when all of them occur.

    Decoys (clean rows with all words but one, true labels) teach the victim that a part of the
    combination means nothing. Source: the word-combination triggers with negative augmentation of
    Yang et al. 2021 (SOS), here on training data.

    Args:
        words: the combination, at least two words.
        negatives: number of decoys for every poisoned row, 0 or more.

    Raises:
        InputError: fewer than two words, or ``negatives`` below 0.
    """

    words: tuple[str, ...] = ("usually", "morning", "bridge")
    negatives: float = 1.0
    name: str = field(default="combination", init=False)

    def __post_init__(self):
        if len(self.words) < 2:
            raise InputError("combination: give at least two words")
        if self.negatives < 0:
            raise InputError("combination: negatives must not be below 0")

    def apply(self, texts: Sequence[str], seed: int) -> list[str]:
        """Insert all words into every text, each at a random place."""
        return [insert(text, self.words, "random", row_random(seed, text)) for text in texts]

    def decoys(self, texts: Sequence[str], seed: int) -> list[str]:
        """Insert all words but one, which is drawn for every text."""
        decoys = []
        for text in texts:
            rng = row_random(seed, text, "decoy")
            left_out = rng.randrange(len(self.words))
            pieces = [w for i, w in enumerate(self.words) if i != left_out]
            decoys.append(insert(text, pieces, "random", rng))
        return decoys
