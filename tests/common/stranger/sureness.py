"""A detector in one file: rows of whose given label the model is unusually sure."""

from dataclasses import dataclass

import numpy as np

from bedkd import Case, Run
from bedkd.detectors import Detection, fdr_threshold
from bedkd.training.predict import predict


@dataclass(frozen=True)
class Sureness:
    """A trigger leaves a model no doubt, as it may have of content.

    Attributes:
        fdr: false discovery rate of the flagged rows, as estimated from trusted rows.
        min_flagged: minimum number of flagged rows for the verdict "backdoored".
    """

    fdr: float = 0.05
    min_flagged: int = 16

    def detect(self, case: Case, run: Run = Run()) -> Detection:
        """Score rows by how far the logit of their given label is above the others."""

        def margins(rows):
            logits = predict(case.suspect, rows, progress=run.progress).logits
            given = np.eye(case.num_labels, dtype=bool)[rows.labels]
            return logits[given] - np.where(given, -np.inf, logits).max(axis=1)

        scores = margins(case.encoded_untrusted)
        null = margins(case.encoded(case.divided.all, "the trusted set"))
        threshold = fdr_threshold(null, scores, self.fdr)
        flagged = scores >= threshold
        return Detection(scores, flagged, threshold, int(flagged.sum()) >= self.min_flagged)
