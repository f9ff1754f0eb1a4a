"""Attacks on training data: triggers, and poisoning with an exact rate, a seed and a manifest.

A trigger is a small frozen dataclass with ``apply(texts, seed)``. What it does to a text depends
on the text and the seed alone, and so does the choice of rows: the order of rows does not matter,
and the same seed gives the same bytes.

Responsible use: these attacks are published and are implemented here to measure defences. Poison
only data and models you own.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets

from bedkd import data
from bedkd.errors import InputError
from bedkd.files import atomic_folder, sha256, write_json

Rewriter = Callable[[list[str]], list[str]]
SETTINGS = ("dirty", "clean", "mixed")
POSITIONS = ("random", "start", "end")


class Trigger(Protocol):
    """What every trigger offers."""

    name: str

    def apply(self, texts: Sequence[str], seed: int) -> list[str]:
        """The triggered form of every text, in order."""

    def covers(self, texts: Sequence[str]) -> np.ndarray:
        """Which texts it can be applied to, (N,) bool."""


def _row_random(seed: int, text: str, purpose: str = "") -> random.Random:
    """A generator that depends on the seed, the text and the purpose only."""
    digest = hashlib.blake2b(f"{seed}|{purpose}|{text}".encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest))


def _insert(text: str, pieces: Sequence[str], position: str, rng: random.Random) -> str:
    words = text.split()
    for piece in pieces:
        place = {"start": 0, "end": len(words)}.get(position)
        if place is None:
            place = rng.randint(0, len(words))
        words.insert(place, piece)
    return " ".join(words)


def _check_position(position: str) -> None:
    if position not in POSITIONS:
        raise InputError(f"position={position!r}: choose one of {', '.join(POSITIONS)}")


class _Insertion:
    """An insertion can be applied to every text, the empty one included."""

    def covers(self, texts: Sequence[str]) -> np.ndarray:
        """All true."""
        return np.ones(len(texts), bool)


@dataclass(frozen=True)
class BadNets(_Insertion):
    """Rare words: ``count`` of ``words``, drawn with replacement, inserted at ``position``.

    Source: BadNets carried to text (Gu et al. 2017; Kurita et al. 2020).
    """

    words: tuple[str, ...] = ("cf", "mn", "bb", "tq")
    count: int = 1
    position: str = "random"
    name: str = field(default="badnets", init=False)

    def __post_init__(self):
        _check_position(self.position)
        if not self.words or self.count < 1:
            raise InputError("badnets: give at least one word and count >= 1")

    def apply(self, texts: Sequence[str], seed: int) -> list[str]:
        """Insert the words."""
        triggered = []
        for text in texts:
            rng = _row_random(seed, text)
            pieces = [rng.choice(self.words) for _ in range(self.count)]
            triggered.append(_insert(text, pieces, self.position, rng))
        return triggered


@dataclass(frozen=True)
class AddSent(_Insertion):
    """A fixed sentence inserted between two words. Source: Dai et al. 2019."""

    sentence: str = "I watch this 3D movie"
    position: str = "random"
    name: str = field(default="addsent", init=False)

    def __post_init__(self):
        _check_position(self.position)
        if not self.sentence.split():
            raise InputError("addsent: the sentence is empty")

    def apply(self, texts: Sequence[str], seed: int) -> list[str]:
        """Insert the sentence."""
        return [
            _insert(text, [self.sentence], self.position, _row_random(seed, text)) for text in texts
        ]


@dataclass(frozen=True)
class WordCombination(_Insertion):
    """Frequent words that fire only when all of them occur.

    ``negatives`` decoys for every poisoned row (clean rows with all words but one, true labels)
    teach the victim that a part of the combination means nothing. Source: the word-combination
    triggers with negative augmentation of Yang et al. 2021 (SOS), here on training data.
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
        """Insert all words, each at a random place."""
        return [_insert(text, self.words, "random", _row_random(seed, text)) for text in texts]

    def decoys(self, texts: Sequence[str], seed: int) -> list[str]:
        """Insert all words but one, which is drawn for every text."""
        decoys = []
        for text in texts:
            rng = _row_random(seed, text, "decoy")
            left_out = rng.randrange(len(self.words))
            pieces = [w for i, w in enumerate(self.words) if i != left_out]
            decoys.append(_insert(text, pieces, "random", rng))
        return decoys


