"""The only training loop and the only prediction loop of the project, on Accelerate.

Rows are tokenised once and stay unpadded; batches are cut from rows of similar length, which on
short sentences saves about half of the computed token positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from torch import Tensor
from tqdm.auto import tqdm
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_scheduler,
)

from bedkd.errors import InputError


@dataclass(frozen=True)
class Batch:
    """Padded rows on the device: ``rows`` (B,) are their indices in the :class:`Rows` they came
    from, ``inputs`` what the model takes (each B × T), ``labels`` class indices (B,)."""

    rows: np.ndarray
    inputs: dict[str, Tensor]
    labels: Tensor

    @property
    def mask(self) -> Tensor:
        """Attention mask, (B, T)."""
        return self.inputs["attention_mask"]


class Rows:
    """Tokenised texts with their labels.

    Args:
        tokenizer: any Hugging Face tokenizer with a padding token.
        texts: N texts; an empty text is its special tokens only.
        labels: N class indices, or None for texts that are only predicted.
        max_length: longer rows are cut, in tokens.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[str],
        labels: Sequence[int] | None = None,
        max_length: int = 128,
    ):
        texts = list(texts)
        self.pad = tokenizer.pad_token_id
        self.ids: list[list[int]] = (
            tokenizer(texts, truncation=True, max_length=max_length)["input_ids"] if texts else []
        )
        # A tokenizer without special tokens turns an empty text into nothing at all.
        self.ids = [ids or [self.pad] for ids in self.ids]
        self.labels = np.zeros(len(texts), int) if labels is None else np.asarray(labels, int)
        if len(self.labels) != len(texts):
            raise InputError(f"{len(texts)} texts but {len(self.labels)} labels")
        self.lengths = np.array([len(ids) for ids in self.ids], int)

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: Sequence[int], device: torch.device) -> Batch:
        """Pad the named rows to the longest of them and move them to the device."""
        width = max(len(self.ids[i]) for i in rows)
        ids = torch.full((len(rows), width), self.pad, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for k, i in enumerate(rows):
            ids[k, : len(self.ids[i])] = torch.tensor(self.ids[i])
            mask[k, : len(self.ids[i])] = 1
        rows = np.asarray(rows)
        return Batch(
            rows,
            {"input_ids": ids.to(device), "attention_mask": mask.to(device)},
            torch.as_tensor(self.labels[rows], device=device),
        )

    def epoch(self, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """One pass over all rows in random batches of similar length.

        Rows are shuffled, cut into pools of 32 batches, sorted by length inside a pool, cut into
        batches, and the batches of all pools are shuffled.
        """
        order = rng.permutation(len(self))
        pool = 32 * batch_size
        batches = []
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
        for index in rng.permutation(len(batches)):
            yield batches[index]


Objective = Callable[[PreTrainedModel, Batch], Tensor]
"""A loss: takes the model in training and a batch, returns a scalar tensor."""


def accelerator() -> Accelerator:
    """Accelerate's handle on device and mixed precision: fp16 on CUDA; elsewhere what the variable
    ``ACCELERATE_MIXED_PRECISION`` says, none by default. ``bf16`` makes training faster
    on processors that have it."""
    return Accelerator(mixed_precision="fp16" if torch.cuda.is_available() else None)


def optimise(
    model: PreTrainedModel,
    steps: Iterable[tuple[Objective, Rows, np.ndarray]],
    *,
    total: int,
    lr: float,
    seed: int,
    weight_decay: float = 0.0,
    warmup: float | None = None,
    clip: float | None = 1.0,
    after_step: Callable[[int, float], None] | None = None,
    progress: bool = False,
    description: str = "training",
) -> list[float]:
    """Run the training loop: one optimiser step for each item of ``steps``. Changes ``model``.

    Args:
        model: the model to train; it is left in evaluation mode.
        steps: triples of an objective, the rows it is for, and the indices of one batch.
        total: number of steps, for the schedule and the progress bar.
        lr: peak learning rate of AdamW.
        seed: seeds dropout; the global random state is restored afterwards.
        weight_decay: AdamW weight decay.
        warmup: share of steps with rising learning rate, followed by linear decay to 0;
            None keeps the learning rate constant.
        clip: largest gradient norm; None for no clipping.
        after_step: called with the step's number (from 1) and its loss.

    Returns:
        The loss of every step.

    Raises:
        FloatingPointError: a loss is not finite.
    """
    acc = accelerator()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = acc.prepare_optimizer(
        torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)
    )
    schedule = get_scheduler(
        "constant" if warmup is None else "linear",
        optimizer.optimizer,
        num_warmup_steps=round((warmup or 0) * total),
        num_training_steps=max(total, 1),
    )
    losses: list[float] = []
    devices = [acc.device] if acc.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        tqdm(total=total, desc=description, disable=not progress, leave=False) as bar,
    ):
        torch.manual_seed(seed)
        model.train()
        try:
            for number, (objective, rows, indices) in enumerate(steps, start=1):
                with acc.autocast():
                    loss = objective(model, rows.batch(indices, acc.device))
                losses.append(float(loss.detach()))
                if not np.isfinite(losses[-1]):
                    raise FloatingPointError(
                        f"{description}: the loss of step {number} is {losses[-1]}; "
                        "use a smaller learning rate"
                    )
                acc.backward(loss)
                if clip is not None:
                    acc.clip_grad_norm_(parameters, clip)
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
                if after_step is not None:
                    after_step(number, losses[-1])
                    model.train()
        finally:
            model.eval()
    return losses


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
    rows: Rows,
    *,
    batch_size: int = 64,
    hidden: bool = False,
    progress: bool = False,
    description: str = "predicting",
) -> Prediction:
    """Run the prediction loop over all rows, in order of length; the result is in row order.

    The model's own mode (training or evaluation) is restored; its weights are not touched.
    ``bf16`` holds for training only: with its eight bits different rows would get equal scores.
    """
    acc = accelerator()
    precise = AutocastKwargs(enabled=acc.mixed_precision != "bf16")
    logits: np.ndarray | None = None
    states: list[np.ndarray] | None = [np.empty(0)] * len(rows) if hidden else None
    order = np.argsort(rows.lengths, kind="stable")[::-1]
    was_training = model.training
    model.eval()
    try:
        with (
            torch.inference_mode(),
            tqdm(total=len(rows), desc=description, disable=not progress, leave=False) as bar,
        ):
            for start in range(0, len(rows), batch_size):
                batch = rows.batch(order[start : start + batch_size], acc.device)
                with acc.autocast(precise):
                    out = model(**batch.inputs, output_hidden_states=hidden)
                values = out.logits.float().cpu().numpy()
                if logits is None:
                    logits = np.empty((len(rows), values.shape[1]), np.float32)
                logits[batch.rows] = values
                if states is not None:
                    last = out.hidden_states[-1].float().cpu().numpy()
                    for k, i in enumerate(batch.rows):
                        states[i] = last[k, : rows.lengths[i]]
                bar.update(len(batch.rows))
    finally:
        model.train(was_training)
    if logits is None:
        logits = np.empty((0, model.config.num_labels), np.float32)
    return Prediction(logits, states)
