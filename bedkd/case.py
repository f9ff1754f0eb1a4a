"""What the defender holds: a model, rows he has checked, and rows he has not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd.data import balanced_split, fingerprint_rows
from bedkd.data.rows import labels_of, texts_of
from bedkd.errors import InputError
from bedkd.models import fingerprint, max_length
from bedkd.training.batches import EncodedTexts, check_labels, encode
from bedkd.training.embed import embed
from bedkd.training.predict import Prediction, predict
from bedkd.training.runtime import compiled, on_device

# Fewer trusted rows of a class cannot be divided into three parts.
MIN_PER_CLASS = 6
# A trigger behind the cut is not seen. With more cut rows than this nothing can be ruled out.
CUT_TOO_OFTEN = 0.1
# Untrusted rows that are tokenised and embedded at a time, so that memory does not grow with them.
SCANNED = 50_000
# Untrusted rows of one kind that a classifier of evidence learns from at most.
LEARNT = SCANNED // 2


@dataclass(frozen=True)
class Parts:
    """How trusted rows are divided, in rows a class; the parts are disjoint.

    Attributes:
        flip: rows that the directional mapping sees with flipped labels.
        tune: rows that a repair trains on.
        held_out: rows that nothing trains on; they decide when to stop.
    """

    flip: int = 80
    tune: int = 240
    held_out: int = 100

    def __post_init__(self):
        for name, value in asdict(self).items():
            if value < 1:
                raise InputError(f"parts: {name}={value}: give at least 1 row a class")


@dataclass(frozen=True)
class TrustedParts:
    """Trusted rows as they were divided, and what the owner should know of it."""

    flip: Dataset
    tune: Dataset
    held_out: Dataset
    warnings: list[str]

    @cached_property
    def all(self) -> Dataset:
        """The M rows of the three parts, in the order flip, tune, held out."""
        return concatenate_datasets([self.flip, self.tune, self.held_out])


@dataclass(frozen=True)
class Case:
    """What the defender holds, checked once. ``max_length`` and ``seed`` live here and nowhere
    else.

    Only the columns ``text`` and ``label`` of the two data sets are kept: poison flags never reach
    a detector or a repair.

    Args:
        model: a sequence classifier that may hold a backdoor; it is never changed, moved or cast.
        tokenizer: its tokenizer.
        trusted: rows whose labels a person has checked, best as common as they are in use: their
            shares say which label a doubtful row supports.
        untrusted: N rows the model was trained on, or rows like them, with given labels.
        parts: how trusted rows are divided.
        max_length: longer texts are cut, in tokens; by default where the model cuts them, see
            :func:`bedkd.models.max_length`.
        seed: of everything random.

    Raises:
        InputError: empty sets, labels the model does not know.

    Example:
        >>> from bedkd import data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=200, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10))
        >>> len(case.divided.all), len(case.untrusted), case.untrusted.column_names
        (70, 200, ['text', 'label'])
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    trusted: Dataset
    untrusted: Dataset
    parts: Parts = Parts()
    max_length: int | None = None
    seed: int = 0

    def __post_init__(self):
        if self.max_length is None:
            object.__setattr__(self, "max_length", max_length(self.model, self.tokenizer))
        for name in ("trusted", "untrusted"):
            rows = getattr(self, name)
            missing = {"text", "label"} - set(rows.column_names)
            if missing:
                raise InputError(f"the {name} set has no column {sorted(missing)[0]!r}")
            check_labels(self.model, rows, f"the {name} set")
            object.__setattr__(self, name, rows.select_columns(["text", "label"]))
        if len(self.untrusted) == 0:
            raise InputError("the untrusted set is empty; give at least one row")

    @cached_property
    def suspect(self) -> PreTrainedModel:
        """The model on the accelerator's device in single precision; a copy where it was not."""
        return compiled(on_device(self.model), in_place=False)

    @cached_property
    def gaps(self) -> list[str]:
        """What the case lacks for any verdict, one sentence each; known before any long work.

        Nothing can be said of rows whose label no trusted row carries, and a repair would unlearn
        that class.
        """
        names, found = self.label_name, []
        counts = np.bincount(labels_of(self.trusted), minlength=self.num_labels)
        given = np.bincount(self.labels, minlength=self.num_labels)
        if (counts > 0).sum() < 2:
            found.append("the trusted set holds fewer than two classes; give rows of every class")
        for k in np.flatnonzero((counts == 0) & (given > 0)):
            found.append(
                f"no trusted row has label {names(k)}, but {given[k]} untrusted rows do; give "
                f"trusted rows of it (at least {MIN_PER_CLASS}) or leave those rows out"
            )
        for k in np.flatnonzero((counts > 0) & (counts < MIN_PER_CLASS)):
            found.append(
                f"the trusted set has only {counts[k]} rows of label {names(k)}; give at least "
                f"{MIN_PER_CLASS} of every class"
            )
        reads = max_length(self.model, self.tokenizer)
        if self.cut_share > CUT_TOO_OFTEN and reads > self.max_length:
            found.append(
                f"{self.cut_share:.0%} of the untrusted rows reach {self.max_length} tokens and "
                f"are cut there, but the model reads {reads}; give a larger max_length"
            )
        return found

    def label_name(self, label: int) -> str:
        """A label as the model's configuration names it, with its number: ``positive (1)``."""
        name = (self.model.config.id2label or {}).get(int(label), f"LABEL_{label}")
        return f"{label}" if name in (f"LABEL_{label}", f"{label}") else f"{name} ({label})"

    @cached_property
    def cut_share(self) -> float:
        """Share of the untrusted rows that reach ``max_length``, where they may be cut."""
        parts = (self.read(part) for part in self.scans)
        return sum(int((p.lengths >= self.max_length).sum()) for p in parts) / len(self.untrusted)

    @property
    def num_labels(self) -> int:
        """K, the number of the model's classes."""
        return self.model.config.num_labels

    @cached_property
    def divided(self) -> TrustedParts:
        """Trusted rows in disjoint, balanced parts.

        With fewer rows a class than asked for, all parts shrink in proportion, and a warning says
        so.

        Raises:
            InputError: a class has fewer than ``MIN_PER_CLASS`` trusted rows.
        """
        wanted = np.array([self.parts.flip, self.parts.tune, self.parts.held_out])
        labels, counts = np.unique(labels_of(self.trusted), return_counts=True)
        if len(labels) < 2:
            raise InputError(
                "the trusted set holds fewer than two classes; give rows of every class"
            )
        smallest, warnings = int(counts.min()), []
        if smallest < MIN_PER_CLASS:
            raise InputError(
                f"the trusted set has only {smallest} rows of label {labels[counts.argmin()]}; "
                f"give at least {MIN_PER_CLASS} of every class"
            )
        if smallest < wanted.sum():
            warnings.append(
                f"{smallest} trusted rows in the smallest class, {wanted.sum()} asked for: "
                "all parts were made smaller in proportion"
            )
            wanted = np.maximum(2, np.floor(wanted * smallest / wanted.sum())).astype(int)
            wanted[1] -= max(0, wanted.sum() - smallest)
        rest, parts = self.trusted, []
        for rows_per_class in wanted:
            part, rest = balanced_split(rest, int(rows_per_class), seed=self.seed)
            parts.append(part)
        return TrustedParts(*parts, warnings)

    @cached_property
    def prior(self) -> np.ndarray:
        """How common each class is among all trusted rows, (K,), sums to 1."""
        labels = labels_of(self.trusted)
        return np.array([(labels == k).mean() for k in range(self.num_labels)])

    @cached_property
    def labels(self) -> np.ndarray:
        """Given labels of the untrusted rows, (N,)."""
        return labels_of(self.untrusted)

    @cached_property
    def draws(self) -> np.ndarray:
        """A random number of each untrusted row, (N,), 0 to 1, from seed, text and label: it stays
        with the row in whatever order the rows come."""
        rows = zip(self.labels, texts_of(self.untrusted), strict=True)
        keys = (f"{self.seed} {y} {text}".encode("utf-8", "surrogatepass") for y, text in rows)
        digests = b"".join(hashlib.blake2b(key, digest_size=8).digest() for key in keys)
        return np.frombuffer(digests, "<u8") / 2**64

    def some(self, rows: np.ndarray) -> np.ndarray:
        """Of very many untrusted rows as many as a classifier learns from, drawn at random; sorted
        by number."""
        if len(rows) <= LEARNT:
            return rows
        return np.sort(rows[np.argsort(self.draws[rows], kind="stable")[:LEARNT]])

    @cached_property
    def trusted_labels(self) -> np.ndarray:
        """True labels of the trusted rows in the order of ``divided.all``, (M,)."""
        return labels_of(self.divided.all)

    @cached_property
    def trusted_embeddings(self) -> np.ndarray:
        """Sentence embeddings of the trusted rows in the order of ``divided.all``, (M, D)."""
        return embed(self.divided.all["text"][:])

    @cached_property
    def embeddings(self) -> np.ndarray:
        """Sentence embeddings of the untrusted rows, (N, D): 1.5 kB a row. See
        :meth:`embedded`."""
        return embed(self.untrusted["text"][:])

    def embedded(self, rows: np.ndarray) -> np.ndarray:
        """Sentence embeddings of some untrusted rows, (R, D); of small sets all are kept."""
        if len(self.untrusted) <= SCANNED:
            return self.embeddings[rows]
        return embed(self.untrusted.select(rows)["text"][:])

    @cached_property
    def fits_label(self) -> np.ndarray:
        """Which trusted rows, in the order of ``divided.all``, the model classifies correctly, (M,)
        bool."""
        rows = self.encoded(self.divided.all, "the trusted set")
        return predict(self.suspect, rows).labels == rows.labels

    @cached_property
    def encoded_untrusted(self) -> EncodedTexts:
        """The untrusted rows as the model reads them, all in memory. See :attr:`scans`."""
        return self.encoded(self.untrusted, "the untrusted set")

    @property
    def scans(self) -> list[np.ndarray]:
        """The numbers of the untrusted rows in parts that are read one after the other."""
        count = len(self.untrusted)
        return np.split(np.arange(count), range(SCANNED, count, SCANNED))

    def read(self, part: np.ndarray) -> EncodedTexts:
        """A part of :attr:`scans` as the model reads it; a set of one part is kept."""
        if len(part) == len(self.untrusted):
            return self.encoded_untrusted
        return self.encoded(self.untrusted.select(part), "the untrusted set")

    def ask(
        self, models: Iterable[PreTrainedModel], part: np.ndarray, **bar: Any
    ) -> list[Prediction]:
        """What models say of a part of :attr:`scans`, which is read once. The suspect model's
        answers are kept, because detection and outcome need the same.

        Args:
            bar: progress and description, see :func:`bedkd.training.predict.predict`.
        """
        found, rows, start = [], None, int(part[0])
        for model in models:
            kept = self._answers.get(start) if model is self.suspect else None
            if kept is None:
                rows = rows or self.read(part)
                kept = predict(model, rows, **bar)
            if model is self.suspect:
                self._answers[start] = kept
            found.append(kept)
        return found

    def said(self, rows: np.ndarray) -> np.ndarray:
        """Labels that the suspect model gives to some untrusted rows, (R,); where all rows have
        been asked about before, from there."""
        if self._answers.keys() >= {int(part[0]) for part in self.scans}:
            kept = [self._answers[int(part[0])].labels for part in self.scans]
            return np.concatenate(kept)[rows]
        asked = self.encoded(self.untrusted.select(rows), "the untrusted set")
        return predict(self.suspect, asked).labels

    @cached_property
    def _answers(self) -> dict[int, Prediction]:
        return {}

    def encoded(self, rows: Dataset, what: str) -> EncodedTexts:
        """Rows as the model reads them.

        Raises:
            InputError: there are none, or a label is outside the model's classes.
        """
        return encode(self.model, self.tokenizer, rows, self.max_length, what)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """What everything in the case is, as text: two cases are equal where these are."""
        return {
            "model": fingerprint(self.model),
            "trusted": fingerprint_rows(self.trusted),
            "untrusted": fingerprint_rows(self.untrusted),
            "settings": f"{self.parts} max_length={self.max_length} seed={self.seed}",
        }
