"""Losses of BeDKD: pure functions of tensors.

Shapes: B rows, K classes, T tokens, H hidden size. Logits are raw scores (before softmax).
Source: the shared loss of arXiv 2508.01595, as described in the book's notation page.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hidden_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of two hidden states over real tokens.

    Args:
        student, teacher: hidden states, (B, T, H).
        mask: 1 for real tokens, 0 for padding, (B, T). Padding does not count: without the mask
            the loss of a row would depend on the longest row of its batch.

    Returns:
        Scalar; 0 for a batch without real tokens.
    """
    weight = mask.unsqueeze(-1).to(student.dtype)
    squared = (student - teacher).pow(2) * weight
    return squared.sum() / (weight.sum() * student.shape[-1]).clamp(min=1)


def soft_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(softmax(teacher/τ) ‖ softmax(student/τ)), mean over rows, no τ² factor.

    Args:
        student, teacher: logits, (B, K).
        temperature: τ > 0; larger is softer.
    """
    return F.kl_div(
        F.log_softmax(student / temperature, dim=-1),
        F.log_softmax(teacher / temperature, dim=-1),
        log_target=True,
        reduction="batchmean",
    )


def distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    student_hidden: Tensor,
    teacher_hidden: Tensor,
    mask: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    alpha: float,
) -> Tensor:
    """α·CE(student, labels) + (1 − α)·[KL(teacher ‖ student) + MSE(hidden states)].

    The loss of every stage: the mapping module minimises it on flipped labels, the trust pass on
    true ones, and the paper's punish pass maximises it.

    Args:
        student_logits, teacher_logits: (B, K).
        student_hidden, teacher_hidden: last layer's hidden states, (B, T, H).
        mask: attention mask, (B, T).
        labels: class indices, (B,).
        temperature: τ of the KL term.
        alpha: weight of the cross-entropy, 0 to 1.
    """
    agreement = soft_kl(student_logits, teacher_logits, temperature)
    agreement = agreement + hidden_mse(student_hidden, teacher_hidden, mask)
    return alpha * F.cross_entropy(student_logits, labels) + (1 - alpha) * agreement


def bounded_punish(logits: Tensor, labels: Tensor, target_probability: float) -> Tensor:
    """Push the given label's probability down to ``target_probability`` and no further.

    −log(1 − p) for rows with p > target_probability, 0 for the others, mean over all rows. Unlike
    the negated distillation loss it is bounded below by 0, and it stops: a row whose given label
    has become merely that likely is left alone.

    Args:
        logits: (B, K).
        labels: the given (flagged) labels, (B,).
        target_probability: probability at which punishing stops, 0 to 1.
    """
    log_p = F.log_softmax(logits, dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)
    # log(1 - p), stable for p close to 1.
    log_rest = torch.log((-torch.expm1(log_p)).clamp(min=1e-6))
    return torch.where(
        log_p.exp() > target_probability, -log_rest, torch.zeros_like(log_rest)
    ).mean()
