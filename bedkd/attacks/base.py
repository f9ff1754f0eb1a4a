"""What every trigger offers, and the helpers that triggers and poisoning share.

All randomness here comes from a hash of the seed and the text. That is what makes a result
independent of the order of rows, and the same for the same seed on every machine.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Protocol

import numpy as np

from bedkd.errors import InputError

POSITIONS = ("random", "start", "end")


class Trigger(Protocol):
    """What every trigger offers."""

    name: str

    def apply(self, texts: Sequence[str], seed: int) -> list[str]:
        """The triggered form of every text, in order."""

    def applicable(self, texts: Sequence[str]) -> np.ndarray:
        """Which texts it can be applied to, (N,) bool."""


def row_random(seed: int, text: str, purpose: str = "") -> random.Random:
    """A generator that depends on the seed, the text and the purpose only."""
    digest = hashlib.blake2b(f"{seed}|{purpose}|{text}".encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest))


def draw_rows(
    texts: Sequence[str], candidates: np.ndarray, count: int, seed: int, purpose: str
) -> np.ndarray:
    """Draw rows by their text: the same texts are drawn whatever their order.

    Args:
        texts: the texts of all rows.
        candidates: indices of the rows to draw from.
        count: how many to draw; those with the smallest hash of seed, purpose and text.
        seed: another seed draws other rows.
        purpose: keeps draws with the same seed independent of each other.

    Returns:
        Indices of the drawn rows, in the order of their hashes.
    """
    # Copies of a text would get the same hash; their number tells them apart.
    seen: Counter[str] = Counter()
    keys = []
    for i in candidates:
        text = texts[i]
        key = f"{seed}|{purpose}|{seen[text]}|{text}".encode()
        keys.append(hashlib.blake2b(key, digest_size=16).digest())
        seen[text] += 1
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return candidates[order[:count]]


def insert(text: str, pieces: Sequence[str], position: str, rng: random.Random) -> str:
    """Insert pieces between the words of a text; runs of white space become one space.

    Args:
        text: any text, the empty one included.
        pieces: words or sentences, inserted one after the other.
        position: one of :data:`POSITIONS`.
        rng: draws the places where the position is ``random``.
    """
    words = text.split()
    for piece in pieces:
        place = {"start": 0, "end": len(words)}.get(position)
        if place is None:
            place = rng.randint(0, len(words))
        words.insert(place, piece)
    return " ".join(words)


def check_position(position: str) -> None:
    """Raise InputError unless ``position`` is one of :data:`POSITIONS`."""
    if position not in POSITIONS:
        raise InputError(f"position={position!r}: choose one of {', '.join(POSITIONS)}")


def inserted_pieces(trigger: Trigger) -> tuple[str, ...]:
    """The words or the sentence that a trigger inserts; empty if it inserts none."""
    sentence = getattr(trigger, "sentence", None)
    return getattr(trigger, "words", ()) if sentence is None else (sentence,)


def describe(trigger: Trigger) -> dict:
    """A trigger's name and parameters as JSON; a rewriter by its ``description`` or type."""
    record: dict = {"name": trigger.name}
    for item in fields(trigger):  # type: ignore[arg-type]
        value = getattr(trigger, item.name)
        if item.name == "rewriter":
            record["rewriter"] = getattr(value, "description", type(value).__name__)
        elif item.name == "triggers":
            record["triggers"] = [describe(part) for part in value]
        elif item.name == "trigger":
            record["trigger"] = describe(value)
        elif item.name != "name":
            record[item.name] = list(value) if isinstance(value, tuple) else value
    return record
