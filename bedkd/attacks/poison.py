"""Poisoning of one split with an exact rate, and the triggered rows to measure an attack with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from bedkd import data
from bedkd.attacks.base import Trigger, describe, draw_rows
from bedkd.attacks.combined import CoverSamples, MultiTarget
from bedkd.attacks.insertions import WordCombination
from bedkd.errors import InputError

SETTINGS = ("dirty", "clean", "mixed")


@dataclass(frozen=True)
class PoisonedSplit:
    """A poisoned training set.

    Attributes:
        dataset: the rows in their old order, with flags; the decoys of a word combination and cover
            samples replace clean rows in place.
        chosen: indices of the poisoned rows, ascending.
        decoys: indices of the decoys or cover samples, ascending.
        manifest: how it was made, as JSON.
    """

    dataset: Dataset
    chosen: np.ndarray
    decoys: np.ndarray
    manifest: dict


def check_target(target: int, labels: np.ndarray, what: str = "target") -> None:
    """Raise InputError unless ``target`` is one of the labels."""
    known = sorted({int(x) for x in labels})
    if target not in known:
        raise InputError(f"{what} {target}: not a label of this data set, which has {known}")


def check_setting(setting: str) -> None:
    """Raise InputError unless ``setting`` is one of :data:`SETTINGS`."""
    if setting not in SETTINGS:
        raise InputError(f"setting {setting!r}: choose one of {', '.join(SETTINGS)}")


def target_labels(
    trigger: Trigger, texts: Sequence[str], target: int, num_labels: int, seed: int
) -> np.ndarray:
    """The label that the trigger of each text means, (N,).

    It is the target in every row, unless there are several (:class:`MultiTarget`).
    """
    if isinstance(trigger, MultiTarget):
        return (target + trigger.choice(texts, seed)) % num_labels
    return np.full(len(texts), target)


def poisonable_rows(
    split: Dataset, trigger: Trigger, *, target: int, setting: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows can be poisoned, by their class and by what the trigger can be applied to.

    Args:
        split: rows with ``text`` and ``label``.
        trigger, target, setting, seed: as in :func:`poison`.

    Returns:
        Their indices, ascending, and the target label of every row of the split, (N,).
    """
    texts, labels = list(split["text"]), np.asarray(split["label"], int)
    wanted = target_labels(trigger, texts, target, data.num_labels(split), seed)
    right_class = {
        "dirty": labels != wanted,
        "clean": labels == wanted,
        "mixed": np.ones(len(labels), bool),
    }[setting]
    return np.flatnonzero(right_class & trigger.applicable(texts)), wanted


def poison(
    split: Dataset,
    trigger: Trigger,
    *,
    rate: float,
    target: int,
    setting: str = "dirty",
    seed: int = 0,
) -> PoisonedSplit:
    """Poison exactly ``round(rate · N)`` of the N rows.

    Args:
        split: rows with ``text`` and ``label``.
        trigger: what to apply.
        rate: share of *all* rows of the result that is poisoned, 0 to 1.
        target: the label the trigger shall mean (:class:`MultiTarget`: the first trigger).
        setting: ``dirty`` takes non-target rows and relabels them; ``clean`` takes target rows
            and leaves their label; ``mixed`` takes rows of any class.
        seed: decides which rows, and each trigger's random parts.

    Raises:
        InputError: rate outside 0 to 1, unknown target or setting, or too few candidate rows.
    """
    if not 0 <= rate <= 1:
        raise InputError(f"rate {rate}: must lie between 0 and 1")
    check_setting(setting)
    texts, labels = list(split["text"]), np.asarray(split["label"], int)
    check_target(target, labels)
    candidates, wanted = poisonable_rows(split, trigger, target=target, setting=setting, seed=seed)
    count = round(rate * len(texts))
    if len(candidates) < count:
        raise InputError(
            f"rate {rate}: {count} rows wanted, but only {len(candidates)} can be poisoned with "
            f"{trigger.name} in the {setting} setting; use a rate of at most "
            f"{len(candidates) / max(len(texts), 1):.3f}"
        )
    chosen = np.sort(draw_rows(texts, candidates, count, seed, "poison"))
    decoys, decoy_texts = _decoys(trigger, texts, candidates, chosen, seed)

    new_texts, new_labels, flags = list(texts), labels.copy(), np.zeros(len(texts), bool)
    _replace(new_texts, chosen, trigger.apply([texts[i] for i in chosen], seed))
    _replace(new_texts, decoys, decoy_texts)
    new_labels[chosen] = wanted[chosen]
    flags[chosen] = True
    manifest = {
        "attack": describe(trigger),
        "setting": setting,
        "rate": rate,
        "target": target,
        "seed": seed,
        "rows": len(texts),
        "poisoned": len(chosen),
        **_record(labels, chosen, decoys),
    }
    return PoisonedSplit(data.make(new_texts, new_labels, flags.tolist()), chosen, decoys, manifest)


