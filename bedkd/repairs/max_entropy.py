"""Maximum entropy fine-tuning (MEFT): make the model doubt everything, then teach it anew.

First θ ← argmin Σ_k p_k log p_k, the negative entropy of f_θ(x), mean over trusted rows: whatever
leads straight to a label, a trigger's path included, loses its hold. Then θ ← argmin CE(f_θ(x), y)
over the same rows.

Source: the maximum entropy loss of Liu et al. 2023 (Findings of ACL). No code was released. Kept:
the loss and the order of the two steps. Ours, because nothing says otherwise: how long the first
step lasts, whole epochs of it over all trusted rows, its learning rate (that of the second), and a
new optimiser for the second.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def negative_entropy(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Mean over rows of Σ p log p: 0 where the model is sure, −log K where all K labels are
    equally likely. Labels play no part."""
    log_p = F.log_softmax(ask(model, batch).logits, dim=-1)
    return (log_p.exp() * log_p).sum(dim=-1).mean()


@dataclass(frozen=True)
class MaximumEntropy:
    """Two steps on trusted rows. The detection is not used.

    Attributes:
        entropy_epochs: of the first step; more forget more, 0 is fine-tuning.
        epochs: of the second.
        lr: peak learning rate of AdamW in both steps.
        batch_size: rows in a batch.

    Example:
        >>> from bedkd import Parts, data, models
        >>> from bedkd.detectors import Given
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=20, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> method = MaximumEntropy(entropy_epochs=1, epochs=1)
        >>> made = method.repair(case, Given((0, 1)).detect(case))
        >>> [record["stage"] for record in made.history]
        ['entropy', 'fine-tuning']
    """

    entropy_epochs: int = 5
    epochs: int = 5
    lr: float = 2e-4
    batch_size: int = 32

    def __post_init__(self):
        at_least(self, entropy_epochs=0, epochs=0, lr=0, batch_size=1)

    def repair(self, case: Case, detection: Detection, run: Run = Run()) -> Repaired:
        """Train a copy, whatever was flagged."""
        student = student_of(case.suspect)
        rows = case.encoded(trusted_rows(case), "the trusted set")
        steps = {
            "entropy": (negative_entropy, self.entropy_epochs),
            "fine-tuning": (cross_entropy, self.epochs),
        }
        history: list[dict] = []
        for stage, (objective, epochs) in steps.items():
            config = TrainingConfig(epochs, self.batch_size, self.lr)
            epoch = shuffled(objective, rows, self.batch_size)
            history += train(student, case, epoch, config, run, stage)
        return Repaired(student, history)
