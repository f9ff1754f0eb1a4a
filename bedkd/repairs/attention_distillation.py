"""Neural attention distillation (NAD): a fine-tuned teacher shows the student where to look.

L = CE(f_θ(x), y) + β · Σ_l ‖A_l(θ) − A_l(teacher)‖², mean over trusted rows. The attention map A_l
of layer l has one entry a token, the mean square of its hidden state, 0 for padding, and length 1.

Source: NAD (Li et al. 2021, ICLR), made for images. Kept: the teacher is the suspect model after
fine-tuning on trusted rows, and stays as it is; squared maps of length 1; the student starts from
the suspect model; a β in the thousands. Ours: maps over tokens in place of pixels; all layers weigh
the same. Left out: augmentation, and a β for each layer. Where layers end in a layer norm, as
BERT's do, all tokens have nearly the same mean square, so that maps say little there. Users report
that without the attention loss ASR is as low: show it beside fine-tuning with the same rows, which
``beta=0`` is, step by step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.errors import at_least
from bedkd.repairs.base import Repaired
from bedkd.repairs.start import trusted_rows
from bedkd.repairs.training import shuffled, train
from bedkd.run import Run
from bedkd.training.batches import Batch
from bedkd.training.fine_tune import TrainingConfig
from bedkd.training.forward import ask
from bedkd.training.objectives import cross_entropy
from bedkd.training.student import student_of


def attention_map(states: Tensor, mask: Tensor) -> Tensor:
    """Maps of B rows from hidden states (B, T, H) and a mask (B, T); each has length 1, (B, T).

    >>> states = torch.tensor([[[3.0, 3.0], [1.0, 7**0.5], [9.0, 9.0]]])
    >>> attention_map(states, torch.tensor([[1, 1, 0]]))
    tensor([[0.9138, 0.4061, 0.0000]])
    """
    return F.normalize(states.float().pow(2).mean(-1) * mask, dim=-1)


@contextmanager
def _maps(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Inside the block the list gets a tensor (layers, B, T) from every forward pass."""
    found: list[Tensor] = []

    def after(module, args, kwargs, out):
        if not kwargs.get("output_hidden_states"):
            return  # a trial pass, see bedkd.training.forward
        states = out.get("hidden_states") or out["decoder_hidden_states"]
        mask = kwargs["attention_mask"]
        found.append(torch.stack([attention_map(layer, mask) for layer in states[1:]]))

    hook = model.register_forward_hook(after, with_kwargs=True)
    try:
        yield found
    finally:
        hook.remove()


@dataclass(frozen=True)
class AttentionLoss:
    """Cross-entropy plus ``beta`` times the distance of the student's maps to the teacher's."""

    teacher: PreTrainedModel
    beta: float

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        with _maps(model) as ours:
            logits = ask(model, batch, hidden=True).logits
        with torch.no_grad(), _maps(self.teacher) as theirs:
            ask(self.teacher, batch, hidden=True)
        distances = zip(ours, theirs, strict=True)  # several where rows cannot share a pass
        distance = sum((one - other).pow(2).sum() for one, other in distances) / len(logits)
        return F.cross_entropy(logits, batch.labels) + self.beta * distance


@dataclass(frozen=True)
class AttentionDistillation:
    """Fine-tune a teacher, then a student that looks where it does. The detection is not used.

    Attributes:
        beta: weight of the attention loss; larger follows the teacher more, 0 is fine-tuning.
        teacher_epochs: over the trusted rows.
        epochs: of the student, over the same rows.
        lr: peak learning rate of AdamW, of both.
        batch_size: rows in a batch.

    Example:
        >>> from bedkd import Parts, data, models
        >>> from bedkd.detectors import Given
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=20, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> method = AttentionDistillation(teacher_epochs=1, epochs=1)
        >>> made = method.repair(case, Given((0, 1)).detect(case))
        >>> [record["stage"] for record in made.history]
        ['teacher', 'student']
    """

    beta: float = 1000.0
    teacher_epochs: int = 5
    epochs: int = 5
    lr: float = 1e-4
    batch_size: int = 32

    def __post_init__(self):
        at_least(self, beta=0, teacher_epochs=1, epochs=1, lr=0, batch_size=1)

    def repair(self, case: Case, detection: Detection, run: Run = Run()) -> Repaired:
        """Distil into a copy, whatever was flagged."""
        student, teacher = student_of(case.suspect), student_of(case.suspect)
        rows = case.encoded(trusted_rows(case), "the trusted set")

        def trained(model, objective, epochs: int, stage: str) -> list[dict]:
            config = TrainingConfig(epochs, self.batch_size, self.lr)
            epoch = shuffled(objective, rows, self.batch_size)
            return train(model, case, epoch, config, run, stage)

        history = trained(teacher, cross_entropy, self.teacher_epochs, "teacher")
        objective = AttentionLoss(teacher, self.beta)
        return Repaired(student, history + trained(student, objective, self.epochs, "student"))
