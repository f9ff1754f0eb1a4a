"""The only training loop of the project, on Accelerate; its state can be saved and resumed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm
from transformers import PreTrainedModel, get_scheduler

from bedkd.errors import InputError
from bedkd.training import runtime
from bedkd.training.batches import Batch, EncodedTexts
from bedkd.training.student import trained_weights

Objective = Callable[[PreTrainedModel, Batch], Tensor]
"""A loss: takes the model in training and a batch, returns a scalar tensor."""

Step = tuple[Objective, EncodedTexts, np.ndarray]
"""One optimiser step: an objective, the rows it is for, and the indices of one batch."""

# So often in all a training goes back and halves its learning rate before it gives up.
MAX_STEPS_BACK = 4
# Steps between two losses on the progress bar.
SHOWN_EVERY = 10
logger = logging.getLogger(__name__)


class Trainer:
    """A model in training. Changes ``model``; between two calls of :meth:`train` it is in
    evaluation mode.

    Args:
        model: the model to train, on the accelerator's device. Frozen weights stay as they are,
            unless all are.
        num_steps: number of steps in all, or until :meth:`restart`, for the schedule and the
            progress bar.
        lr: peak learning rate of AdamW.
        seed: seeds dropout; the global random state is not touched.
        weight_decay: AdamW weight decay.
        warmup_ratio: share of steps with rising learning rate, followed by linear decay to 0;
            None keeps the learning rate constant.
        max_grad_norm: largest gradient norm; None for no clipping.
        description: name on the progress bar and in messages; None shows no bar.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        num_steps: int,
        lr: float,
        seed: int,
        weight_decay: float = 0.0,
        warmup_ratio: float | None = None,
        max_grad_norm: float | None = 1.0,
        description: str | None = None,
    ):
        self.acc = runtime.accelerator()
        self.model, self.max_grad_norm = model, max_grad_norm
        if not any(p.requires_grad for p in model.parameters()):
            model.requires_grad_(True)  # frozen as a whole, as teachers are; parts may stay frozen
        runtime.compiled(model, in_place=True)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = self.acc.prepare_optimizer(
            torch.optim.AdamW(self.parameters, lr=lr, weight_decay=weight_decay, fused=True)
        )
        self.warmup_ratio = warmup_ratio
        self.schedule = self._schedule(num_steps)
        self.steps_done, self.description = 0, description or "training"
        self.parts = 1  # of a batch, each of which goes through the model alone
        self.steps_back, self.notes = 0, {}
        self.bar = tqdm(total=num_steps, desc=description, disable=description is None, leave=False)
        with self._own_random_state():
            torch.manual_seed(seed)

    def train(self, steps: Iterable[Step]) -> list[float]:
        """One optimiser step for each item of ``steps``; returns the loss of each.

        Where memory runs out, batches go through the model in halves from then on. Where a loss is
        not finite, the model goes back to where this call began, with half the learning rate and a
        new optimiser, as the moments of the old one may have done the harm; ``notes`` then says
        so, for the history: how often (``stepped_back``), and the learning rate since (``lr``).

        Raises:
            InputError: a loss is still not finite after ``MAX_STEPS_BACK`` steps back, or memory
                runs out with a single row.
        """
        steps, count = list(steps), self.steps_back
        with self._own_random_state() as state:
            begun = self._mark(state)
            self.model.train()
            try:
                while (losses := self._tried(steps)) is None:
                    self._step_back(begun, state)
            finally:
                self.model.eval()
        back = self.steps_back - count
        self.notes = {"stepped_back": back, "lr": self.schedule.base_lrs[0]} if back else {}
        return losses

    def restart(self, num_steps: int) -> None:
        """Let the learning rate rise and fall once more, in so many steps."""
        self.schedule = self._schedule(num_steps)
        self.bar.total += num_steps

    def _schedule(self, num_steps: int) -> LambdaLR:
        """A schedule of the learning rate from its beginning."""
        return get_scheduler(
            "constant" if self.warmup_ratio is None else "linear",
            self.optimizer.optimizer,
            num_warmup_steps=round((self.warmup_ratio or 0) * num_steps),
            num_training_steps=max(num_steps, 1),
        )

    def _tried(self, steps: list[Step]) -> list[float] | None:
        """The loss of each step; None where one, or a weight in the end, is not finite."""
        before = self.steps_done
        # Read together at the end: a device is not waited for at every step.
        found = [self._step(*step) for step in steps]
        losses = torch.stack(found).tolist() if found else []
        wrong = np.flatnonzero(~np.isfinite(losses))
        if len(wrong):
            self.trouble = f"the loss of step {before + wrong[0] + 1} is {losses[wrong[0]]}"
        elif not torch.stack([weight.isfinite().all() for weight in self.parameters]).all():
            self.trouble = f"a weight after step {self.steps_done} is not finite"
        else:
            return losses
        return None

    def _mark(self, state: _RandomState) -> dict:
        """Where a call of :meth:`train` begins. Not on the accelerator, where a second copy of the
        weights may not fit."""
        return {
            "weights": [weight.detach().cpu().clone() for weight in self.parameters],
            "schedule": self.schedule.state_dict(),
            "random": state.now(),
            "steps_done": self.steps_done,
        }

    def _step_back(self, begun: dict, state: _RandomState) -> None:
        """Back to where the call began, with half the learning rate."""
        self.steps_back += 1
        if self.steps_back > MAX_STEPS_BACK:
            raise InputError(
                f"{self.description}: {self.trouble}, also from an earlier state and with a "
                f"learning rate of {self.schedule.base_lrs[0]:.2g}; use a smaller learning rate"
            )
        with torch.no_grad():
            for weight, old in zip(self.parameters, begun["weights"], strict=True):
                weight.copy_(old)
        optimizer, halves = self.optimizer.optimizer, [r / 2 for r in self.schedule.base_lrs]
        optimizer.state.clear()
        optimizer.zero_grad()
        self.schedule.load_state_dict({**begun["schedule"], "base_lrs": halves})
        shares = (of(self.schedule.last_epoch) for of in self.schedule.lr_lambdas)
        for group, rate, share in zip(optimizer.param_groups, halves, shares, strict=True):
            group |= {"initial_lr": rate, "lr": rate * share}
        self.bar.update(begun["steps_done"] - self.steps_done)
        self.steps_done = begun["steps_done"]
        state.set(begun["random"])
        logger.warning(
            "%s: %s; back to step %d, learning rate %.2g",
            *(self.description, self.trouble, self.steps_done, halves[0]),
        )

    def _step(self, objective: Objective, rows: EncodedTexts, indices: np.ndarray) -> Tensor:
        self.steps_done += 1
        value = self._backward(objective, rows, indices)
        if self.max_grad_norm is not None:
            self.acc.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        self.bar.update()
        if not self.bar.disable and self.steps_done % SHOWN_EVERY == 0:
            self.bar.set_postfix(loss=f"{float(value):.3f}", refresh=False)
        return value

    def _backward(self, objective: Objective, rows: EncodedTexts, indices: np.ndarray) -> Tensor:
        """The loss of a batch, its gradients added up; in several parts where memory ran out
        before. The weighted mean over parts is that of the batch as long as rows weigh alike."""
        value = torch.zeros((), device=self.acc.device)
        try:
            for part in np.array_split(indices, min(self.parts, len(indices))):
                with self.acc.autocast():
                    loss = objective(self.model, rows.batch(part, self.acc.device))
                if len(part) < len(indices):
                    loss = loss * (len(part) / len(indices))
                value += loss.detach()
                self.acc.backward(loss)
            return value
        except RuntimeError as error:
            runtime.refuse_unless_out_of_memory(error, self.description, len(indices) > self.parts)
        self.parts *= 2
        self.optimizer.zero_grad()
        return self._backward(objective, rows, indices)

    def _own_random_state(self) -> _RandomState:
        return _RandomState(self)

    def state_dict(self) -> dict:
        """Everything that :meth:`train` goes on from, the weights that it trains included."""
        scaler = self.acc.scaler
        return {
            "model": trained_weights(self.model),
            "optimizer": self.optimizer.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "random": self.random,
            "steps_done": self.steps_done,
            "steps_back": self.steps_back,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self.model.load_state_dict(state["model"], strict=False)
        self.optimizer.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.acc.scaler is not None and state["scaler"]:
            self.acc.scaler.load_state_dict(state["scaler"])
        self.random = {name: value.cpu() for name, value in state["random"].items()}
        self.steps_done, self.steps_back = state["steps_done"], state.get("steps_back", 0)
        self.bar.update(self.steps_done)


class _RandomState:
    """Inside the block torch's generators are the trainer's; outside, what they were before."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.cuda = trainer.acc.device.type == "cuda"

    def now(self) -> dict[str, Tensor]:
        state = {"cpu": torch.get_rng_state()}
        if self.cuda:
            state["cuda"] = torch.cuda.get_rng_state(self.trainer.acc.device)
        return state

    def set(self, state: dict[str, Tensor]) -> None:
        torch.set_rng_state(state["cpu"])
        if self.cuda and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self.trainer.acc.device)

    def __enter__(self) -> _RandomState:
        self.before = self.now()
        if hasattr(self.trainer, "random"):
            self.set(self.trainer.random)
        return self

    def __exit__(self, *_: object) -> None:
        self.trainer.random = self.now()
        self.set(self.before)
