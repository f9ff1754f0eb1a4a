"""The contract of repairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from transformers import PreTrainedModel

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.run import Run


@dataclass(frozen=True)
class Repaired:
    """What a repair made.

    Attributes:
        model: the repaired copy, in evaluation mode.
        history: one record a cycle or epoch, as JSON.
        rows: indices of the untrusted rows that the repair used as poisoned ones.
        details: the method's own figures, as JSON; shown in the report.
        held_out: those of ``rows`` that it did not train on, on which the repair can be judged.
        supported: labels that the content of these supports, where the repair has worked them out
            (:func:`bedkd.repairs.soft_labels.soft_labels`); otherwise the outcome does.
    """

    model: PreTrainedModel
    history: list[dict]
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    details: dict = field(default_factory=dict)
    held_out: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    supported: np.ndarray | None = None


class Repair(Protocol):
    """Take a backdoor out of a copy of the suspect model.

    A repair never changes ``case.model`` and has no way to see a poison flag. The same seed gives
    the same result. It is a frozen dataclass whose fields are its settings.

    Rows to train on are ``case.divided.tune``; nothing trains on ``case.divided.held_out``.
    :func:`bedkd.training.fine_tune.fine_tune` trains a model on rows; a loss of one's own goes
    through :class:`bedkd.training.loop.Trainer`. Both leave the model in evaluation mode.

    Example:
        >>> import copy
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Nothing:
        ...     def repair(self, case, detection, run=None):
        ...         return Repaired(copy.deepcopy(case.suspect).eval(), history=[])
    """

    def repair(self, case: Case, detection: Detection, run: Run = Run()) -> Repaired:
        """Repair a copy of ``case.suspect``.

        Args:
            case: what the defender holds.
            detection: of any detector; rows with a ``repair_scores`` of −inf must not be taken.
                Without a verdict (``is_backdoored`` false) the caller wants a repair all the same.
            run: where long work may keep its state.
        """
        ...
