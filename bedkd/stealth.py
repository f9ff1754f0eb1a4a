"""How visible is a trigger? Measures on pairs of original and triggered texts, without a grammar.

* word-level edit share: how much of the text was changed;
* embedding similarity: how much of the meaning is left (MiniLM sentence embeddings);
* change of perplexity: how much stranger the text became to a language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd import language_model
from bedkd.errors import InputError
from bedkd.training.batches import EncodedTexts
from bedkd.training.embed import embed
from bedkd.training.runtime import device


def _check(original: Sequence[str], changed: Sequence[str]) -> None:
    if len(original) != len(changed):
        raise InputError(f"{len(original)} original texts but {len(changed)} changed ones")


def word_edit_share(original: Sequence[str], changed: Sequence[str]) -> np.ndarray:
    """Share of words that differ, (N,), 0 (same words) to 1 (nothing in common).

    1 − 2·M / (words of both), M the words in the longest matching blocks.
    """
    _check(original, changed)
    return np.array(
        [
            1 - SequenceMatcher(None, a.split(), b.split(), autojunk=False).ratio()
            for a, b in zip(original, changed, strict=True)
        ]
    )


def embedding_similarity(
    original: Sequence[str], changed: Sequence[str], *, progress: bool = False
) -> np.ndarray:
    """Cosine similarity of the embeddings of each pair, (N,), −1 to 1."""
    _check(original, changed)
    both = embed([*original, *changed], progress=progress)
    return (both[: len(original)] * both[len(original) :]).sum(axis=1)


def perplexity(
    texts: Sequence[str],
    model: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    batch_size: int = 32,
    max_length: int = 128,
    progress: bool = False,
) -> np.ndarray:
    """Perplexity of each text under a causal language model, (N,); NaN below two tokens.

    Padding does not count, so that the result does not depend on the batch. Without a model it is
    :func:`bedkd.language_model.perplexities`, of the extra ``lm``, defined for all texts.

    Raises:
        InputError: no model is given and the extra is missing.
    """
    if model is None or tokenizer is None:
        options = {"max_length": max_length, "progress": progress}
        return language_model.perplexities(texts, batch_size=batch_size, **options)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    rows = EncodedTexts(tokenizer, texts, max_length=max_length)
    result = np.full(len(rows), np.nan)
    batches = rows.by_length(batch_size)
    for indices in tqdm(batches, desc="perplexity", disable=not progress, leave=False):
        batch = rows.batch(indices, device())
        with torch.inference_mode():
            logits = model(**batch.inputs).logits[:, :-1].float()
        following, counted = batch.inputs["input_ids"][:, 1:], batch.mask[:, 1:]
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), following, reduction="none"
        )
        counts = counted.sum(1)
        mean = (losses * counted).sum(1) / counts.clamp(min=1)
        values = torch.where(counts > 0, mean.exp(), torch.nan).cpu().numpy()
        result[indices] = values
    return result


def perplexity_change(
    original: Sequence[str],
    changed: Sequence[str],
    model: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    **options,
) -> np.ndarray:
    """Perplexity of the changed text minus that of the original, (N,). Options as
    :func:`perplexity`."""
    _check(original, changed)
    both = perplexity([*original, *changed], model, tokenizer, **options)
    return both[len(original) :] - both[: len(original)]


def table(original: Sequence[str], changed: Sequence[str]) -> dict[str, np.ndarray]:
    """All measures of N pairs by name, each (N,); the change of perplexity is NaN where the extra
    ``lm`` is missing.
    """
    fluency = np.full(len(original), np.nan)
    if language_model.is_installed():
        fluency = perplexity_change(original, changed)
    return {
        "edits": word_edit_share(original, changed),
        "similarity": embedding_similarity(original, changed),
        "perplexity_change": fluency,
    }
