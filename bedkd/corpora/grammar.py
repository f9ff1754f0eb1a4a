"""The seeded grammar behind the embedded tasks: rules, phrases, rendering and parsing.

A :class:`Rule` is one plain template with its phrase tables, and templates that say the same in
the other forms. A *meaning* is ``(rule name, index of the phrase in each slot, ...)``: plain data
from which every form is rendered. Three marks are used in templates and phrases:

``<slot>``
    the phrase that the meaning names for this slot;
``{plain|bible|formal}``
    wording by voice; ``formal`` (the paraphrase) falls back to ``plain`` where it is left out;
``[a|b|c]``
    free variation that carries no meaning, fixed by a checksum of the meaning; never in plain.

``a(n)`` becomes "a" or "an" by the next letter. The last part of every long table is *fresh*:
such phrases never occur in the train split, so that dev and test ask for generalisation.
"""

from __future__ import annotations

import itertools
import math
import random
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from bedkd.errors import InputError

FORMS = ("plain", "syntactic", "bible", "paraphrase")
SPLITS = ("train", "dev", "test")
Meaning = tuple[str | int, ...]

_VOICE = {"plain": 0, "syntactic": 0, "bible": 1, "paraphrase": 2}
_SLOT = re.compile(r"<(\w+)>")
_WORDING = re.compile(r"\{([^{}]*)\}")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_ARTICLE = re.compile(r"\ba\(n\)(?= ([\"']?\w))")

FRESH_SHARE = 1 / 3  # of a table of at least _LONG phrases; never seen in training
_LONG = 5


@dataclass(frozen=True)
class Sentence:
    """One labelled row: its plain text, its label, and the meaning that every form renders."""

    text: str
    label: int
    meaning: Meaning


