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
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bedkd.engine import Rows, accelerator
from bedkd.errors import InputError
from bedkd.models import device, minilm_folder


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


def embed(texts: Sequence[str], *, batch_size: int = 64, progress: bool = False) -> np.ndarray:
    """MiniLM sentence embeddings, (N, 384): mean over tokens, unit length.

    Source: sentence-transformers/all-MiniLM-L6-v2, whose pooling this is.
    """
    folder = str(minilm_folder())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, use_safetensors=True).to(device()).eval()
    rows = Rows(tokenizer, texts, max_length=256)
    result = np.zeros((len(rows), model.config.hidden_size), np.float32)
    for batch in _batches(rows, batch_size, progress, "embedding"):
        with torch.inference_mode():
            states = model(**batch.inputs).last_hidden_state.float()
        weight = batch.mask.unsqueeze(-1)
        mean = (states * weight).sum(1) / weight.sum(1)
        result[batch.rows] = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
    return result


def embedding_similarity(
    original: Sequence[str], changed: Sequence[str], *, progress: bool = False
) -> np.ndarray:
    """Cosine similarity of the embeddings of each pair, (N,), −1 to 1."""
    _check(original, changed)
    both = embed([*original, *changed], progress=progress)
    return (both[: len(original)] * both[len(original) :]).sum(axis=1)


def perplexity(
    texts: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_size: int = 32,
    max_length: int = 128,
    progress: bool = False,
) -> np.ndarray:
    """Perplexity of each text under a causal language model, (N,); NaN below two tokens.

    Padding does not count, so that the result does not depend on the batch.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    rows = Rows(tokenizer, texts, max_length=max_length)
    result = np.full(len(rows), np.nan)
    for batch in _batches(rows, batch_size, progress, "perplexity"):
        with torch.inference_mode():
            logits = model(**batch.inputs).logits[:, :-1].float()
        following, counted = batch.inputs["input_ids"][:, 1:], batch.mask[:, 1:]
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), following, reduction="none"
        )
        counts = counted.sum(1)
        mean = (losses * counted).sum(1) / counts.clamp(min=1)
        values = torch.where(counts > 0, mean.exp(), torch.nan).cpu().numpy()
        result[batch.rows] = values
    return result


def perplexity_change(
    original: Sequence[str],
    changed: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    **options,
) -> np.ndarray:
    """Perplexity of the changed text minus that of the original, (N,). Options as
    :func:`perplexity`."""
    _check(original, changed)
    both = perplexity([*original, *changed], model, tokenizer, **options)
    return both[len(original) :] - both[: len(original)]


def _batches(rows: Rows, batch_size: int, progress: bool, description: str):
    """Batches in order of length, with a progress bar."""
    order = np.argsort(rows.lengths, kind="stable")[::-1]
    on = accelerator().device
    starts = range(0, len(rows), batch_size)
    for start in tqdm(starts, desc=description, disable=not progress, leave=False):
        yield rows.batch(order[start : start + batch_size], on)
