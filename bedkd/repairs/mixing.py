"""Interpolation: dilute the suspect model's weights with those of a clean model.

θ ← share · θ_suspect + (1 − share) · θ_clean, then fine-tuning on trusted rows.

Sources, step by step. The clean model, a fine-tune of the backbone on trusted rows, and the mean
of both models' weights: WAG (Arora et al. 2024, "Here's a Free Lunch"), whose second model comes
from elsewhere. Fine-tuning the mixture: Fine-mixing (Zhang et al. 2022), which mixes with the
pre-trained weights themselves (``clean_epochs=0``). Left out: Fine-mixing takes each weight from
one or the other model at random where we take the mean, and it purifies embeddings by word
frequencies. What to expect: a trigger needs many weights to work together, a task few; so a small
share loses the backdoor first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.errors import InputError, at_least
from bedkd.repairs.base import Repaired
from bedkd.repairs.start import before_training, trusted_rows
from bedkd.repairs.training import shuffled, train
from bedkd.run import Run
from bedkd.training.fine_tune import TrainingConfig, default_lr
from bedkd.training.objectives import cross_entropy
from bedkd.training.student import whole_copy


@dataclass(frozen=True)
class Interpolation:
    """Mix with a clean model, then train on. The detection is not used.

    Attributes:
        share: of the suspect model's weights, 0 to 1; smaller forgets more, of everything.
        backbone: what the model was made from, as in :func:`bedkd.models.load_backbone`; it must
            have the model's weights by name and shape, and its tokenizer's vocabulary. ``fresh``
            takes random weights.
        clean_epochs: over the trusted rows, to make the clean model; 0 mixes with the backbone.
        epochs: over the trusted rows, of the mixture; 0 leaves the mean as it is.
        lr: peak learning rate of AdamW; None takes the backbone's own, see
            :func:`bedkd.training.fine_tune.default_lr`.
        batch_size: rows in a batch.

    Example:
        >>> from bedkd import Parts, data, models
        >>> from bedkd.detectors import Given
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=20, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> made = Interpolation(clean_epochs=1, epochs=1).repair(case, Given((0,)).detect(case))
        >>> [record["stage"] for record in made.history]
        ['clean', 'mixture']
    """

    share: float = 0.3
    backbone: str = "minilm"
    clean_epochs: int = 5
    epochs: int = 10
    lr: float | None = None
    batch_size: int = 32

    def __post_init__(self):
        at_least(self, share=0, clean_epochs=0, epochs=0, batch_size=1)
        if self.lr is not None:
            at_least(self, lr=0)
        if self.share > 1:
            raise InputError(f"share={self.share}: give a number from 0 to 1")

    def repair(self, case: Case, detection: Detection, run: Run = Run()) -> Repaired:
        """Mix a copy with a clean model, whatever was flagged.

        Raises:
            InputError: the backbone is another architecture, or of another vocabulary.
        """
        student, clean = whole_copy(case.suspect), before_training(case, self.backbone)
        weights, others = dict(student.named_parameters()), dict(clean.named_parameters())
        if {k: w.shape for k, w in weights.items()} != {k: w.shape for k, w in others.items()}:
            raise InputError(
                f"backbone={self.backbone!r}: its weights are not by name and shape those of the "
                "model; give backbone= the one that the model was made from"
            )
        rows = case.encoded(trusted_rows(case), "the trusted set")
        epoch = shuffled(cross_entropy, rows, self.batch_size)
        lr = default_lr(self.backbone) if self.lr is None else self.lr

        def trained(model, epochs: int, stage: str) -> list[dict]:
            config = TrainingConfig(epochs, self.batch_size, lr)
            return train(model, case, epoch, config, run, stage)

        history = trained(clean, self.clean_epochs, "clean")
        with torch.no_grad():
            for name, weight in weights.items():
                weight.lerp_(others[name], 1 - self.share)
        return Repaired(student, history + trained(student, self.epochs, "mixture"))