@dataclass(frozen=True)
class Rule:
    """One way to say something with a known label.

    Args:
        name: unique in its grammar; the first item of every meaning the rule makes.
        label: class of every sentence of this rule.
        slots: slot name to phrase table, in the order of the meaning's indices.
        forms: form to one or more templates; ``plain`` has exactly one.
        weight: how often the rule is drawn, relative to the others of its label.
        apart: slots whose indices must differ, because equal rows of their tables clash.
    """

    name: str
    label: int
    slots: dict[str, tuple[str, ...]]
    forms: dict[str, tuple[str, ...]]
    weight: float = 1.0
    apart: tuple[str, ...] = ()

    def size(self, seen_only: bool) -> int:
        """Number of meanings, with or without the fresh phrases."""
        return math.prod(known(t) if seen_only else len(t) for t in self.slots.values())

    def admits(self, meaning: Meaning) -> bool:
        """Whether the slots that must not clash differ."""
        chosen = dict(zip(self.slots, meaning[1:], strict=True))
        return len({chosen[slot] for slot in self.apart}) == len(self.apart)

    @cached_property
    def lookup(self) -> dict[str, dict[str, int]]:
        """For each slot, plain phrase (lower case) to index."""
        return {
            slot: {_voice(phrase, "plain").lower(): i for i, phrase in enumerate(table)}
            for slot, table in self.slots.items()
        }

    @cached_property
    def heads(self) -> set[tuple[str, ...]]:
        """The first two words (lower case) of every plain rendering."""
        starts = [""]
        for part in re.split(r"(<\w+>)", _voice(self.forms["plain"][0], "plain")):
            slot = _SLOT.fullmatch(part)
            options = [_voice(p, "plain") for p in self.slots[slot[1]]] if slot else [part]
            starts = [start + option for start in starts for option in options]
            if all(len(start.split()) > 2 for start in starts):  # so the second is complete
                break
        return {_head(start) for start in starts}

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Recognises the plain renderings of this rule, one group per slot."""

        def group(match: re.Match[str]) -> str:
            slot = match[1]
            words = sorted((_voice(p, "plain") for p in self.slots[slot]), key=len, reverse=True)
            return f"(?P<{slot}>{'|'.join(map(_literal, words))})"

        parts = re.split(r"(<\w+>)", _voice(self.forms["plain"][0], "plain"))
        return re.compile(
            "".join(_SLOT.sub(group, p) if _SLOT.fullmatch(p) else _literal(p) for p in parts),
            re.IGNORECASE,
        )


def known(table: tuple[str, ...]) -> int:
    """How many leading phrases of a table the train split may use."""
    return len(table) if len(table) < _LONG else len(table) - round(len(table) * FRESH_SHARE)


def _head(text: str) -> tuple[str, ...]:
    return tuple(text.lower().split()[:2])


def _literal(text: str) -> str:
    return re.escape(text).replace(re.escape("a(n)"), "an?")


def _voice(text: str, form: str) -> str:
    def pick(match: re.Match[str]) -> str:
        wordings = match[1].split("|")
        return wordings[_VOICE[form]] if _VOICE[form] < len(wordings) else wordings[0]

    return _WORDING.sub(pick, text)


def _checksum(meaning: Meaning, purpose: str) -> int:
    return zlib.crc32(f"{purpose}/{meaning}".encode())


class Grammar:
    """A set of rules: draws meanings for a split, renders them, and parses plain text back.

    Args:
        task: its name, for error messages.
        rules: all rules of the task.
        fresh_rate: share of the dev and test rows that hold at least one fresh phrase.
    """

    def __init__(self, task: str, rules: Iterable[Rule], fresh_rate: float):
        self.task = task
        self.fresh_rate = fresh_rate
        self.rules = {rule.name: rule for rule in rules}

    @cached_property
    def _by_head(self) -> dict[tuple[str, ...], list[Rule]]:
        """Rules by the first two words of what they render: few are worth trying on a text."""
        found: dict[tuple[str, ...], list[Rule]] = {}
        for rule in self.rules.values():
            for head in rule.heads:
                found.setdefault(head, []).append(rule)
        return found

    def rule(self, meaning: Meaning) -> Rule:
        """The rule a meaning belongs to.

        Raises:
            InputError: no such rule, or an index outside its tables.
        """
        rule = self.rules.get(meaning[0]) if meaning else None
        if (
            rule is None
            or len(meaning) != 1 + len(rule.slots)
            or not all(
                isinstance(i, int) and 0 <= i < len(table)
                for i, table in zip(meaning[1:], rule.slots.values(), strict=True)
            )
        ):
            raise InputError(
                f"meaning {meaning!r} is not one of task '{self.task}'; take it from build()"
            )
        return rule

    def render(self, meaning: Meaning, form: str) -> str:
        """The text of a meaning in one form."""
        rule = self.rule(meaning)
        chosen = {
            slot: table[i] for i, (slot, table) in zip(meaning[1:], rule.slots.items(), strict=True)
        }
        templates = rule.forms[form]
        text = templates[_checksum(meaning, form) % len(templates)]
        text = _SLOT.sub(lambda match: chosen[match[1]], text)
        text = _voice(text, form)
        counter = itertools.count()

        def vary(match: re.Match[str]) -> str:
            options = match[1].split("|")
            return options[_checksum(meaning, f"{form}{next(counter)}") % len(options)]

        text = _CHOICE.sub(vary, text)
        text = _ARTICLE.sub(lambda match: "an" if match[1][-1] in "aeiouAEIOU" else "a", text)
        return text[0].upper() + text[1:]

    def parse(self, text: str) -> Meaning | None:
        """The meaning whose plain rendering is exactly this text, or None."""
        for rule in self._by_head.get(_head(text), ()):
            match = rule.pattern.fullmatch(text)
            if match is None:
                continue
            indices = (rule.lookup[slot][match[slot].lower()] for slot in rule.slots)
            meaning = (rule.name, *indices)
            if self.render(meaning, "plain") == text:
                return meaning
        return None

    def is_fresh(self, meaning: Meaning) -> bool:
        """Whether the meaning holds a phrase that training never shows."""
        tables = self.rule(meaning).slots.values()
        return any(i >= known(t) for i, t in zip(meaning[1:], tables, strict=True))

    def split_of(self, meaning: Meaning) -> str:
        """The only split a meaning may appear in, whatever the seed and the sizes."""
        draw = _checksum(meaning, "split") % 10
        if self.is_fresh(meaning):
            return "dev" if draw < 4 else "test"
        return "train" if draw < 6 else "dev" if draw < 8 else "test"

    def capacity(self, split: str, label: int) -> int:
        """Rows of one class that a split can hold: half of what exists, so that drawing ends."""
        rules = [rule for rule in self.rules.values() if rule.label == label]
        seen = sum(rule.size(seen_only=True) for rule in rules)
        return int(seen * (0.3 if split == "train" else 0.1))

    def draw(self, split: str, label: int, count: int, rng: random.Random) -> list[Sentence]:
        """So many different sentences of one class, all belonging to one split.

        Raises:
            InputError: the grammar does not hold that many.
        """
        limit = self.capacity(split, label)
        if count > limit:
            raise InputError(
                f"{split}: task '{self.task}' yields at most {limit} rows of class {label}, "
                f"{count} were asked for; ask for fewer"
            )
        rules = [rule for rule in self.rules.values() if rule.label == label]
        weights = [rule.weight for rule in rules]
        found: dict[Meaning, Sentence] = {}
        while len(found) < count:
            fresh = split != "train" and rng.random() < self.fresh_rate
            while True:
                rule = rng.choices(rules, weights)[0]
                sizes = (len(t) if fresh else known(t) for t in rule.slots.values())
                meaning = (rule.name, *(rng.randrange(size) for size in sizes))
                if (
                    self.is_fresh(meaning) == fresh
                    and self.split_of(meaning) == split
                    and rule.admits(meaning)
                ):
                    break
            if meaning not in found:
                found[meaning] = Sentence(self.render(meaning, "plain"), label, meaning)
        return list(found.values())
