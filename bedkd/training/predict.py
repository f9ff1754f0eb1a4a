"""The only prediction loop of the project."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from accelerate.utils import AutocastKwargs
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from bedkd.errors import InputError
from bedkd.training import runtime
from bedkd.training.batches import EncodedTexts
from bedkd.training.forward import ask


@dataclass(frozen=True)
class Prediction:
    """What a model says of N texts: ``logits`` (N, K) and, if asked for, the last layer's hidden
    states, one (T, H) array a row, padding removed."""

    logits: np.ndarray
    hidden: list[np.ndarray] | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, (N, K)."""
        shifted = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    @property
    def labels(self) -> np.ndarray:
        """Predicted class indices, (N,)."""
        return self.logits.argmax(axis=1)


def predict(
    model: PreTrainedModel,
    rows: EncodedTexts,
    *,
    batch_size: int = 64,
    hidden: bool = False,
    progress: bool = False,
    description: str = "predicting",
) -> Prediction:
    """Predict all rows, in order of length; the result is in row order, in every process.

    Every part's own mode (training or evaluation) is restored; the weights are not touched. Always
    in single precision: with the eight bits of bf16 different rows would get equal scores. Several
    processes share the batches. Where memory runs out, a batch is halved.

    Raises:
        InputError: a prediction is not finite, or memory runs out with a single row.
    """
    batches = rows.by_length(batch_size)
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    found: list[tuple] = []
    try:
        mine = runtime.my_share(len(batches))
        with tqdm(total=len(rows), desc=description, disable=not progress, leave=False) as bar:
            for number in mine:
                found += _answers(model, rows, batches[number], hidden, description)
                bar.update(len(batches[number]))
    finally:
        for part, training in modes:
            part.training = training
    logits = np.zeros((len(rows), model.config.num_labels), np.float32)
    states: list[np.ndarray] | None = [np.empty(0)] * len(rows) if hidden else None
    for indices, values, last in runtime.gathered(found):
        logits[indices] = values
        for i, state in zip(indices, last, strict=bool(last)):
            states[i] = state
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        raise InputError(
            f"{description}, row {row}: the model's answer is not a finite number; its weights are "
            "broken or overflow"
        )
    return Prediction(logits, states)


def _answers(
    model: PreTrainedModel, rows: EncodedTexts, indices: np.ndarray, hidden: bool, what: str
) -> list[tuple]:
    """Indices, logits and hidden states of one batch; of its halves where memory runs out."""
    acc = runtime.accelerator()
    try:
        batch = rows.batch(indices, acc.device)
        with torch.inference_mode(), acc.autocast(AutocastKwargs(enabled=False)):
            answer = ask(model, batch, hidden)
        states: list[np.ndarray] = []
        if answer.hidden is not None:
            last = answer.hidden.cpu().numpy()
            states = [last[k, : rows.lengths[i]] for k, i in enumerate(indices)]
        return [(indices, answer.logits.cpu().numpy(), states)]
    except RuntimeError as error:
        runtime.refuse_unless_out_of_memory(error, what, len(indices) > 1)
    halves = np.array_split(indices, 2)
    return [found for half in halves for found in _answers(model, rows, half, hidden, what)]
