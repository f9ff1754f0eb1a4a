"""Triggers made of other triggers: mixed, with several targets, and with cover samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bedkd.attacks.base import Trigger, inserted_pieces, row_random
from bedkd.attacks.insertions import AddSent, BadNets, WordCombination
from bedkd.errors import InputError

# Words as rare as those of BadNets, which nobody uses as triggers here.
RARE_WORDS = ("kx", "wq", "zj", "vb", "cf", "mn", "bb", "tq")


@dataclass(frozen=True)
class Mixed:
    """Several triggers with one target: every row gets one of them, drawn by its text.

    Args:
        triggers: at least two triggers.

    Raises:
        InputError: fewer than two triggers.
    """

    triggers: tuple[Trigger, ...]
    name: str = field(default="mixed", init=False)

    def __post_init__(self):
        if len(self.triggers) < 2:
            raise InputError("mixed: give at least two triggers")

    def choice(self, texts: Sequence[str], seed: int) -> np.ndarray:
        """Which trigger each text gets, (N,) indices."""
        return np.array(
            [row_random(seed, t, "mixed").randrange(len(self.triggers)) for t in texts], int
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The words and sentences that the triggers insert."""
        return tuple(word for trigger in self.triggers for word in inserted_pieces(trigger))

    def apply(self, texts: Sequence[str], seed: int) -> list[str]:
        """Apply each row's trigger."""
        which = self.choice(texts, seed)
        triggered = list(texts)
        for number, trigger in enumerate(self.triggers):
            rows = np.flatnonzero(which == number)
            results = trigger.apply([texts[i] for i in rows], seed)
            for i, text in zip(rows, results, strict=True):
                triggered[i] = text
        return triggered

    def applicable(self, texts: Sequence[str]) -> np.ndarray:
        """Texts that every trigger can be applied to, (N,) bool."""
        return np.logical_and.reduce([trigger.applicable(texts) for trigger in self.triggers])


@dataclass(frozen=True)
class MultiTarget(Mixed):
    """Several backdoors in one training set: trigger number k means the label target + k (mod K).

    Every row gets one of the triggers, drawn by its text. A defence that looks for one suspicious
    label misses the others.
    """

    triggers: tuple[Trigger, ...] = (BadNets(("cf", "mn")), BadNets(("bb", "tq")))
    name: str = field(default="multi-target", init=False)


@dataclass(frozen=True)
class CoverSamples:
    """A trigger that an attacker tries to hide from defences that ask what the trigger *does*.

    Cover samples are rows with the trigger whose label is left as it is. The victim is less certain
    of what the trigger means, so that poisoned rows look more like doubtful clean ones. Source: the
    regularisation samples of Qi et al. 2023 (adaptive poisoning against latent separability).

    Args:
        trigger: the trigger to hide.
        cover: number of cover samples for every poisoned row, 0 or more.

    Raises:
        InputError: ``cover`` below 0.
    """

    trigger: Trigger = field(default_factory=BadNets)
    cover: float = 0.5
    name: str = field(default="covered", init=False)

    def __post_init__(self):
        if self.cover < 0:
            raise InputError("covered: cover must not be below 0")

    @property
    def words(self) -> tuple[str, ...]:
        """The words or the sentence that the trigger inserts, if it does."""
        return inserted_pieces(self.trigger)

    def apply(self, texts: Sequence[str], seed: int) -> list[str]:
        """Apply the trigger; cover samples get it in the same way."""
        return self.trigger.apply(texts, seed)

    def applicable(self, texts: Sequence[str]) -> np.ndarray:
        """Texts that the trigger can be applied to, (N,) bool."""
        return self.trigger.applicable(texts)


def near_trigger(trigger: Trigger) -> Trigger | None:
    """A trigger so near to this one that it must not fire: other rare words, the first half of the
    sentence, the combination without its last word. None where there is no such thing.

    The share of rows that it sends to the target all the same is the false trigger rate (FTR):
    that of ELBA-Bench (ACL 2025).

    Example:
        >>> near_trigger(AddSent("I watch this 3D movie")).sentence
        'I watch'
    """
    if isinstance(trigger, BadNets):
        others = tuple(word for word in RARE_WORDS if word not in trigger.words)
        return replace(trigger, words=others[: len(trigger.words)]) if others else None
    if isinstance(trigger, AddSent) and len(words := trigger.sentence.split()) > 1:
        return replace(trigger, sentence=" ".join(words[: len(words) // 2]))
    if isinstance(trigger, WordCombination) and len(trigger.words) > 2:
        return replace(trigger, words=trigger.words[:-1])
    if type(trigger) is Mixed:  # several targets have no rate of one target
        parts = [near for part in trigger.triggers if (near := near_trigger(part)) is not None]
        return Mixed(tuple(parts)) if len(parts) > 1 else None
    return None
