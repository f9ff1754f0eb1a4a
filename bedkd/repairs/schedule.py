"""Which batch of a repair comes when: trust, punish and transplant steps of one cycle."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from bedkd.training.batches import EncodedTexts
from bedkd.training.loop import Objective, Step


def transplant(host: str, donor: str, rng: np.random.Generator) -> str:
    """Put a random span of ``donor`` (30 to 70 % of its words) into ``host``.

    Half of the time the span is the donor's beginning and goes to the host's beginning, because
    rewriting attacks often show in how a sentence opens; otherwise both places are random. Kin:
    cut-and-paste augmentation such as CutMix.

    Example:
        >>> transplant("a dull film", "cf fine", np.random.default_rng(0))
        'cf a dull film'
    """
    words, target = donor.split(), host.split()
    length = max(1, round(rng.uniform(0.3, 0.7) * len(words)))
    if rng.random() < 0.5:
        start, place = 0, 0
    else:
        start = int(rng.integers(0, max(len(words) - length, 0) + 1))
        place = int(rng.integers(0, len(target) + 1))
    return " ".join(target[:place] + words[start : start + length] + target[place:])


@dataclass(frozen=True)
class Transplants:
    """Trusted texts (hosts) with spans of flagged texts (donors) in them; labels stay."""

    tokenizer: PreTrainedTokenizerBase
    hosts: Sequence[str]
    donors: Sequence[str]
    labels: np.ndarray
    max_length: int

    def draw(self, rng: np.random.Generator) -> EncodedTexts:
        """Every host with a span of a random donor, in the order of the hosts."""
        drawn = rng.integers(0, len(self.donors), len(self.hosts))
        texts = [
            transplant(host, self.donors[i], rng) for host, i in zip(self.hosts, drawn, strict=True)
        ]
        return EncodedTexts(self.tokenizer, texts, self.labels, self.max_length)


@dataclass(frozen=True)
class Schedule:
    """The steps of a cycle.

    Attributes:
        trust: objective on ``trusted``, the clean rows.
        punish: objective on ``flagged``; None does not punish.
        transplant: objective on transplants; None for none.
        passes: how often a cycle goes over the trusted rows.
        interleave: spread the other steps between trust steps; otherwise a whole trust pass, then
            a whole punish pass (the paper).
        punish_every: trust steps between two punish steps.
        transplant_every: trust steps between two transplant steps.
        batch_size: rows a batch.
    """

    trust: Objective
    trusted: EncodedTexts
    punish: Objective | None
    flagged: EncodedTexts
    transplant: Objective | None
    transplants: Transplants
    passes: int
    interleave: bool
    punish_every: int
    transplant_every: int
    batch_size: int

    @property
    def steps_per_cycle(self) -> int:
        """Number of steps of a cycle."""
        trust = self.passes * math.ceil(len(self.trusted) / self.batch_size)
        if not self.interleave:
            return trust + (math.ceil(len(self.flagged) / self.batch_size) if self.punish else 0)
        extra = trust // self.punish_every if self.punish else 0
        return trust + extra + (trust // self.transplant_every if self.transplant else 0)

    def cycle(self, rng: np.random.Generator) -> Iterator[tuple[str, Step]]:
        """One cycle: the kind of each step, and the step."""
        size = self.batch_size
        trust = (
            ("trust", (self.trust, self.trusted, batch))
            for _ in range(self.passes)
            for batch in self.trusted.epoch(size, rng)
        )
        if not self.interleave:
            yield from trust
            for batch in self.flagged.epoch(size, rng) if self.punish else ():
                yield "punish", (self.punish, self.flagged, batch)
            return
        mixed = self.transplants.draw(rng) if self.transplant else None
        transplanting = _endless(lambda: mixed.epoch(size, rng))
        punishing = _endless(lambda: self.flagged.epoch(size, rng))
        for number, step in enumerate(trust, start=1):
            yield step
            if self.transplant and number % self.transplant_every == 0:
                yield "transplant", (self.transplant, mixed, next(transplanting))
            if self.punish and number % self.punish_every == 0:
                yield "punish", (self.punish, self.flagged, next(punishing))


def _endless(make: Callable[[], Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    while True:
        yield from make()
