"""How the rivals' repairs train: epochs with a record each, and weights that stay at 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from torch.nn import Parameter
from transformers import PreTrainedModel

from bedkd.case import Case
from bedkd.run import Run
from bedkd.training.batches import EncodedTexts
from bedkd.training.fine_tune import TrainingConfig
from bedkd.training.loop import Objective, Step, Trainer
from bedkd.training.predict import predict
from bedkd.training.student import student_lr

Epoch = Callable[[np.random.Generator], Sequence[Step]]
"""The steps of an epoch, drawn anew each time."""


def shuffled(objective: Objective, rows: EncodedTexts, batch_size: int) -> Epoch:
    """All rows once, in random batches of similar length."""
    return lambda rng: [(objective, rows, batch) for batch in rows.epoch(batch_size, rng)]


@contextmanager
def kept_zero(weights: Iterable[Parameter]) -> Iterator[None]:
    """Inside the block training leaves those entries of the weights at 0 that are 0 now."""
    hooks = [w.register_hook(lambda grad, kept=w != 0: grad * kept) for w in weights]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def train(
    student: PreTrainedModel,
    case: Case,
    epoch: Epoch,
    config: TrainingConfig,
    run: Run = Run(),
    stage: str = "training",
) -> list[dict]:
    """Train ``student`` in place; where ``run`` has a folder, it goes on where it was interrupted.

    Args:
        epoch: the steps of an epoch; their number must always be the same.
        config: epochs, learning rate, weight decay and warm-up.
        stage: the part of the repair, in the records and in the checkpoint's name.

    Returns:
        One record an epoch: ``stage``, ``epoch``, ``loss`` (mean over steps),
        ``held_out_accuracy`` on the trusted rows that nothing trains on, and whatever
        ``run.callback`` returned.
    """
    guard = case.encoded(case.divided.held_out, "the held-out trusted set")
    trainer = Trainer(
        student.eval(),
        num_steps=config.epochs * len(epoch(np.random.default_rng(0))),
        lr=student_lr(student, config.lr),
        weight_decay=config.weight_decay,
        warmup_ratio=config.warmup,
        seed=case.seed,
        description=stage if run.progress else None,
    )
    rng, history = np.random.default_rng(case.seed), []
    if (saved := run.load(stage)) is not None:
        trainer.load_state_dict(saved["trainer"])
        rng.bit_generator.state, history = saved["rng"], saved["history"]
    while len(history) < config.epochs:
        losses = trainer.train(epoch(rng))
        right = predict(student, guard).labels == guard.labels
        record = {"stage": stage, "epoch": len(history) + 1, "loss": float(np.mean(losses))}
        record["held_out_accuracy"] = float(right.mean())
        record |= trainer.notes
        history.append(record | (run.callback(student) if run.callback else {}))
        state = {"rng": rng.bit_generator.state, "history": history}
        run.save(stage, lambda state=state: {"trainer": trainer.state_dict(), **state})
    return history
