"""A repair in one file: fine-tune a copy on trusted rows, and on nothing else."""

import copy
from dataclasses import dataclass

from bedkd import Case, Run
from bedkd.detectors import Detection
from bedkd.repairs import Repaired
from bedkd.training.fine_tune import TrainingConfig, fine_tune


@dataclass(frozen=True)
class FineTuning:
    """Train on; perhaps the model forgets its trigger, which no trusted row holds.

    Attributes:
        epochs: number of epochs over the trusted rows for training.
        lr: peak learning rate of AdamW.
    """

    epochs: int = 2
    lr: float = 1e-3

    def repair(self, case: Case, detection: Detection, run: Run = Run()) -> Repaired:
        """Fine-tune a copy; the flagged rows are not used."""
        student = copy.deepcopy(case.suspect)
        config = TrainingConfig(self.epochs, lr=self.lr, max_length=case.max_length)
        rows = case.divided.tune
        losses = fine_tune(student, case.tokenizer, rows, config, seed=case.seed, run=run)
        history = [{"step": step, "loss": loss} for step, loss in enumerate(losses, start=1)]
        return Repaired(student, history)
