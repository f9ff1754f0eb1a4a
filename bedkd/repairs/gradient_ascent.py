"""Robust gradient ascent (RGA): unlearn flagged rows by ascent that switches itself off.

L(θ) = mean CE(f_θ(x), y) over trusted rows − mean λ(x) · CE(f_θ(x), y) over flagged rows with
their given labels + β · ‖θ − θ₀‖²,  λ(x) = exp(−α · KL(f_θ(x) ‖ f_θ₀(x))), without a gradient.

θ₀ is the suspect model. Plain ascent (α = β = 0) knows no end: the given label's probability goes
to 0, and with two classes the trigger then means the other one (inversion). λ is 1 while a row is
answered as before and vanishes as soon as the answer has moved; the last term holds all weights
near where they were.

Source: RGA (ICLR 2026), as described by others: neither paper nor code was at hand. Kept: the
loss, α = 2, β = 0.05. Ours: every step takes a batch of trusted and one of flagged rows; an epoch
goes once over the larger of the two sets; λ is computed in the same pass, under dropout; learning
rate and epochs suit a small backbone, by held-out trusted rows and flagged ones alone (described
for BERT: 2e-5 and 30, with which the small one had not finished unlearning after 10). Left out:
their own detector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from datasets import concatenate_datasets
from torch import Tensor
from transformers import PreTrainedModel

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.errors import InputError, at_least
from bedkd.repairs.base import Repaired
from bedkd.repairs.start import suspects, trusted_rows
from bedkd.repairs.training import train
from bedkd.run import Run
from bedkd.training.batches import Batch, EncodedTexts
from bedkd.training.fine_tune import TrainingConfig
from bedkd.training.forward import ask
from bedkd.training.loop import Step
from bedkd.training.predict import predict
from bedkd.training.student import student_of


def ascent_weights(now: Tensor, before: Tensor, alpha: float) -> Tensor:
    """λ = exp(−α · KL(now ‖ before)) of B rows from their logits, (B, K) each.

    >>> now, before = torch.zeros(2, 2), torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    >>> ascent_weights(now, before, 2.0)
    tensor([1.0000, 0.0707])
    """
    now, before = F.log_softmax(now, dim=-1), F.log_softmax(before, dim=-1)
    return torch.exp(-alpha * (now.exp() * (now - before)).sum(dim=-1))


@dataclass(frozen=True)
class RobustAscentLoss:
    """The loss of a batch of trusted and flagged rows.

    Attributes:
        trusted: number of trusted rows; rows with a larger index are flagged ones.
        before: the suspect model's logits for the flagged rows, (F, K).
        start: its weights, θ₀.
        alpha, beta: see :class:`RobustGradientAscent`.
    """

    trusted: int
    before: Tensor
    start: list[Tensor]
    alpha: float
    beta: float

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        logits = ask(model, batch).logits
        each = F.cross_entropy(logits, batch.labels, reduction="none")
        indices = torch.from_numpy(batch.indices)
        flagged = (indices >= self.trusted).to(logits.device)
        before = self.before[indices[indices >= self.trusted] - self.trusted].to(logits)
        weights = ascent_weights(logits[flagged].detach(), before, self.alpha)
        pairs = zip(model.parameters(), self.start, strict=True)
        moved = sum((now - then).pow(2).sum() for now, then in pairs)
        return each[~flagged].mean() - (weights * each[flagged]).mean() + self.beta * moved


@dataclass(frozen=True)
class RobustGradientAscent:
    """Climb on flagged rows, descend on trusted ones. Without a verdict the rows with the highest
    scores are taken.

    Attributes:
        alpha: how soon λ switches the ascent off; 0 never does, larger does sooner.
        beta: how strongly the weights are held; 0 lets them go.
        max_suspects: maximum number of flagged rows used, the most suspicious ones.
        epochs: over the larger of the two sets of rows.
        lr: peak learning rate of AdamW.
        batch_size: trusted rows in a step, and as many flagged ones.

    Example:
        >>> from bedkd import Parts, data, models
        >>> from bedkd.detectors import Given
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=20, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> made = RobustGradientAscent(epochs=1).repair(case, Given((3, 7)).detect(case))
        >>> made.rows.tolist(), list(made.details)
        ([3, 7], ['ascent_left'])
    """

    alpha: float = 2.0
    beta: float = 0.05
    max_suspects: int = 512
    epochs: int = 10
    lr: float = 1e-4
    batch_size: int = 16

    def __post_init__(self):
        at_least(self, alpha=0, beta=0, max_suspects=1, epochs=1, lr=0, batch_size=1)

    def repair(self, case: Case, detection: Detection, run: Run = Run()) -> Repaired:
        """Train a copy. ``details["ascent_left"]`` is the mean λ of the flagged rows in the end:
        near 0 the ascent is over, near 1 it has hardly begun.

        Raises:
            InputError: no row may be taken.
        """
        rows = suspects(detection, self.max_suspects)
        if not len(rows):
            raise InputError("no untrusted row can be used: none is flagged that may be taken")
        trusted, flagged = trusted_rows(case), case.untrusted.select(rows)
        one, two = case.encoded(trusted, "the trusted set"), case.encoded(flagged, "flagged rows")
        both = case.encoded(concatenate_datasets([trusted, flagged]), "the trusted set")
        before = torch.from_numpy(predict(case.suspect, two).logits)
        student = student_of(case.suspect)
        start = [weight.detach().clone() for weight in student.parameters()]
        objective = RobustAscentLoss(len(one), before, start, self.alpha, self.beta)
        config = TrainingConfig(self.epochs, self.batch_size, self.lr, weight_decay=0.0)

        def epoch(rng: np.random.Generator) -> list[Step]:
            steps = -(-max(len(one), len(two)) // self.batch_size)
            batches = (islice(_endless(rows, self.batch_size, rng), steps) for rows in (one, two))
            pairs = zip(*batches, strict=True)
            return [(objective, both, np.append(i, len(one) + j)) for i, j in pairs]

        history = train(student, case, epoch, config, run)
        after = torch.from_numpy(predict(student, two).logits)
        left = float(ascent_weights(after, before, self.alpha).mean())
        return Repaired(student, history, rows, {"ascent_left": left})


def _endless(rows: EncodedTexts, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        yield from rows.epoch(batch_size, rng)
