"""Sentence embeddings of a public encoder that was not fine-tuned on anything here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bedkd.models import minilm_folder
from bedkd.training.batches import EncodedTexts
from bedkd.training.runtime import device


@lru_cache(maxsize=1)
def _encoder() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The packaged MiniLM, loaded once a process."""
    folder = str(minilm_folder())
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModel.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
    return model.to(device()).eval(), tokenizer


def embed(texts: Sequence[str], *, batch_size: int = 64, progress: bool = False) -> np.ndarray:
    """MiniLM sentence embeddings, (N, 384): mean over tokens, unit length.

    Source: sentence-transformers/all-MiniLM-L6-v2, whose pooling this is.

    Example:
        >>> vectors = embed(["a fine film", "a good movie", "rain in the north"])
        >>> bool(vectors[0] @ vectors[1] > vectors[0] @ vectors[2])
        True
    """
    model, tokenizer = _encoder()
    rows = EncodedTexts(tokenizer, texts, max_length=256)
    result = np.zeros((len(rows), model.config.hidden_size), np.float32)
    batches = rows.by_length(batch_size)
    for indices in tqdm(batches, desc="embedding", disable=not progress, leave=False):
        batch = rows.batch(indices, device())
        with torch.inference_mode():
            states = model(**batch.inputs).last_hidden_state.float()
        weight = batch.mask.unsqueeze(-1)
        mean = (states * weight).sum(1) / weight.sum(1)
        result[indices] = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
    return result
