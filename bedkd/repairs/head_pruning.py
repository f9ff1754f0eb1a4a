"""Head pruning: take out attention heads that say the same of every clean text, then fine-tune.

v_h = mean over a head's dimensions of the variance, over trusted rows' tokens, of what it hands on.
Heads are removed in the order of v_h as long as accuracy on trusted rows stays at least
``threshold`` of what it was; then θ ← argmin CE(f_θ(x), y) over trusted rows.

Source: PURE (Zhao et al. 2024, ICML), which prunes heads of little variance on clean texts and then
normalises attention. Kept: pruning by variance on trusted rows down to an accuracy threshold of
0.85, fine-tuning after it. Ours: the variance is of the head's output, which every implementation
of attention has, not of attention weights, which the fast ones never form; accuracy is that of the
rows of tune, and pruned heads stay pruned. Left out: the penalty on attention weights (its second
step), for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.errors import InputError, at_least
from bedkd.repairs.base import Repaired
from bedkd.repairs.inputs import token_inputs
from bedkd.repairs.start import trusted_rows
from bedkd.repairs.training import kept_zero, shuffled, train
from bedkd.run import Run
from bedkd.training.batches import EncodedTexts
from bedkd.training.fine_tune import TrainingConfig
from bedkd.training.objectives import cross_entropy
from bedkd.training.predict import predict
from bedkd.training.student import whole_copy

# The layer that puts the heads together: in BERT and its kin, DistilBERT, Llama and its kin.
OUTPUTS = ("attention.output.dense", "attention.out_lin", "self_attn.o_proj")


def output_projections(model: PreTrainedModel) -> list[nn.Linear]:
    """The layers that put the heads of an attention layer together, one a layer.

    Raises:
        InputError: it has none under a name that is known here.
    """
    found = [layer for name, layer in model.named_modules() if name.endswith(OUTPUTS)]
    if not found:
        raise InputError(
            f"{model.config.model_type} models have no attention heads that this repair can find; "
            "choose another repair"
        )
    return found


def head_variance(
    model: PreTrainedModel, layers: list[nn.Linear], rows: EncodedTexts
) -> np.ndarray:
    """v of every head of every layer, (layers, heads)."""
    sums = torch.zeros(3, len(layers), layers[0].in_features, dtype=torch.float64)
    for k, values in token_inputs(model, layers, rows):
        values = values.double()
        parts = (torch.full_like(values[0], len(values)), values.sum(0), values.pow(2).sum(0))
        sums[:, k] += torch.stack(parts).cpu()
    count, total, squares = sums
    variance = squares / count - (total / count) ** 2
    return variance.reshape(len(layers), model.config.num_attention_heads, -1).mean(-1).numpy()


@dataclass(frozen=True)
class HeadPruning:
    """Prune attention heads of a copy and fine-tune it. The detection is not used.

    Attributes:
        threshold: share of the accuracy on trusted rows that must be left, 0 to 1; smaller prunes
            more heads.
        step: heads removed at a time; larger is quicker and may stop a little early.
        epochs: over the trusted rows; 0 prunes only.
        lr: peak learning rate of AdamW.
        batch_size: rows in a batch.

    Example:
        >>> from bedkd import Parts, data, models
        >>> from bedkd.detectors import Given
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=20, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> made = HeadPruning(threshold=0.0, step=5).repair(case, Given((0, 1)).detect(case))
        >>> made.details
        {'heads': 12, 'pruned': 12}
    """

    threshold: float = 0.85
    step: int = 1
    epochs: int = 5
    lr: float = 1e-4
    batch_size: int = 32

    def __post_init__(self):
        at_least(self, threshold=0, step=1, epochs=0, lr=0, batch_size=1)
        if self.threshold > 1:
            raise InputError(f"threshold={self.threshold}: give a share from 0 to 1")

    def repair(self, case: Case, detection: Detection, run: Run = Run()) -> Repaired:
        """Prune and fine-tune a copy, whatever was flagged.

        Raises:
            InputError: no attention heads were found.
        """
        student = whole_copy(case.suspect).eval()
        rows = case.encoded(trusted_rows(case), "the trusted set")
        layers = output_projections(student)
        variance = head_variance(student, layers, rows)
        pruned = self._prune(student, layers, variance, case)
        config = TrainingConfig(self.epochs, self.batch_size, self.lr)
        epoch = shuffled(cross_entropy, rows, self.batch_size)
        with kept_zero([layer.weight for layer in layers]):
            history = train(student, case, epoch, config, run)
        return Repaired(student, history, details={"heads": variance.size, "pruned": pruned})

    def _prune(
        self, student: PreTrainedModel, layers: list[nn.Linear], variance: np.ndarray, case: Case
    ) -> int:
        """Remove heads in place; returns their number."""
        rows = case.encoded(case.divided.tune, "the trusted set")

        def accuracy() -> float:
            return float((predict(student, rows).labels == rows.labels).mean())

        least, heads = self.threshold * accuracy(), variance.shape[1]
        order = np.argsort(variance, axis=None, kind="stable")
        for start in range(0, len(order), self.step):
            before = [layer.weight.detach().clone() for layer in layers]
            with torch.no_grad():
                for place in order[start : start + self.step]:
                    weight = layers[place // heads].weight
                    weight.view(len(weight), heads, -1)[:, place % heads] = 0
                if accuracy() < least:
                    for layer, weight in zip(layers, before, strict=True):
                        layer.weight.copy_(weight)
                    return start
        return len(order)