def _decoys(
    trigger: Trigger, texts: list[str], candidates: np.ndarray, chosen: np.ndarray, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Rows that get a decoy's or a cover sample's text and keep their label, and those texts."""
    if isinstance(trigger, CoverSamples):  # rows that might as well have been poisoned
        among, ratio, change = candidates, trigger.cover, trigger.apply
    elif isinstance(trigger, WordCombination):
        among, ratio, change = np.arange(len(texts)), trigger.negatives, trigger.decoys
    else:
        return np.empty(0, int), []
    rest = np.setdiff1d(among, chosen)
    count = min(round(ratio * len(chosen)), len(rest))
    rows = np.sort(draw_rows(texts, rest, count, seed, "decoy"))
    return rows, change([texts[i] for i in rows], seed)


def _replace(texts: list[str], rows: np.ndarray, new: Sequence[str]) -> None:
    """Put new texts into rows, in place."""
    for i, text in zip(rows, new, strict=True):
        texts[i] = text


def _record(labels: np.ndarray, chosen: np.ndarray, decoys: np.ndarray) -> dict:
    """The part of a manifest that says which rows were changed; labels are the true ones."""
    clean = np.delete(labels, chosen)
    return {
        "poisoned_by_class": count_labels(labels[chosen]),
        "clean_by_class": count_labels(clean),
        "decoys": len(decoys),
        "poisoned_rows": chosen.tolist(),
        "decoy_rows": decoys.tolist(),
    }


def count_labels(labels: np.ndarray) -> dict[str, int]:
    """Number of rows of every label that occurs, the labels as text for JSON."""
    values, counts = np.unique(labels, return_counts=True)
    return {str(v): int(c) for v, c in zip(values, counts, strict=True)}


def triggered_rows(split: Dataset, trigger: Trigger, *, target: int, seed: int) -> Dataset:
    """Every row that the trigger can be applied to, triggered, with its true label (for RACC).

    With several targets a column ``target_label`` says which one the row's trigger means.

    Args:
        split: rows with ``text`` and ``label``.
        trigger: what to apply.
        target: the label the trigger means (:class:`MultiTarget`: the first trigger).
        seed: decides the trigger's random parts.
    """
    texts = list(split["text"])
    rows = np.flatnonzero(trigger.applicable(texts))
    texts, labels = [texts[i] for i in rows], np.asarray(split["label"], int)[rows]
    triggered = data.make(trigger.apply(texts, seed), labels, True)
    if isinstance(trigger, MultiTarget):
        wanted = target_labels(trigger, texts, target, data.num_labels(split), seed)
        triggered = triggered.add_column("target_label", wanted.tolist())
    return triggered


def target_labels_of(triggered: Dataset, target: int) -> np.ndarray:
    """The label that the trigger of each row of :func:`triggered_rows` means, (N,)."""
    if "target_label" in triggered.column_names:
        return np.asarray(triggered["target_label"], int)
    return np.full(len(triggered), target)


def attack_rows(triggered: Dataset, target: int) -> Dataset:
    """The rows of a triggered set that are not of the label their trigger means, with that label
    (for ASR).

    Args:
        triggered: from :func:`triggered_rows`.
        target: the label the trigger means.
    """
    labels, wanted = np.asarray(triggered["label"], int), target_labels_of(triggered, target)
    rows, texts = np.flatnonzero(labels != wanted), list(triggered["text"])
    return data.make([texts[i] for i in rows], wanted[rows], True)
