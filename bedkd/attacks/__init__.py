"""Attacks on training data: triggers, and poisoning with an exact rate, a seed and a manifest.

A trigger is a small frozen dataclass with ``apply(texts, seed)``. What it does to a text depends
on the text and the seed alone, and so does the choice of rows: the order of rows does not matter,
and the same seed gives the same bytes.

Responsible use: these attacks are published and are implemented here to measure defences. Poison
only data and models you own.
"""

# The function ``poison`` takes the place of its module's name here; the module is still reached by
# ``from bedkd.attacks.poison import ...``.
from bedkd.attacks import rewriting
from bedkd.attacks.base import POSITIONS, Trigger, describe
from bedkd.attacks.combined import CoverSamples, Mixed, MultiTarget, near_trigger
from bedkd.attacks.insertions import AddSent, BadNets, WordCombination
from bedkd.attacks.poison import (
    SETTINGS,
    PoisonedSplit,
    attack_rows,
    check_target,
    poison,
    target_labels,
    triggered_rows,
)
from bedkd.attacks.rewriting import Rewrite, Rewriter
from bedkd.attacks.task import Limits, PoisonedTask, build_task

__all__ = [
    "POSITIONS",
    "SETTINGS",
    "AddSent",
    "BadNets",
    "CoverSamples",
    "Limits",
    "Mixed",
    "MultiTarget",
    "PoisonedSplit",
    "PoisonedTask",
    "Rewrite",
    "Rewriter",
    "Trigger",
    "WordCombination",
    "attack_rows",
    "build_task",
    "check_target",
    "describe",
    "near_trigger",
    "poison",
    "rewriting",
    "target_labels",
    "triggered_rows",
]