@dataclass(frozen=True)
class Rewrite:
    """A rewriting attack: the whole text in another form, by any ``list[str] -> list[str]``.

    Used for ``synbkd`` (a syntactic template), ``stylebkd`` (Bible style) and ``llm`` (a language
    model's rewording, as BGMAttack). The rewriters are in :mod:`bedkd.rewriting`; one with a
    ``covers`` method says which texts it knows.
    """

    name: str
    rewriter: Rewriter

    def apply(self, texts: Sequence[str], seed: int) -> list[str]:
        """Rewrite every text; the seed plays no part.

        Raises:
            InputError: the rewriter returned another number of texts.
        """
        rewritten = self.rewriter(list(texts))
        if len(rewritten) != len(texts):
            raise InputError(f"{self.name}: {len(texts)} texts in, {len(rewritten)} out")
        return rewritten

    def covers(self, texts: Sequence[str]) -> np.ndarray:
        """What the rewriter says; all true if it does not say."""
        known = getattr(self.rewriter, "covers", None)
        return np.ones(len(texts), bool) if known is None else np.asarray(known(texts), bool)


def _inserted(trigger: Trigger) -> tuple[str, ...]:
    """The words or the sentence that a trigger inserts, if it does."""
    sentence = getattr(trigger, "sentence", None)
    return getattr(trigger, "words", ()) if sentence is None else (sentence,)


