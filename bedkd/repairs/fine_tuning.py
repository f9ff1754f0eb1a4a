"""Fine-tuning on trusted rows alone, the baseline beside which every repair must be shown.

θ ← argmin CE(f_θ(x), y) over trusted rows, from the suspect model's weights.

Source: the baseline of Liu et al. 2018 (Fine-Pruning, RAID) and of nearly everybody since.
Kept: the loss and the start. Left out: the search for a large learning rate on test rows, which
"super-fine-tuning" amounts to; ours, for MiniLM, was chosen by held-out trusted rows and flagged
ones. Larger backbones will want a smaller one; that was not measured. What to expect: no trusted
row holds the trigger, so little speaks against it, and the backdoor mostly stays.
"""

from __future__ import annotations

from dataclasses import dataclass

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.errors import at_least
from bedkd.repairs.base import Repaired
from bedkd.repairs.start import trusted_rows
from bedkd.repairs.training import shuffled, train
from bedkd.run import Run
from bedkd.training.fine_tune import TrainingConfig
from bedkd.training.objectives import cross_entropy
from bedkd.training.student import student_of


@dataclass(frozen=True)
class FineTuning:
    """Train on; perhaps the model forgets its trigger. The detection is not used.

    Attributes:
        epochs: over the trusted rows of tune and flip; more forget more, of everything.
        lr: peak learning rate of AdamW; a larger one forgets more, too.
        batch_size: rows in a batch.

    Example:
        >>> from bedkd import Parts, data, models
        >>> from bedkd.detectors import Given
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=20, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> made = FineTuning(epochs=1).repair(case, Given((0, 1)).detect(case))
        >>> made.rows.tolist(), list(made.history[0])
        ([], ['stage', 'epoch', 'loss', 'held_out_accuracy'])
    """

    epochs: int = 10
    lr: float = 5e-4
    batch_size: int = 32

    def __post_init__(self):
        at_least(self, epochs=1, lr=0, batch_size=1)

    def repair(self, case: Case, detection: Detection, run: Run = Run()) -> Repaired:
        """Fine-tune a copy, whatever was flagged."""
        student = student_of(case.suspect)
        rows = case.encoded(trusted_rows(case), "the trusted set")
        config = TrainingConfig(self.epochs, self.batch_size, self.lr)
        epoch = shuffled(cross_entropy, rows, self.batch_size)
        return Repaired(student, train(student, case, epoch, config, run))
