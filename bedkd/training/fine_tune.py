"""Fine-tune a classifier: the victim of an attack, or a clean reference model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd.run import Run
from bedkd.training.batches import encode
from bedkd.training.loop import Trainer
from bedkd.training.objectives import cross_entropy


@dataclass(frozen=True)
class TrainingConfig:
    """How a classifier is fine-tuned: AdamW with linear warm-up and decay."""

    epochs: int = 3
    batch_size: int = 32
    lr: float = 2e-4
    weight_decay: float = 0.01
    warmup: float = 0.1
    max_length: int = 128


def default_lr(backbone: str, lora: int | None = None) -> float:
    """A learning rate that suits the backbone: the small MiniLM needs a larger one than BERT, and
    adapters (``lora``: their rank) need larger ones than whole models.

    >>> default_lr("minilm"), default_lr("google-bert/bert-base-uncased"), default_lr("minilm", 16)
    (0.0002, 2e-05, 0.001)
    """
    if lora is not None:
        return 1e-3
    return TrainingConfig.lr if backbone == "minilm" else 2e-5


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    config: TrainingConfig = TrainingConfig(),
    *,
    seed: int = 0,
    run: Run = Run(),
) -> list[float]:
    """Fine-tune ``model`` in place on the columns ``text`` and ``label``.

    A victim is trained exactly like a clean model: the poison is in the data alone. After every
    epoch the state goes into ``run``; the same call with the same run goes on from there.

    Returns:
        The loss of every step.

    Raises:
        InputError: the data set is empty or has a label the model does not know.
    """
    model.config.bedkd_max_length = config.max_length  # goes into the checkpoint
    rows = encode(model, tokenizer, dataset, config.max_length, "the training set")
    rng = np.random.default_rng(seed)
    trainer = Trainer(
        model,
        num_steps=config.epochs * -(-len(rows) // config.batch_size),
        lr=config.lr,
        weight_decay=config.weight_decay,
        warmup_ratio=config.warmup,
        seed=seed,
        description="fine-tuning" if run.progress else None,
    )
    losses: list[float] = []
    epoch = 0
    if (state := run.load("fine-tuning")) is not None:
        trainer.load_state_dict(state["trainer"])
        rng.bit_generator.state = state["rng"]
        losses, epoch = state["losses"], state["epoch"]
    while epoch < config.epochs:
        batches = rows.epoch(config.batch_size, rng)
        losses += trainer.train((cross_entropy, rows, batch) for batch in batches)
        epoch += 1
        run.save("fine-tuning", lambda: _saved(trainer, rng, losses, epoch))  # noqa: B023
    return losses


def _saved(trainer: Trainer, rng: np.random.Generator, losses: list[float], epoch: int) -> dict:
    state = {"trainer": trainer.state_dict(), "rng": rng.bit_generator.state}
    return {**state, "losses": losses, "epoch": epoch}
