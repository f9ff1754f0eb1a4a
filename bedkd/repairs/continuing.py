"""Drop and continue: one more epoch of the victim's training, without its poison.

θ ← argmin CE(f_θ(x), y) over the untrusted rows that are not flagged, the trusted rows, and (with
``relabel``) the flagged rows with the labels ŷ that their content supports, from the *suspect
model's* weights.

Source: the quicker of two repairs that activation clustering proposes (Chen et al. 2018): relabel
what was found with its source class and train on. Kept: both. Ours: soft labels in place of a
known source class, see :mod:`bedkd.repairs.soft_labels`; all other rows are trained on too.
Left out: training until it converges; one epoch is enough or nothing is.
Without the relabelled rows nothing speaks against the backdoor, as no other row holds the trigger,
and ASR stays where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from datasets import concatenate_datasets

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.errors import at_least
from bedkd.repairs.base import Repaired
from bedkd.repairs.soft_labels import soft_labels
from bedkd.repairs.start import suspects, trusted_rows
from bedkd.repairs.training import shuffled, train
from bedkd.run import Run
from bedkd.training.fine_tune import TrainingConfig
from bedkd.training.objectives import SoftLabelLoss
from bedkd.training.student import student_of


@dataclass(frozen=True)
class DropAndContinue:
    """Train the suspect model on, with the flagged rows relabelled or left out. Without a verdict
    these are the rows that are flagged all the same, if any.

    Attributes:
        relabel: teach the flagged rows soft labels; otherwise they are dropped.
        epochs: over all rows.
        lr: peak learning rate of AdamW; larger forgets more.
        batch_size: rows in a batch.

    Example:
        >>> from bedkd import Parts, data, models
        >>> from bedkd.detectors import Given
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=20, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> made = DropAndContinue(relabel=False).repair(case, Given((3, 7)).detect(case))
        >>> made.details, made.held_out.tolist()
        ({'relabelled': 0, 'dropped': 2, 'trained_on': 68}, [3, 7])
    """

    relabel: bool = True
    epochs: int = 1
    lr: float = 1e-4
    batch_size: int = 32

    def __post_init__(self):
        at_least(self, epochs=1, lr=0, batch_size=1)

    def repair(self, case: Case, detection: Detection, run: Run = Run()) -> Repaired:
        """Train a copy. ``rows`` are the flagged rows, apart from those that must not be taken,
        which are dropped."""
        student, rows = student_of(case.suspect), suspects(detection)
        taught = rows if self.relabel else rows[:0]
        kept = np.flatnonzero(~detection.flagged)
        trusted = trusted_rows(case)
        parts = [case.untrusted.select(kept), trusted, case.untrusted.select(taught)]
        encoded = case.encoded(concatenate_datasets(parts), "the rows kept")
        labels = np.eye(case.num_labels, dtype=np.float32)[encoded.labels]
        if len(taught):
            labels[-len(taught) :] = soft_labels(case, detection, taught)
        objective = SoftLabelLoss(torch.from_numpy(labels))
        config = TrainingConfig(self.epochs, self.batch_size, self.lr)
        epoch = shuffled(objective, encoded, self.batch_size)
        history = train(student, case, epoch, config, run)
        details = {
            "relabelled": len(taught),
            "dropped": int(detection.flagged.sum()) - len(taught),
            "trained_on": len(encoded),
        }
        return Repaired(student, history, rows, details, rows[:0] if self.relabel else rows)
