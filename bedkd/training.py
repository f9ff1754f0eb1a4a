"""Fine-tune a classifier: the victim of an attack, or a clean reference model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd.engine import Rows, optimise
from bedkd.errors import InputError
from bedkd.objectives import cross_entropy


@dataclass(frozen=True)
class TrainingConfig:
    """How a classifier is fine-tuned: AdamW with linear warm-up and decay."""

    epochs: int = 3
    batch_size: int = 32
    lr: float = 2e-4
    weight_decay: float = 0.01
    warmup: float = 0.1
    max_length: int = 128


def default_lr(backbone: str) -> float:
    """A learning rate that suits the backbone: the small MiniLM needs a larger one than BERT."""
    return TrainingConfig.lr if backbone == "minilm" else 2e-5


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    config: TrainingConfig = TrainingConfig(),
    *,
    seed: int = 0,
    progress: bool = False,
) -> list[float]:
    """Fine-tune ``model`` in place on the columns ``text`` and ``label``.

    A victim is trained exactly like a clean model: the poison is in the data alone.

    Returns:
        The loss of every step.

    Raises:
        InputError: the data set is empty or has a label the model does not know.
    """
    rows = checked_rows(model, tokenizer, dataset, config.max_length, "the training set")
    rng = np.random.default_rng(seed)
    steps_per_epoch = -(-len(rows) // config.batch_size)
    return optimise(
        model,
        (
            (cross_entropy, rows, batch)
            for _ in range(config.epochs)
            for batch in rows.epoch(config.batch_size, rng)
        ),
        total=config.epochs * steps_per_epoch,
        lr=config.lr,
        weight_decay=config.weight_decay,
        warmup=config.warmup,
        seed=seed,
        progress=progress,
        description="fine-tuning",
    )


def checked_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    max_length: int,
    what: str,
) -> Rows:
    """Tokenise a data set after checking that it fits the model.

    Raises:
        InputError: it is empty, or a row's label is outside the model's classes.
    """
    if len(dataset) == 0:
        raise InputError(f"{what} is empty; give at least one row")
    labels = np.asarray(dataset["label"], int)
    classes = model.config.num_labels
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise InputError(
            f"{what}, row {wrong[0]}: label {labels[wrong[0]]}, but the model has classes "
            f"0 to {classes - 1}"
        )
    return Rows(tokenizer, list(dataset["text"]), labels, max_length)
