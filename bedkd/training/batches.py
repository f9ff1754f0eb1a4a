"""Tokenised texts, and batches of them.

Texts are tokenised once and stay unpadded; batches are cut from rows of similar length, which on
short sentences saves about half of the computed token positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd.data.rows import labels_of
from bedkd.errors import InputError
from bedkd.text import PAIR, unpair

# Texts handed to the tokenizer at a time: what it returns is many times larger than token ids.
TOKENIZED = 1000


@dataclass(frozen=True)
class Batch:
    """Padded rows on the device: ``indices`` (B,) in the :class:`EncodedTexts` they came from,
    ``inputs`` what the model takes (each B × T), ``labels`` class indices (B,)."""

    indices: np.ndarray
    inputs: dict[str, Tensor]
    labels: Tensor

    @property
    def mask(self) -> Tensor:
        """Attention mask, (B, T)."""
        return self.inputs["attention_mask"]


class EncodedTexts:
    """Tokenised texts with their labels.

    Attributes:
        ids: token ids, N integer arrays (T,) of their own lengths.
        types: token types likewise, None where they say nothing.
        labels: class indices, (N,).
        lengths: number of tokens, (N,).

    Args:
        tokenizer: any Hugging Face tokenizer with a padding token.
        texts: N texts, or pairs made by :func:`bedkd.text.pair`; an empty text is its special
            tokens only.
        labels: N class indices, or None for texts that are only predicted.
        max_length: longer texts are cut, in tokens.

    Raises:
        InputError: the tokenizer has no padding token, or there are not as many labels as texts.

    Example:
        >>> from bedkd import models
        >>> _, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> EncodedTexts(tokenizer, ["a fine film", "dull"], [1, 0]).lengths.tolist()
        [5, 3]
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[str],
        labels: Sequence[int] | None = None,
        max_length: int = 128,
    ):
        texts = list(texts)
        self.pad = tokenizer.pad_token_id
        if self.pad is None:
            raise InputError(
                "the tokenizer has no padding token; set tokenizer.pad_token to one it knows"
            )
        self.ids, self.types = _tokens(tokenizer, texts, max_length)
        # A tokenizer without special tokens turns an empty text into nothing at all.
        self.ids = [ids if len(ids) else np.array([self.pad], np.int32) for ids in self.ids]
        self.labels = np.zeros(len(texts), int) if labels is None else np.asarray(labels, int)
        if len(self.labels) != len(texts):
            raise InputError(f"{len(texts)} texts but {len(self.labels)} labels")
        self.lengths = np.array([len(ids) for ids in self.ids], int)

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        """Pad the named rows to the longest of them and move them to the device."""
        indices = np.asarray(indices)
        inputs = {
            "input_ids": _padded([self.ids[i] for i in indices], self.pad),
            "attention_mask": _padded([np.ones_like(self.ids[i]) for i in indices], 0),
        }
        if self.types is not None:
            inputs["token_type_ids"] = _padded([self.types[i] for i in indices], 0)
        return Batch(
            indices,
            {name: torch.from_numpy(value).to(device) for name, value in inputs.items()},
            torch.as_tensor(self.labels[indices], device=device),
        )

    def epoch(
        self, batch_size: int, rng: np.random.Generator, rows: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """All rows once, or those that are named, in random batches of similar length.

        Rows are shuffled, cut into pools of 32 batches, sorted by length inside a pool, cut into
        batches, and the batches of all pools are shuffled.
        """
        order = rng.permutation(len(self) if rows is None else rows)
        pool = 32 * batch_size
        batches = []
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
        for index in rng.permutation(len(batches)):
            yield batches[index]

    def by_length(self, batch_size: int) -> list[np.ndarray]:
        """All rows once in batches, the longest first, so that memory runs out at once or never.

        Rows of one length are sorted by their tokens: then the batches, and with them the last
        digits of what a model computes, do not depend on the order of rows.
        """
        # Bytes of equal length, the highest first, sort as the numbers do.
        keys = [ids.astype(">i4").tobytes() for ids in self.ids]
        order = np.array(sorted(range(len(self)), key=lambda i: (-self.lengths[i], keys[i])))
        return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def _padded(rows: list[np.ndarray], fill: int) -> np.ndarray:
    """Rows as one array (B, T), filled up on the right."""
    padded = np.full((len(rows), max(map(len, rows))), fill, np.int64)
    for k, row in enumerate(rows):
        padded[k, : len(row)] = row
    return padded


def _tokens(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], max_length: int
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Token ids and token types of N texts or pairs; types None where they say nothing."""
    ids: list[np.ndarray] = [np.empty(0, np.int32)] * len(texts)
    types = list(ids)
    pairs = [unpair(text) for text in texts] if any(PAIR in text for text in texts) else None
    paired = np.zeros(len(texts), bool)
    if pairs:
        paired[:] = [second is not None for _, second in pairs]
    for rows in (np.flatnonzero(~paired), np.flatnonzero(paired)):
        for some in np.split(rows, range(TOKENIZED, len(rows), TOKENIZED)):
            if not len(some):
                continue
            firsts = [pairs[i][0] if pairs else texts[i] for i in some]
            seconds = [pairs[i][1] for i in some] if paired[some[0]] else None
            found = tokenizer(
                firsts, seconds, truncation=True, max_length=max_length, verbose=False
            )
            for k, i in enumerate(some):
                ids[i] = np.array(found["input_ids"][k], np.int32)
                if "token_type_ids" in found:
                    types[i] = np.array(found["token_type_ids"][k], np.int8)
    return ids, types if any(row.any() for row in types) else None


def positions(model: PreTrainedModel) -> float:
    """The largest number of tokens of a text that the model has positions for; infinite where
    positions are relative."""
    count = getattr(model.config, "max_position_embeddings", None) or 0
    for name, module in model.named_modules():
        # RoBERTa and its kin begin to count behind the padding index.
        if (
            name.endswith("position_embeddings")
            and getattr(module, "padding_idx", None) is not None
        ):
            count = module.num_embeddings - module.padding_idx - 1
    return count if count > 0 else math.inf


def check_length(model: PreTrainedModel, tokens: int, what: str) -> None:
    """
    Raises:
        InputError: a row of so many tokens does not fit into the model's positions.
    """
    if tokens > (most := positions(model)):
        raise InputError(
            f"{what}: a row has {tokens} tokens, the model reads {most}; give max_length={most}"
        )


def encode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    max_length: int,
    what: str,
) -> EncodedTexts:
    """Tokenise a data set after checking that it fits the model.

    Args:
        dataset: rows with ``text`` and ``label``.
        what: the data set's name in a message, such as "the trusted set".

    Raises:
        InputError: it is empty, a row's label is outside the model's classes, or a row has
            more tokens than the model has positions.
    """
    if len(dataset) == 0:
        raise InputError(f"{what} is empty; give at least one row")
    check_labels(model, dataset, what)
    rows = EncodedTexts(tokenizer, dataset["text"][:], labels_of(dataset), max_length)
    check_length(model, rows.lengths.max(), what)
    return rows


def check_labels(model: PreTrainedModel, dataset: Dataset, what: str) -> None:
    """Make sure that the model knows every label.

    Raises:
        InputError: names the first row whose label is outside the model's classes.
    """
    labels, classes = labels_of(dataset), model.config.num_labels
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise InputError(
            f"{what}, row {wrong[0]}: label {labels[wrong[0]]}, but the model has classes "
            f"0 to {classes - 1}"
        )