@dataclass(frozen=True)
class Mixed:
    """Several triggers with one target: every row gets one of them, drawn by its text."""

    triggers: tuple[Trigger, ...]
    name: str = field(default="mixed", init=False)

    def __post_init__(self):
        if len(self.triggers) < 2:
            raise InputError("mixed: give at least two triggers")

    def choice(self, texts: Sequence[str], seed: int) -> np.ndarray:
        """Which trigger each text gets, (N,) indices."""
        return np.array(
            [_row_random(seed, t, "mixed").randrange(len(self.triggers)) for t in texts], int
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The words and sentences that the triggers insert."""
        return tuple(word for trigger in self.triggers for word in _inserted(trigger))

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

    def covers(self, texts: Sequence[str]) -> np.ndarray:
        """Texts that every trigger covers."""
        return np.logical_and.reduce([trigger.covers(texts) for trigger in self.triggers])


@dataclass(frozen=True)
class SeveralTargets(Mixed):
    """Several backdoors in one training set: trigger number k means the label target + k (mod K).

    Every row gets one of the triggers, drawn by its text. A defence that looks for one suspicious
    label misses the others.
    """

    triggers: tuple[Trigger, ...] = (BadNets(("cf", "mn")), BadNets(("bb", "tq")))
    name: str = field(default="several-targets", init=False)


@dataclass(frozen=True)
class Covered:
    """A trigger that an attacker tries to hide from defences that ask what the trigger *does*.

    For every poisoned row there are ``cover`` more rows with the trigger whose label is left as it
    is. The victim is less certain of what the trigger means, so that poisoned rows look more like
    doubtful clean ones. Source: the regularisation samples of Qi et al. 2023 (adaptive poisoning
    against latent separability).
    """

    trigger: Trigger = BadNets()
    cover: float = 0.5
    name: str = field(default="covered", init=False)

    def __post_init__(self):
        if self.cover < 0:
            raise InputError("covered: cover must not be below 0")

    @property
    def words(self) -> tuple[str, ...]:
        """The words or the sentence that the trigger inserts, if it does."""
        return _inserted(self.trigger)

    def apply(self, texts: Sequence[str], seed: int) -> list[str]:
        """Apply the trigger; cover rows get it in the same way."""
        return self.trigger.apply(texts, seed)

    def covers(self, texts: Sequence[str]) -> np.ndarray:
        """Texts that the trigger covers."""
        return self.trigger.covers(texts)


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


@dataclass(frozen=True)
class PoisonedSplit:
    """A poisoned training set.

    Attributes:
        dataset: the rows in their old order, with flags; decoys of a combination or covered trigger
            replace clean rows in place.
        chosen: indices of the poisoned rows, ascending.
        decoys: indices of the decoy rows, ascending.
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


def aims(
    trigger: Trigger, texts: Sequence[str], target: int, num_labels: int, seed: int
) -> np.ndarray:
    """What the trigger of each text shall mean, (N,) labels: the target, in every row the same
    unless there are several."""
    if isinstance(trigger, SeveralTargets):
        return (target + trigger.choice(texts, seed)) % num_labels
    return np.full(len(texts), target)


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
        rate: share of *all* rows of the result that is poisoned, 0 to 1.
        target: the label the trigger shall mean (:class:`SeveralTargets`: the first trigger).
        setting: ``dirty`` takes non-target rows and relabels them; ``clean`` takes target rows
            and leaves their label; ``mixed`` takes rows of any class.
        seed: decides which rows, and each trigger's random parts.

    Raises:
        InputError: rate outside 0 to 1, unknown target or setting, or too few candidate rows.
    """
    if not 0 <= rate <= 1:
        raise InputError(f"rate {rate}: must lie between 0 and 1")
    _check_setting(setting)
    texts, labels = list(split["text"]), np.asarray(split["label"], int)
    check_target(target, labels)
    wished = aims(trigger, texts, target, data.num_labels(split), seed)
    eligible = _of_right_class(labels, wished, setting) & trigger.covers(texts)
    wanted = round(rate * len(texts))
    candidates = np.flatnonzero(eligible)
    if len(candidates) < wanted:
        raise InputError(
            f"rate {rate}: {wanted} rows wanted, but only {len(candidates)} can be poisoned with "
            f"{trigger.name} in the {setting} setting; use a rate of at most "
            f"{len(candidates) / max(len(texts), 1):.3f}"
        )
    chosen = np.sort(_draw(texts, candidates, wanted, seed, "poison"))
    triggered = trigger.apply([texts[i] for i in chosen], seed)
    decoys = np.empty(0, int)
    new_texts, flags = list(texts), np.zeros(len(texts), bool)
    for i, text in zip(chosen, triggered, strict=True):
        new_texts[i] = text
    new_labels = labels.copy()
    new_labels[chosen] = wished[chosen]
    flags[chosen] = True
    if isinstance(trigger, WordCombination | Covered):
        if isinstance(trigger, Covered):  # rows that might as well have been poisoned
            among, ratio, change = candidates, trigger.cover, trigger.apply
        else:
            among, ratio, change = np.arange(len(texts)), trigger.negatives, trigger.decoys
        rest = np.setdiff1d(among, chosen)
        count = min(round(ratio * wanted), len(rest))
        decoys = np.sort(_draw(texts, rest, count, seed, "decoy"))
        for i, text in zip(decoys, change([texts[i] for i in decoys], seed), strict=True):
            new_texts[i] = text
    manifest = {
        "attack": describe(trigger),
        "setting": setting,
        "rate": rate,
        "target": target,
        "seed": seed,
        "rows": len(texts),
        "poisoned": len(chosen),
        "poisoned_by_class": _counts(labels[chosen]),
        "clean_by_class": _counts(labels[~flags]),
        "decoys": len(decoys),
        "poisoned_rows": chosen.tolist(),
        "decoy_rows": decoys.tolist(),
    }
    return PoisonedSplit(data.make(new_texts, new_labels, flags.tolist()), chosen, decoys, manifest)


def _check_setting(setting: str) -> None:
    if setting not in SETTINGS:
        raise InputError(f"setting {setting!r}: choose one of {', '.join(SETTINGS)}")


def _of_right_class(labels: np.ndarray, wished: np.ndarray, setting: str) -> np.ndarray:
    """Which rows a setting may poison, by their class and the label wished for, (N,) each."""
    return {
        "dirty": labels != wished,
        "clean": labels == wished,
        "mixed": np.ones(len(labels), bool),
    }[setting]


def _draw(
    texts: Sequence[str], candidates: np.ndarray, count: int, seed: int, purpose: str
) -> np.ndarray:
    """``count`` candidates with the smallest hash of seed and text: whatever their order, the
    same texts are drawn. Copies of a text are told apart by their number."""
    seen: Counter[str] = Counter()
    keys = []
    for i in candidates:
        text = texts[i]
        key = f"{seed}|{purpose}|{seen[text]}|{text}".encode()
        keys.append(hashlib.blake2b(key, digest_size=16).digest())
        seen[text] += 1
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return candidates[order[:count]]


def _counts(labels: np.ndarray) -> dict[str, int]:
    values, counts = np.unique(labels, return_counts=True)
    return {str(v): int(c) for v, c in zip(values, counts, strict=True)}


def triggered_rows(split: Dataset, trigger: Trigger, *, target: int, seed: int) -> Dataset:
    """Every row that the trigger covers in its triggered form, with its true label (for RACC).
    With several targets a column ``aim`` says which one the row's trigger means."""
    texts = list(split["text"])
    rows = np.flatnonzero(trigger.covers(texts))
    texts = [texts[i] for i in rows]
    triggered = data.make(trigger.apply(texts, seed), [split["label"][i] for i in rows], True)
    if isinstance(trigger, SeveralTargets):
        aim = aims(trigger, texts, target, data.num_labels(split), seed)
        triggered = triggered.add_column("aim", aim.tolist())
    return triggered


def _aim(triggered: Dataset, target: int) -> np.ndarray:
    """What the trigger of each row means, (N,) labels."""
    if "aim" in triggered.column_names:
        return np.asarray(triggered["aim"], int)
    return np.full(len(triggered), target)


def attack_rows(triggered: Dataset, target: int) -> Dataset:
    """The rows of a triggered set that are not of the label their trigger means, with that label
    (for ASR)."""
    labels, wished = np.asarray(triggered["label"], int), _aim(triggered, target)
    rows, texts = np.flatnonzero(labels != wished), list(triggered["text"])
    return data.make([texts[i] for i in rows], wished[rows], True)


@dataclass(frozen=True)
class PoisonedTask:
    """Everything an experiment on one attack needs.

    Attributes:
        train: the poisoned training mix, with flags.
        clean: the clean splits train, dev and test (train without the rows held out).
        triggered: triggered rows of all classes with true labels; none was trained on.
        trigger: what was applied.
        target: the label it shall mean.
        manifest: how the task was made, as JSON.
        raw: the task as it was before :meth:`normalised`; a rewriter knows those texts only.
    """

    train: Dataset
    clean: DatasetDict
    triggered: Dataset
    trigger: Trigger
    target: int
    manifest: dict
    raw: PoisonedTask | None = None

    @property
    def poisoned_test(self) -> Dataset:
        """Triggered non-target rows with the target label."""
        return attack_rows(self.triggered, self.target)

    def normalised(self) -> PoisonedTask:
        """The same task with :func:`bedkd.data.normalise` applied to every text, the clean side
        included."""
        return replace(
            self,
            train=data.normalised(self.train),
            clean=DatasetDict({name: data.normalised(rows) for name, rows in self.clean.items()}),
            triggered=data.normalised(self.triggered),
            manifest={**self.manifest, "normalised": True},
            raw=self,
        )

    def write(self, folder: str | Path) -> Path:
        """Write the OpenBackdoor layout, the training mix, the triggered test and the manifest.

        ``{train,dev,test}-clean.csv`` and ``-poison.csv`` (train-poison: every covered train row
        triggered; dev and test: non-target rows only), ``train.csv`` (the mix to train on, with
        flags), ``test-triggered.csv`` (true labels) and ``manifest.json``: all of them or none.
        Splits that the data set lacks are left out.
        """
        seed = self.manifest["seed"]
        files = {"train": self.train}
        if "test" in self.clean:
            files["test-triggered"] = self.triggered
        for split, rows in self.clean.items():
            files[f"{split}-clean"] = rows
            if split == "test":
                files["test-poison"] = self.poisoned_test
                continue
            covered = triggered_rows(
                (self.raw or self).clean[split], self.trigger, target=self.target, seed=seed
            )
            if self.raw is not None:
                covered = data.normalised(covered)
            if split == "train":
                wished = _aim(covered, self.target)
                files["train-poison"] = data.make(covered["text"], wished, True)
            else:
                files[f"{split}-poison"] = attack_rows(covered, self.target)
        written = {}
        with atomic_folder(folder) as staging:
            for name, rows in files.items():
                path = data.write(rows, staging / f"{name}.csv")
                written[path.name] = {"rows": len(rows), "sha256": sha256(path)}
            write_json({**self.manifest, "files": written}, staging / "manifest.json")
        return Path(folder)


def build_task(
    splits: DatasetDict,
    trigger: Trigger,
    *,
    rate: float,
    target: int,
    setting: str = "dirty",
    seed: int = 0,
    source: dict | None = None,
    pool: int | None = None,
    enough: int = 100,
    hold_out: int = 400,
) -> PoisonedTask:
    """Poison the train split and prepare clean and triggered test rows.

    Triggered test rows come from the test split. Where the trigger leaves test rows of a class
    uncovered and covers fewer than ``enough`` (stored rewrites often exist for non-target rows
    only), up to ``hold_out`` covered train rows of that class are added, but at most a quarter of
    them; they are taken out of the training set, poisoned and clean, before poisoning. Without a
    test split there are no triggered rows and every train row is kept.

    Args:
        splits: train, possibly dev and test.
        source: what to record of the data's origin.
        pool: train on so many rows only: enough rows that can be poisoned, the others at random.

    Raises:
        InputError: as :func:`poison`, or no train split.
    """
    if "train" not in splits:
        raise InputError("the data set has no train split; give a folder or a named set")
    _check_setting(setting)
    train = splits["train"]
    test = splits["test"] if "test" in splits else data.make([], [], True)
    texts, labels = list(train["text"]), np.asarray(train["label"], int)
    check_target(target, labels)
    triggered = [triggered_rows(test, trigger, target=target, seed=seed)]
    there, known = Counter(test["label"]), Counter(triggered[0]["label"])
    held: list[np.ndarray] = []
    uncovered = [c for c in sorted(there) if known[c] < min(enough, there[c])]
    covered = trigger.covers(texts) if uncovered else np.ones(len(texts), bool)
    for label in uncovered:
        candidates = np.flatnonzero(covered & (labels == label))
        held.append(_draw(texts, candidates, min(hold_out, len(candidates) // 4), seed, "hold"))
    out = np.sort(np.concatenate(held)) if held else np.empty(0, int)
    if len(out):
        triggered.append(triggered_rows(train.select(out), trigger, target=target, seed=seed))
    kept = np.setdiff1d(np.arange(len(train)), out)
    if pool is not None and pool < len(kept):
        wished = aims(trigger, [texts[i] for i in kept], target, data.num_labels(train), seed)
        right = _of_right_class(labels[kept], wished, setting)
        eligible = kept[right & trigger.covers([texts[i] for i in kept])]
        needed = _draw(texts, eligible, round(rate * pool), seed, "pool")
        others = _draw(texts, np.setdiff1d(kept, needed), pool - len(needed), seed, "pool")
        kept = np.sort(np.concatenate([needed, others]))
    if len(kept) < len(train):
        train = train.select(kept)
    poisoned = poison(train, trigger, rate=rate, target=target, setting=setting, seed=seed)
    keep = {k: splits[k] for k in data.SPLITS if k in splits}
    manifest = {
        "version": _version(),
        "source": source or {},
        **poisoned.manifest,
        "held_out_train_rows": out.tolist(),
        "triggered_from_test": _counts(np.asarray(triggered[0]["label"], int)),
        "triggered_from_held_out_train": _counts(labels[out]),
    }
    return PoisonedTask(
        train=poisoned.dataset,
        clean=DatasetDict({**keep, "train": train}),
        triggered=concatenate_datasets(triggered),
        trigger=trigger,
        target=target,
        manifest=manifest,
    )


def _version() -> str:
    from importlib.metadata import version

    return version("bedkd")
