"""When to stop a repair: a rule with a state that can be saved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from transformers import PreTrainedModel

# Why a repair ended.
CONVERGED, PLATEAU, MAX_CYCLES = "converged", "plateau", "max_cycles"
# The share of the way that a student goes of its last cycle is known to an eighth.
HALVINGS = 3


class Stopping:
    """Asked after every cycle; ``reason`` is None until there is one.

    Converged: two cycles in a row in which held-out flagged rows get their given label no more
    often than expected plus ``margin`` (one such cycle may be luck, unless it is ``settled``).
    Plateau: in the mean over ``patience`` cycles they came no further down than ``margin`` below
    their mean over as many cycles before; then the student gets the mean of its weights over the
    last of these cycles, because single cycles differ by chance.

    Where the learning rate falls to 0 in every cycle (``settled``), each ends in a model that could
    be the result. There is no plateau then. Where none converged, the student gets the weights of
    the cycle whose rate came nearest to what is expected: a later one may lead away again. Where a
    later one did, ``recent`` has the weights before and after it, for :func:`no_further`.

    Args:
        margin: see above; None never stops (the paper).
        patience: see above; None never ends on a plateau.
        n_held_out: number of held-out flagged rows; where one of them is more than the margin, no
            plateau can be seen.
        settled: whether the learning rate falls to 0 in every cycle.
    """

    def __init__(
        self, margin: float | None, patience: int | None, n_held_out: int, settled: bool = False
    ):
        self.margin, self.patience, self.settled = margin, patience, settled
        self.good_cycles = 1 if settled else 2
        if settled or (margin is not None and n_held_out * margin < 1):
            self.patience = None
        self.reason: str | None = None
        self.recent: list[dict[str, torch.Tensor]] = []
        self.nearest: dict = {}

    def after_cycle(self, history: list[dict], student: PreTrainedModel) -> None:
        """Look at the history, whose last record is the cycle's."""
        if self.margin is None:
            return
        given = [record["flagged_given_label"] for record in history]
        expected = [record["expected_rate"] for record in history]
        if self.settled:
            away = abs(given[-1] - expected[-1])
            self.recent = [*self.recent, _weights(student)][-2:]
            if not self.nearest or away < self.nearest["away"]:
                kept = {"away": away, "cycle": len(history), "weights": self.recent[-1]}
                self.nearest = kept
        last = list(zip(given, expected, strict=True))[-self.good_cycles :]
        if len(last) == self.good_cycles and all(g <= e + self.margin for g, e in last):
            self.reason = CONVERGED
        elif self.patience is not None:
            self.recent = [*self.recent, _weights(student)][-self.patience :]
            before, last = given[-2 * self.patience : -self.patience], given[-self.patience :]
            if len(before) == self.patience and np.mean(last) >= np.mean(before) - self.margin:
                self.reason = PLATEAU

    def final_weights(self) -> dict[str, torch.Tensor]:
        """What the student gets in the end; empty where it keeps what it has: the nearest cycle's,
        or after a plateau the mean over the last ``patience`` cycles."""
        if self.reason != PLATEAU:
            return {} if self.reason else self.nearest.get("weights", {})
        names = self.recent[0]
        return {name: torch.stack([w[name] for w in self.recent]).mean(dim=0) for name in names}

    def state_dict(self) -> dict:
        """What to save."""
        return {"reason": self.reason, "recent": self.recent, "nearest": self.nearest}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self.reason, self.recent = state["reason"], state["recent"]
        self.nearest = state["nearest"]


def no_further(
    student: PreTrainedModel,
    before: dict[str, torch.Tensor],
    after: dict[str, torch.Tensor],
    reached: Callable[[], bool],
) -> float:
    """Of the way between two states of its weights let the student go only as far as it takes to
    reach an aim. Later cycles weigh flagged rows more than the first, and may go too far.

    Args:
        student: changed in place.
        before: weights with which it has not reached the aim.
        after: weights with which it has.
        reached: whether it has with those it has now; asked ``HALVINGS`` times.

    Returns:
        The share of the way, above 0 to 1: halving found a smaller one not to be enough.

    Example:
        >>> layer = torch.nn.Linear(1, 1, bias=False)
        >>> none, one = ({"weight": torch.full((1, 1), value)} for value in (0.0, 1.0))
        >>> no_further(layer, none, one, lambda: layer.weight.item() > 0.3)
        0.375
        >>> layer.weight.item()
        0.375
    """
    short, share = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (short + share) / 2
        _mix(student, before, after, middle)
        short, share = (short, middle) if reached() else (middle, share)
    _mix(student, before, after, share)
    return share


def _mix(student: PreTrainedModel, before: dict, after: dict, share: float) -> None:
    mixed = {name: torch.lerp(before[name], weight, share) for name, weight in after.items()}
    student.load_state_dict(mixed, strict=False)


def _weights(student: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A copy of what is trained; not on the accelerator, where several may not fit."""
    trained = [(k, w) for k, w in student.named_parameters() if w.requires_grad]
    return {name: w.detach().cpu().clone() for name, w in trained}
