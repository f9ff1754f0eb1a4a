"""Before and after: what a repair changed, on rows that the defender holds himself."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from transformers import PreTrainedModel

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.metrics import Share, cacc
from bedkd.repairs.base import Repaired
from bedkd.repairs.soft_labels import soft_labels
from bedkd.training.predict import predict

# Flagged rows may get their given label so much more, or less, often than their content supports.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Outcome:
    """The suspect model beside the repaired one.

    Attributes:
        accuracy_before, accuracy_after: on held-out trusted rows.
        given_before, given_after: how often flagged rows get their given label.
        held_out: whether the repair did not train on these rows; if it did, the share flatters it.
        expected_rate: how often they would get it if nothing but their content counted, see
            :func:`bedkd.repairs.soft_labels.soft_labels`.
        agreement: share of the untrusted rows that are not flagged for which both models predict
            the same label.
    """

    accuracy_before: Share
    accuracy_after: Share
    given_before: Share
    given_after: Share
    held_out: bool
    expected_rate: float | None
    agreement: Share

    @property
    def reached(self) -> bool:
        """False where flagged rows still get their given label more often than they should, by
        more than chance and ``TOLERANCE``: the backdoor, or a part of it, is still there."""
        if self.expected_rate is None:
            return True
        return self.given_after.low <= self.expected_rate + TOLERANCE

    @property
    def warnings(self) -> list[str]:
        """What a careful reader should know."""
        found = []
        if self.expected_rate is not None and (
            self.given_after.high < self.expected_rate - TOLERANCE
        ):
            found.append(
                f"flagged rows get their given label in {self.given_after.value:.0%}, but their "
                f"content supports it in {self.expected_rate:.0%}: the trigger may now mean the "
                "opposite (trigger shifting)"
            )
        if self.accuracy_after.high < self.accuracy_before.value:
            found.append(
                f"accuracy on held-out trusted rows fell from {self.accuracy_before.value:.1%} to "
                f"{self.accuracy_after.value:.1%}"
            )
        return found

    def to_dict(self) -> dict:
        """As a JSON object."""
        return {"reached": self.reached, **asdict(self)}


def compare(case: Case, detection: Detection, repaired: Repaired) -> Outcome:
    """Put both models to the held-out trusted rows and to all untrusted rows."""
    rows = repaired.held_out if len(repaired.held_out) else repaired.rows
    if not len(rows):
        rows = np.flatnonzero(detection.flagged)
    given, expected = case.labels[rows], None
    if len(rows):
        expected = float((soft_labels(case, detection)[rows].argmax(axis=1) == given).mean())

    def answers(model: PreTrainedModel) -> tuple[Share, Share, np.ndarray]:
        guard = case.encoded(case.divided.held_out, "the held-out trusted set")
        said = predict(model, case.encoded_untrusted).labels
        return (
            cacc(predict(model, guard).labels, guard.labels),
            Share.of(said[rows] == given),
            said[~detection.flagged],
        )

    before, after = answers(case.suspect), answers(repaired.model)
    return Outcome(
        accuracy_before=before[0],
        accuracy_after=after[0],
        given_before=before[1],
        given_after=after[1],
        held_out=bool(len(repaired.held_out)),
        expected_rate=expected,
        agreement=Share.of(before[2] == after[2]),
    )
