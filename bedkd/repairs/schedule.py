"""Which batch of a repair comes when: trust, punish and transplant steps of one cycle."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from bedkd.text import is_spaced, join, split
from bedkd.training.batches import EncodedTexts
from bedkd.training.loop import Objective, Step
from bedkd.training.objectives import cross_entropy

# So many suspected trigger words at most are planted in one row.
MOST_PLANTED = 4


def transplant(
    host: str,
    donor: str,
    rng: np.random.Generator,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> str:
    """Put a random span of ``donor`` (30 to 70 % of its words) into ``host``.

    Half of the time the span is the donor's beginning and goes to the host's beginning, because
    rewriting attacks often show in how a sentence opens; otherwise both places are random. Kin:
    cut-and-paste augmentation such as CutMix.

    Example:
        >>> transplant("a dull film", "cf fine", np.random.default_rng(0))
        'cf a dull film'
    """
    words, target = split(donor, tokenizer), split(host, tokenizer)
    length = max(1, round(rng.uniform(0.3, 0.7) * len(words)))
    if rng.random() < 0.5:
        start, place = 0, 0
    else:
        start = int(rng.integers(0, max(len(words) - length, 0) + 1))
        place = int(rng.integers(0, len(target) + 1))
    spaced = is_spaced(host), is_spaced(donor)
    span = join(words[start : start + length], spaced[1])
    parts = [join(target[:place], spaced[0]), span, join(target[place:], spaced[0])]
    return join([part for part in parts if part], any(spaced))


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
            transplant(host, self.donors[i], rng, self.tokenizer)
            for host, i in zip(self.hosts, drawn, strict=True)
        ]
        return EncodedTexts(self.tokenizer, texts, self.labels, self.max_length)


@dataclass(frozen=True)
class Planted:
    """Presumed clean texts with one to four suspected trigger words at random places; labels
    stay."""

    tokenizer: PreTrainedTokenizerBase
    hosts: Sequence[str]
    words: Sequence[str]
    labels: np.ndarray
    max_length: int

    def draw(self, rng: np.random.Generator) -> EncodedTexts:
        """Every host with words of its own, in the order of the hosts."""
        texts = [self.planted(host, rng) for host in self.hosts]
        return EncodedTexts(self.tokenizer, texts, self.labels, self.max_length)

    def planted(self, host: str, rng: np.random.Generator) -> str:
        """A host with words in it, each at most once."""
        words = split(host, self.tokenizer)
        for word in rng.permutation(self.words)[: rng.integers(1, MOST_PLANTED + 1)]:
            words.insert(rng.integers(len(words) + 1), str(word))
        return join(words, is_spaced(host))


@dataclass(frozen=True)
class Schedule:
    """The steps of a cycle.

    Attributes:
        trust: objective on ``trusted``, the clean rows.
        punish: objective on ``flagged``; None does not punish.
        transplant: objective on transplants; None for none.
        presumed: rows for trust steps on their given labels; None for none.
        planted: more such rows, which get suspected trigger words; None for none.
        passes: how often a cycle goes over the trusted rows.
        order: ``alternate`` is a whole trust pass, then a whole punish pass (the paper);
            ``interleave`` spreads the other steps between trust steps; ``shuffle`` goes over all
            rows in random order, half of the trusted ones as transplants, and over flagged rows as
            often as they fit into the number of trusted rows, at least once.
        punish_every: trust steps between two punish steps.
        transplant_every: trust steps between two transplant steps.
        batch_size: rows a batch.
        later_share: with ``shuffle``, share of the presumed clean rows that a later cycle goes
            over.
    """

    trust: Objective
    trusted: EncodedTexts
    punish: Objective | None
    flagged: EncodedTexts
    transplant: Objective | None
    transplants: Transplants
    presumed: EncodedTexts | None
    planted: Planted | None
    passes: int
    order: str
    punish_every: int
    transplant_every: int
    batch_size: int
    later_share: float = 1.0

    @property
    def steps_per_cycle(self) -> int:
        """Number of steps of a whole cycle."""

        def batches(rows: int) -> int:
            return math.ceil(rows / self.batch_size)

        trust = self.passes * batches(len(self.trusted))
        punish = batches(len(self.flagged)) if self.punish else 0
        if self.order == "alternate":
            return trust + punish
        if self.order == "shuffle":
            hosts = len(self.trusted) // 2 if self.transplant else 0
            trust = self.passes * (batches(len(self.trusted) - hosts) + batches(hosts))
            planted = len(self.planted.hosts) if self.planted else 0
            clean = trust + batches(len(self.presumed or ())) + batches(planted)
            return clean + self._repeats * punish
        extra = trust // self.punish_every if self.punish else 0
        return trust + extra + (trust // self.transplant_every if self.transplant else 0)

    @property
    def _repeats(self) -> int:
        """How often a shuffled cycle goes over the flagged rows."""
        return max(len(self.trusted) // max(len(self.flagged), 1), 1)

    def cycle(self, rng: np.random.Generator, later: bool = False) -> Iterator[tuple[str, Step]]:
        """One cycle: the kind of each step, and the step. With ``shuffle`` a later one has all
        trusted rows as transplants, flagged rows twice, and ``later_share`` of the others."""
        if self.order == "shuffle":
            yield from self._shuffled(rng, later)
            return
        size = self.batch_size
        trust = (
            ("trust", (self.trust, self.trusted, batch))
            for _ in range(self.passes)
            for batch in self.trusted.epoch(size, rng)
        )
        if self.order == "alternate":
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

    def _shuffled(self, rng: np.random.Generator, later: bool) -> Iterator[tuple[str, Step]]:
        """One pass over everything in random order."""
        steps = []
        share = self.later_share if later else 1.0

        def add(kind: str, objective: Objective, rows: EncodedTexts, which: np.ndarray) -> None:
            batches = rows.epoch(self.batch_size, rng, which)
            steps.extend((kind, (objective, rows, batch)) for batch in batches)

        def some(rows: Sequence) -> np.ndarray:
            return rng.permutation(len(rows))[: math.ceil(share * len(rows))]

        for _ in range(self.passes):
            drawn = rng.permutation(len(self.trusted))
            count = (len(drawn) if later else len(drawn) // 2) if self.transplant else 0
            add("trust", self.trust, self.trusted, drawn[count:])
            if count:
                add("transplant", self.transplant, self.transplants.draw(rng), drawn[:count])
        for _ in range(self._repeats * (2 if later else 1) if self.punish else 0):
            add("punish", self.punish, self.flagged, np.arange(len(self.flagged)))
        if self.presumed:
            add("presumed", cross_entropy, self.presumed, some(self.presumed))
        if self.planted:
            add("planted", cross_entropy, self.planted.draw(rng), some(self.planted.hosts))
        yield from (steps[i] for i in rng.permutation(len(steps)))


def _endless(make: Callable[[], Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    while True:
        yield from make()
