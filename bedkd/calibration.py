"""Put a repaired model's classes back in proportion.

Dirty-label poison makes the target label too common in training, and what the victim learnt of
that survives a repair: the purified model still calls too many rows the target, with or without a
trigger. On triggered rows this looks like residue of the backdoor. Trusted rows say by how much
each class is off; offsets of the logits take it back, without further training.
"""

from __future__ import annotations

import numpy as np
import torch
from datasets import Dataset
from scipy.special import softmax
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd.engine import predict
from bedkd.training import checked_rows


def class_offsets(logits: np.ndarray, labels: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """What to add to each class's logit so that its mean probability is its prior, (K,), sum 0.

    This is logistic recalibration in which only the intercepts are free: among all offsets these
    give the labels the highest likelihood.

    Args:
        logits: (M, K).
        labels: true labels, (M,); their shares need not be those of the prior, rows are weighted.
        prior: how common each class is in use, (K,), sums to 1. Classes without a row or with
            prior 0 get no offset.
    """
    counts = np.bincount(labels, minlength=len(prior))
    free = (counts > 0) & (prior > 0)
    weights = np.where(free, prior / np.maximum(counts, 1), 0.0)[labels]
    weights = weights / weights.sum()
    aim = prior[free] / prior[free].sum()
    offsets = np.zeros(len(prior))
    for _ in range(1000):
        step = np.log(aim / (weights @ softmax(logits + offsets, axis=1))[free])
        offsets[free] += step
        if np.abs(step).max() < 1e-6:
            break
    offsets[free] -= offsets[free].mean()
    return offsets


def output_layer(model: PreTrainedModel) -> torch.nn.Linear | None:
    """The linear layer that gives the logits, or None if the last one has no bias."""
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    last = layers[-1]
    return last if last.out_features == model.config.num_labels and last.bias is not None else None


def recentre(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trusted: Dataset,
    prior: np.ndarray,
    max_length: int = 128,
) -> np.ndarray | None:
    """Add :func:`class_offsets` to the biases of ``model``, which is changed.

    Args:
        trusted: clean rows with true labels that the model was not trained on.
        prior: how common each class is in use, (K,), sums to 1.

    Returns:
        The offsets, (K,); None if the output layer has no bias to add them to, and then the model
        is as it was.
    """
    layer = output_layer(model)
    if layer is None:
        return None
    rows = checked_rows(model, tokenizer, trusted, max_length, "the trusted set")
    offsets = class_offsets(predict(model, rows).logits, rows.labels, prior)
    with torch.no_grad():
        layer.bias += torch.as_tensor(offsets, dtype=layer.bias.dtype, device=layer.bias.device)
    return offsets
