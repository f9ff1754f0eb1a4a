"""PD, the log-odds shift: did fine-tuning make the model believe in a label that the model it came
from does not see?

Source: the detector "PD" of a published head-to-head comparison: the signed shift of target against
other labels between the checkpoint before fine-tuning and the tuned model. (The same over a full
vocabulary, as a KL divergence, was at chance there.)

Kept: log p(y)/(1 − p(y)) under the suspect model minus the same under the model before, y the row's
given label. Changed: a classifier's backbone has no head, so one is fitted here: a logistic
regression on the frozen backbone's features of trusted rows (cross-fitted where they are scored).
A model that has merely learned its training rows shifts on them too, and less on trusted rows: on
honest models that overfit, expect flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from bedkd.case import Case
from bedkd.detectors.base import Rival
from bedkd.detectors.content import against_label
from bedkd.models import load_backbone
from bedkd.run import Run
from bedkd.training.batches import EncodedTexts
from bedkd.training.predict import predict


@dataclass(frozen=True)
class LogOddsShift(Rival):
    """Score of a row: how much more the suspect model believes in its given label.

    Attributes:
        backbone: the model before fine-tuning: ``minilm`` for the public sentence encoder with its
            own pooling, otherwise a name as :func:`bedkd.models.load_backbone` takes it, whose last
            hidden states are averaged.

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> LogOddsShift().detect(case).is_backdoored
        False
    """

    backbone: str = "minilm"

    def score(self, case: Case, run: Run) -> tuple[np.ndarray, np.ndarray, dict]:
        """Shifts of the untrusted rows and, cross-fitted, of the trusted rows."""
        if self.backbone == "minilm":
            features = case.embeddings, case.trusted_embeddings
        else:
            model, tokenizer = load_backbone(self.backbone, num_labels=case.num_labels)
            sets = case.untrusted["text"][:], case.divided.all["text"][:]
            features = tuple(mean_states(model, tokenizer, some, case.max_length) for some in sets)
        shifts = []
        trusted = case.encoded(case.divided.all, "the trusted set")
        against, before_trusted = against_label(case, features[1])
        befores = against(features[0], case.labels), before_trusted
        for rows, before in zip((case.encoded_untrusted, trusted), befores, strict=True):
            logits = predict(case.suspect, rows, progress=run.progress).logits
            shifts.append(given_log_odds(logits, rows.labels) + before)
        return *shifts, {}


def given_log_odds(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """log p(y) / (1 − p(y)) of R rows from logits (R, K): finite however sure the model is.

    >>> given_log_odds(np.array([[50.0, -50.0], [0.0, 0.0]]), np.array([0, 1])).tolist()
    [100.0, 0.0]
    """
    given = np.eye(logits.shape[1], dtype=bool)[labels]
    logits = np.asarray(logits, float)
    return logits[given] - logsumexp(np.where(given, -np.inf, logits), axis=1)


def mean_states(model, tokenizer, texts: Sequence[str], max_length: int) -> np.ndarray:
    """Mean of the last hidden states over the tokens of each text, (R, H)."""
    rows = EncodedTexts(tokenizer, texts, max_length=max_length)
    return np.stack([state.mean(0) for state in predict(model, rows, hidden=True).hidden])
