"""Before and after: what a repair changed, on rows that the defender holds himself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from transformers import PreTrainedModel

from bedkd.case import Case
from bedkd.data import make
from bedkd.detectors.base import Detection
from bedkd.detectors.wording import suspected_words
from bedkd.metrics import Share, cacc
from bedkd.repairs.base import Repaired
from bedkd.repairs.schedule import MOST_PLANTED
from bedkd.repairs.soft_labels import soft_labels
from bedkd.training.predict import predict

# Flagged rows may get their given label so much more, or less, often than their content supports.
TOLERANCE = 0.1
# So many untrusted rows that are not flagged tell how far both models agree, to two points or so.
COMPARED = 1000


@dataclass(frozen=True)
class Planted:
    """Both models on held-out trusted rows with the suspected trigger put in front of them: the
    check for a backdoor that is turned round, which needs no triggered test rows.

    Attributes:
        words: what was planted.
        accuracy_before, accuracy_after: how often the planted rows get their true label.
        target_before, target_after: how often those of other labels get the target label.
        own_bare, own_after: how often rows of the target label get it from the repaired model,
            without the words and with them.
    """

    words: list[str]
    accuracy_before: Share
    accuracy_after: Share
    target_before: Share
    target_after: Share
    own_bare: Share
    own_after: Share

    @property
    def inverted(self) -> bool:
        """Whether the words now speak against the target label, beyond chance and ``TOLERANCE``."""
        if self.own_bare.value is None:
            return False
        return self.own_after.high < self.own_bare.value - TOLERANCE


@dataclass(frozen=True)
class Outcome:
    """The suspect model beside the repaired one.

    Attributes:
        accuracy_before, accuracy_after: on held-out trusted rows.
        given_before, given_after: how often flagged rows get their given label.
        held_out: whether the repair did not train on these rows; if it did, the share flatters it.
        expected_rate: how often they would get it if nothing but their content counted, see
            :func:`bedkd.repairs.soft_labels.soft_labels`.
        agreement: share of untrusted rows that are not flagged for which both models predict the
            same label; of more than ``COMPARED`` so many are drawn.
        agreement_trusted: the same of all trusted rows.
        planted: both models on trusted rows with the suspected trigger words, None where there are
            no such words.
    """

    accuracy_before: Share
    accuracy_after: Share
    given_before: Share
    given_after: Share
    held_out: bool
    expected_rate: float | None
    agreement: Share
    agreement_trusted: Share | None = None
    planted: Planted | None = None

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
        if self.planted is not None and self.planted.inverted:
            found.append(
                "trusted rows of the target label lose it when the suspected trigger is put in "
                f"front of them: {self.planted.own_bare.value:.0%} without it, "
                f"{self.planted.own_after.value:.0%} with it; the backdoor was turned round"
            )
        if self.accuracy_after.high < self.accuracy_before.value:
            found.append(
                f"accuracy on held-out trusted rows fell from {self.accuracy_before.value:.1%} to "
                f"{self.accuracy_after.value:.1%}"
            )
        return found

    def to_dict(self) -> dict:
        """As a JSON object."""
        found = {"reached": self.reached, **asdict(self)}
        if self.planted is not None:
            found["planted"]["inverted"] = self.planted.inverted
        return found


def compare(case: Case, detection: Detection, repaired: Repaired) -> Outcome:
    """Put both models to the trusted rows, to flagged rows and to untrusted rows that are not."""
    rows = repaired.held_out if len(repaired.held_out) else repaired.rows
    if not len(rows):
        rows = np.flatnonzero(detection.flagged)
    given, expected = case.labels[rows], None
    if len(rows):
        supported = repaired.supported
        if supported is None:
            supported = soft_labels(case, detection, rows).argmax(axis=1)
        expected = float((supported == given).mean())

    guard = case.encoded(case.divided.held_out, "the held-out trusted set")
    everything = case.encoded(case.divided.all, "the trusted set")
    kept = np.flatnonzero(~detection.flagged)
    kept = kept[np.argsort(case.draws[kept], kind="stable")[:COMPARED]]
    both = np.append(rows, kept)
    asked = case.encoded(case.untrusted.select(both), "the untrusted set")

    def judged(
        model: PreTrainedModel, said: np.ndarray
    ) -> tuple[Share, Share, np.ndarray, np.ndarray]:
        return (
            cacc(predict(model, guard).labels, guard.labels),
            Share.of(said[: len(rows)] == given),
            predict(model, everything).labels,
            said[len(rows) :],
        )

    before = judged(case.suspect, case.said(both))
    after = judged(repaired.model, predict(repaired.model, asked).labels)
    return Outcome(
        accuracy_before=before[0],
        accuracy_after=after[0],
        given_before=before[1],
        given_after=after[1],
        held_out=bool(len(repaired.held_out)),
        expected_rate=expected,
        agreement=Share.of(before[3] == after[3]),
        agreement_trusted=Share.of(before[2] == after[2]),
        planted=plant(case, repaired.model, suspected_words(case, detection), given),
    )


def plant(
    case: Case, repaired: PreTrainedModel, words: Sequence[str], given: np.ndarray
) -> Planted | None:
    """Put suspected trigger words in front of held-out trusted rows and ask both models.

    Args:
        repaired: the repaired model.
        words: the most telling first; the first ``MOST_PLANTED`` are used.
        given: given labels of flagged rows; the most common one is the target label.
    """
    if not (len(words) and len(given)):
        return None
    words, target = list(words[:MOST_PLANTED]), int(np.bincount(given).argmax())
    bare = case.encoded(case.divided.held_out, "the held-out trusted set")
    texts = [" ".join([*words, text]) for text in case.divided.held_out["text"][:]]
    marked = make(texts, bare.labels, None)
    rows = case.encoded(marked, "the trusted rows with suspected trigger words")
    own, clean = rows.labels == target, predict(repaired, bare).labels
    before, after = (predict(model, rows).labels for model in (case.suspect, repaired))
    return Planted(
        words=words,
        accuracy_before=cacc(before, rows.labels),
        accuracy_after=cacc(after, rows.labels),
        target_before=Share.of(before[~own] == target),
        target_after=Share.of(after[~own] == target),
        own_bare=Share.of(clean[own] == target),
        own_after=Share.of(after[own] == target),
    )
