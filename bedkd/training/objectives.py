"""Objectives for the training loop: a loss tied to a model and a batch.

Losses are computed in single precision, whatever precision the model ran in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from bedkd.training import losses
from bedkd.training.batches import Batch
from bedkd.training.forward import ask
from bedkd.training.predict import Prediction


def _logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    return ask(model, batch).logits


def cross_entropy(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Plain fine-tuning: mean cross-entropy on the batch's labels."""
    return F.cross_entropy(_logits(model, batch), batch.labels)


@dataclass(frozen=True)
class DistillationLoss:
    """The shared loss of BeDKD against a frozen teacher.

    The teacher's answers are computed once (it never changes, nor do the rows) and looked up by
    row index.

    Args:
        teacher: its logits and hidden states for the rows this objective is used on.
        temperature: τ.
        alpha: weight of the cross-entropy.
        sign: 1 minimises the loss (mapping, trust); −1 maximises it (the paper's punish pass).
    """

    teacher: Prediction
    temperature: float
    alpha: float
    sign: int = 1

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        logits, hidden = ask(model, batch, hidden=True)
        target = self.teacher.hidden.padded(batch.indices).to(hidden)  # to the device at once
        target = F.pad(target, (0, 0, 0, hidden.shape[1] - target.shape[1]))
        return self.sign * losses.distillation(
            logits,
            torch.from_numpy(self.teacher.logits[batch.indices]).to(logits),
            hidden,
            target,
            batch.mask,
            batch.labels,
            temperature=self.temperature,
            alpha=self.alpha,
        )


@dataclass(frozen=True)
class TransplantLoss:
    """Keep the label and the teacher's answer of the row that a foreign span was spliced into.

    As :class:`DistillationLoss` without the hidden states: the row has other tokens than the one
    that the teacher saw.
    """

    teacher_logits: Tensor
    temperature: float
    alpha: float

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        logits = _logits(model, batch)
        teacher = self.teacher_logits[torch.from_numpy(batch.indices)].to(logits)
        agreement = losses.soft_kl(logits, teacher, self.temperature)
        supervised = F.cross_entropy(logits, batch.labels)
        return self.alpha * supervised + (1 - self.alpha) * agreement


@dataclass(frozen=True)
class BoundedPunishLoss:
    """Push the given label's probability of flagged rows down to ``target_probability``."""

    target_probability: float

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        return losses.bounded_punish(_logits(model, batch), batch.labels, self.target_probability)


@dataclass(frozen=True)
class SoftLabelLoss:
    """Teach flagged rows the labels that their content supports: cross-entropy with soft labels
    (N, K)."""

    labels: Tensor

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        logits = _logits(model, batch)
        return F.cross_entropy(logits, self.labels[torch.from_numpy(batch.indices)].to(logits))
