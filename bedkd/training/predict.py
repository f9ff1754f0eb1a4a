"""The only prediction loop of the project."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
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

# Hidden states that take more bytes than this are kept in a file.
IN_MEMORY = 2**28


class TokenStates(Sequence):
    """Hidden states of N rows in one contiguous array (ΣT, H), without padding: the i-th item is
    row i's own part of it, (T, H). Large ones lie in a temporary file, mapped into memory, which
    the system deletes with the process.

    Example:
        >>> states = TokenStates(np.array([2, 1]), 4)
        >>> states[1][:] = 1
        >>> states.padded([1, 0]).sum(-1).tolist()
        [[4.0, 0.0], [0.0, 0.0]]
    """

    def __init__(self, lengths: np.ndarray, size: int):
        self.ends = np.cumsum(lengths)
        shape = (int(self.ends[-1]) if len(lengths) else 0, size)
        if 4 * np.prod(shape, dtype=float) > IN_MEMORY:
            with tempfile.TemporaryFile() as file:  # the map outlives it
                self.values = np.memmap(file, np.float32, "w+", shape=shape)
        else:
            self.values = np.zeros(shape, np.float32)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> np.ndarray:
        row = range(len(self))[row]  # refuses rows beyond the last one
        return self.values[self.ends[row - 1] if row else 0 : self.ends[row]]

    def padded(self, rows: Sequence[int]) -> torch.Tensor:
        """The states of some rows with zeros behind them, (B, T, H), on the CPU."""
        states = [self[row] for row in rows]
        padded = torch.zeros(len(states), max(map(len, states)), self.values.shape[1])
        for k, state in enumerate(states):
            padded[k, : len(state)] = torch.from_numpy(state)
        return padded


@dataclass(frozen=True)
class Prediction:
    """What a model says of N texts: ``logits`` (N, K) and, if asked for, the last layer's hidden
    states."""

    logits: np.ndarray
    hidden: TokenStates | None = None

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
    logits = np.zeros((len(rows), model.config.num_labels), np.float32)
    states: TokenStates | None = None

    def keep(indices: np.ndarray, values: np.ndarray, last: list[np.ndarray]) -> None:
        nonlocal states
        logits[indices] = values
        for i, state in zip(indices, last, strict=bool(last)):
            if states is None:
                states = TokenStates(rows.lengths, state.shape[1])
            states[i][:] = state

    told: list[tuple] = []  # what the other processes have to know
    several = runtime.accelerator().num_processes > 1
    try:
        with tqdm(total=len(rows), desc=description, disable=not progress, leave=False) as bar:
            for number in runtime.my_share(len(batches)):
                found = _answers(model, rows, batches[number], hidden, description)
                for answers in found:
                    keep(*answers)
                told += found if several else []
                bar.update(len(batches[number]))
    finally:
        for part, training in modes:
            part.training = training
    for answers in runtime.gathered(told):
        keep(*answers)
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
