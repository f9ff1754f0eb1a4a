"""Drop and retrain: train anew without the flagged rows, as if they had never been there.

θ ← argmin CE(f_θ(x), y) over the untrusted rows that are not flagged and the trusted rows, from
the *backbone's* weights: whatever the suspect model learned is thrown away.

Source: what training-time filters do (activation clustering, Chen et al. 2018; CUBE, Cui et al.
2022). Kept: rows are dropped and training starts over with the victim's settings. Left out:
their own filters; any detection will do. What to expect: clean if the detector missed next to
nothing; a few dozen missed rows teach the backdoor again. It needs the backbone and all training
rows, which a buyer of a model seldom has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from datasets import concatenate_datasets

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.errors import at_least
from bedkd.repairs.base import Repaired
from bedkd.repairs.start import before_training, suspects, trusted_rows
from bedkd.repairs.training import shuffled, train
from bedkd.run import Run
from bedkd.training.fine_tune import TrainingConfig, default_lr
from bedkd.training.objectives import cross_entropy


@dataclass(frozen=True)
class DropAndRetrain:
    """Train the backbone on all rows that are not flagged. Without a verdict the rows that are
    flagged all the same are dropped.

    Attributes:
        backbone: what the model was made from, as in :func:`bedkd.models.load_backbone`; its
            vocabulary must be that of the model's tokenizer. ``fresh`` starts from random weights.
        layers: of the backbone; None takes as many as the suspect model has.
        epochs: over all rows kept.
        lr: peak learning rate of AdamW; None takes the backbone's own, see
            :func:`bedkd.training.fine_tune.default_lr`.
        batch_size: rows in a batch.

    Example:
        >>> from bedkd import Parts, data, models
        >>> from bedkd.detectors import Given
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=20, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> made = DropAndRetrain(epochs=1).repair(case, Given((3, 7)).detect(case))
        >>> made.details, made.rows.tolist()
        ({'dropped': 2, 'trained_on': 68}, [3, 7])
    """

    backbone: str = "minilm"
    layers: int | None = None
    epochs: int = 3
    lr: float | None = None
    batch_size: int = 32

    def __post_init__(self):
        at_least(self, epochs=1, batch_size=1)
        if self.lr is not None:
            at_least(self, lr=0)

    def repair(self, case: Case, detection: Detection, run: Run = Run()) -> Repaired:
        """Train a new model.

        ``rows`` are the dropped rows, apart from those that a repair must not take. Nothing was
        trained on them, so that the new model can be judged on them.

        Raises:
            InputError: the backbone's vocabulary is not that of the model's tokenizer.
        """
        student = before_training(case, self.backbone, self.layers)
        kept = case.untrusted.select(np.flatnonzero(~detection.flagged))
        rows = case.encoded(concatenate_datasets([kept, trusted_rows(case)]), "the rows kept")
        lr = default_lr(self.backbone) if self.lr is None else self.lr
        config = TrainingConfig(self.epochs, self.batch_size, lr)
        history = train(student, case, shuffled(cross_entropy, rows, self.batch_size), config, run)
        dropped = suspects(detection)
        details = {"dropped": int(detection.flagged.sum()), "trained_on": len(rows)}
        return Repaired(student, history, dropped, details, dropped)
