"""Fine-pruning: remove units that sleep on clean rows, then fine-tune.

a_u = mean size of the activation of unit u over trusted rows' tokens; in each feed-forward layer
the units with the smallest a_u are removed, then θ ← argmin CE(f_θ(x), y) over trusted rows.

Source: Fine-Pruning (Liu et al. 2018, RAID), made for convolutional networks: a backdoor lives in
neurons that clean inputs leave dormant. Kept: dormancy measured on clean inputs, pruning before
fine-tuning. Ours: the units are the intermediate ones of every feed-forward layer, a fixed share of
them, where the paper prunes the last convolution until accuracy falls; and they stay pruned during
fine-tuning. A unit is what is removed, not single weights: a toolkit's text version sets every
weight above a low quantile to 0, 99 % of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

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
from bedkd.training.student import whole_copy

# What configurations call the number of intermediate units.
WIDTHS = ("intermediate_size", "hidden_dim")


class FeedForward(NamedTuple):
    """A feed-forward layer: ``up`` makes its units (two matrices where they are gated, as in
    Llama), ``down`` reads them."""

    up: list[nn.Linear]
    down: nn.Linear

    def remove(self, units: np.ndarray) -> None:
        """Set everything that makes or reads these units to 0."""
        with torch.no_grad():
            for layer in self.up:
                layer.weight[units] = 0
                if layer.bias is not None:
                    layer.bias[units] = 0
            self.down.weight[:, units] = 0

    @property
    def weights(self) -> list[nn.Parameter]:
        """All that has entries for a single unit."""
        biases = [layer.bias for layer in self.up if layer.bias is not None]
        return [*(layer.weight for layer in self.up), *biases, self.down.weight]


def feed_forward_layers(model: PreTrainedModel) -> list[FeedForward]:
    """The model's feed-forward layers, found by their shapes.

    Raises:
        InputError: it has none that consist of linear layers of its configuration's width.
    """
    config = model.config
    width = next((getattr(config, name) for name in WIDTHS if hasattr(config, name)), None)
    hidden, up, found = config.hidden_size, [], []
    for layer in model.modules():
        if not isinstance(layer, nn.Linear) or width in (None, hidden):
            continue
        if (layer.in_features, layer.out_features) == (hidden, width):
            up.append(layer)
        elif (layer.in_features, layer.out_features) == (width, hidden) and up:
            found.append(FeedForward(up, layer))
            up = []
    if not found:
        raise InputError(
            f"{config.model_type} models have no feed-forward layers that this repair can find; "
            "choose another repair"
        )
    return found


def activity(
    model: PreTrainedModel, layers: list[FeedForward], rows: EncodedTexts
) -> list[np.ndarray]:
    """Mean absolute activation of every unit of every layer over the rows' real tokens."""
    sums, counts = [0.0] * len(layers), [0] * len(layers)
    for k, values in token_inputs(model, [layer.down for layer in layers], rows):
        sums[k] = sums[k] + values.double().abs().sum(0)
        counts[k] += len(values)
    return [(total / n).cpu().numpy() for total, n in zip(sums, counts, strict=True)]


@dataclass(frozen=True)
class FinePruning:
    """Prune dormant units of a copy and fine-tune it. The detection is not used.

    Attributes:
        pruned: share of the units of each layer, 0 to 1; larger removes more, at last what the
            task needs.
        epochs: over the trusted rows; 0 prunes only.
        lr: peak learning rate of AdamW.
        batch_size: rows in a batch.

    Example:
        >>> from bedkd import Parts, data, models
        >>> from bedkd.detectors import Given
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=20, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> FinePruning(0.25, epochs=1).repair(case, Given((0, 1)).detect(case)).details
        {'units': 1536, 'pruned': 384}
    """

    pruned: float = 0.9
    epochs: int = 5
    lr: float = 1e-4
    batch_size: int = 32

    def __post_init__(self):
        at_least(self, pruned=0, epochs=0, lr=0, batch_size=1)
        if self.pruned > 1:
            raise InputError(f"pruned={self.pruned}: give a share from 0 to 1")

    def repair(self, case: Case, detection: Detection, run: Run = Run()) -> Repaired:
        """Prune and fine-tune a copy, whatever was flagged.

        Raises:
            InputError: no feed-forward layers were found.
        """
        student = whole_copy(case.suspect).eval()
        layers = feed_forward_layers(student)
        rows = case.encoded(trusted_rows(case), "the trusted set")
        details = {"units": 0, "pruned": 0}
        for layer, active in zip(layers, activity(student, layers, rows), strict=True):
            dormant = np.argsort(active, kind="stable")[: round(self.pruned * len(active))]
            layer.remove(dormant)
            details["units"] += len(active)
            details["pruned"] += len(dormant)
        config = TrainingConfig(self.epochs, self.batch_size, self.lr)
        epoch = shuffled(cross_entropy, rows, self.batch_size)
        with kept_zero([weight for layer in layers for weight in layer.weights]):
            history = train(student, case, epoch, config, run)
        return Repaired(student, history, details=details)
