"""Probe for triggers: what does a piece of a row do to other texts?

Short windows of a row's words are put in front of trusted texts of other classes. Words that merely
mean something convince the model of some of them. A window that holds a trigger makes it call
nearly all of them the row's label. Unlike a rank, that is an experiment on the suspect model: it
works on few rows, and also where the content of a row supports its label. Kin: STRIP's
perturbations, BKI's keyword scores.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from bedkd.case import Case
from bedkd.detectors.base import Detection, Evidence, fdr_threshold, min_detectable, too_few
from bedkd.detectors.wording import Wording
from bedkd.errors import InputError, at_least
from bedkd.run import Run
from bedkd.text import as_read, is_spaced, join, split
from bedkd.training.batches import EncodedTexts
from bedkd.training.predict import predict


@dataclass(frozen=True)
class TriggerProbe:
    """How rows are probed.

    Attributes:
        rows: number of untrusted rows probed at a time, the most suspicious first, and of trusted
            rows probed for comparison.
        width: words in a window; more where a row is too long for ``windows`` of them.
        windows: maximum number of windows a row; together they hold every word.
        carriers: number of texts that every window is put in front of.
        texts_per_carrier: trusted texts joined in one carrier. More texts of one label make words
            of content less able to change the answer; a trigger hardly loses any.
        min_target_rate: minimum mean probability of the row's label over the carriers for a window
            to be a trigger.
        fdr: false discovery rate of the confirmed rows among the first ones probed.
        min_flagged: minimum number of confirmed rows for the verdict "backdoored".
        max_flagged: stop looking for more rows when this number is confirmed.
        wording: finds more rows written like the confirmed ones.

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> TriggerProbe(rows=20, windows=2, carriers=2).detect(case).is_backdoored
        False
    """

    rows: int = 96
    width: int = 2
    windows: int = 12
    carriers: int = 4
    texts_per_carrier: int = 3
    min_target_rate: float = 0.5
    fdr: float = 0.05
    min_flagged: int = 16
    max_flagged: int = 512
    wording: Wording = Wording()

    def __post_init__(self):
        at_least(self, rows=1, width=1, windows=1, carriers=1, texts_per_carrier=1)
        at_least(self, min_flagged=1, max_flagged=1)

    def split(self, text: str, tokenizer: PreTrainedTokenizerBase | None = None) -> list[str]:
        """Windows of consecutive words that together hold every word of the text; of tokens where
        there are no spaces between words.

        >>> TriggerProbe(windows=3).split("a b c d")
        ['a b', 'b c', 'c d']
        """
        words = split(text, tokenizer)
        width = max(self.width, math.ceil(len(words) / self.windows))
        last = max(len(words) - width, 0)
        starts = np.unique(np.linspace(0, last, min(self.windows, last + 1)).round().astype(int))
        return [join(words[start : start + width], is_spaced(text)) for start in starts]

    def target_rates(
        self, case: Case, texts: Sequence[str], labels: np.ndarray, run: Run = Run()
    ) -> tuple[np.ndarray, list[str]]:
        """Probe R rows.

        Args:
            texts: R texts.
            labels: their given labels, (R,).

        Returns:
            Mean probability of each row's label over the carriers, for the window in which it is
            largest, (R,); and that window, R texts.
        """
        carriers = {label: self.make_carriers(case, label) for label in np.unique(labels)}
        # Of a long row only what the model reads of it: windows have to leave room for carriers.
        read = [as_read(text, case.tokenizer, case.max_length) for text in texts]
        pieces = [self.split(text, case.tokenizer) for text in read]
        probes = [
            f"{piece} {carrier}"
            for label, row in zip(labels, pieces, strict=True)
            for piece in row
            for carrier in carriers[label]
        ]
        answers = predict(
            case.suspect,
            EncodedTexts(case.tokenizer, probes, max_length=case.max_length),
            progress=run.progress,
            description="trigger probe",
        ).probabilities
        rates, best, start = np.zeros(len(texts)), [], 0
        for number, (label, row) in enumerate(zip(labels, pieces, strict=True)):
            count = len(row) * len(carriers[label])
            means = answers[start : start + count, label].reshape(len(row), -1).mean(axis=1)
            rates[number] = means.max()
            best.append(row[int(means.argmax())])
            start += count
        return rates, best

    def make_carriers(self, case: Case, label: int) -> list[str]:
        """Texts of other labels than ``label``, each of trusted rows that share one label and are
        classified correctly."""
        usable = np.flatnonzero(case.fits_label)
        true = case.trusted_labels[usable]
        texts = case.divided.all.select(usable)["text"][:]
        order = np.random.default_rng(case.seed).permutation(len(texts))
        others = [order[true[order] == k] for k in np.unique(true) if k != label]
        if not others:
            raise InputError(
                f"trigger probe: no trusted row of another label than {label} is classified "
                "correctly; give more trusted rows"
            )
        many = self.texts_per_carrier
        return [
            " ".join(texts[i] for i in np.resize(np.roll(rows, -turn * many), many))
            for turn, rows in zip(range(self.carriers), itertools.cycle(others))
        ]

    def confirm(
        self, case: Case, evidence: Evidence, run: Run = Run()
    ) -> tuple[Detection | None, dict]:
        """Probe the most suspicious rows, then those written like the ones confirmed.

        Args:
            evidence: decides which rows are probed first; ineligible rows are not probed.

        Returns:
            A detection, None if too few rows are confirmed; and ``examined``, the number of rows
            probed, with ``min_detectable``.
        """
        usable, scores = np.flatnonzero(case.fits_label), evidence.untrusted
        if len(np.unique(case.trusted_labels[usable])) < 2:
            return None, {"examined": 0, "min_detectable": None}  # it calls everything the same
        rates = np.full(len(scores), -np.inf)

        def probe(rows: np.ndarray) -> None:
            some = case.untrusted.select(rows)["text"][:]
            rates[rows] = self.target_rates(case, some, case.labels[rows], run)[0]

        def next_rows(order: np.ndarray) -> np.ndarray:
            left = np.flatnonzero(evidence.eligible & np.isneginf(rates))
            return left[np.lexsort((case.draws[left], -order[left]))][: self.rows]

        some = usable[np.random.default_rng(case.seed).permutation(len(usable))[: self.rows]]
        clean = case.divided.all.select(some)["text"][:]
        null = self.target_rates(case, clean, case.trusted_labels[some], run)[0]
        first = next_rows(scores)
        probe(first)
        threshold = max(fdr_threshold(null, rates[first], self.fdr), self.min_target_rate)
        least = max(min_detectable(len(some), len(first), self.fdr), self.min_flagged)
        confirmed = rates >= threshold
        details = {"examined": int(np.isfinite(rates).sum()), "min_detectable": least}
        while confirmed.sum() >= self.min_flagged:
            wording, auroc = self.wording.evidence(case, confirmed, scores)
            if auroc < self.wording.min_auroc:
                break
            rows, before = next_rows(scores + wording.untrusted), confirmed.sum()
            if len(rows) and before < self.max_flagged:
                probe(rows)
                confirmed = rates >= threshold
                details["examined"] = int(np.isfinite(rates).sum())
            if confirmed.sum() - before < self.rows / 2:
                details["wording_auroc"] = auroc
                found = {"wording": wording.untrusted}
                return Detection(
                    scores, confirmed, threshold, True, details=details, evidence=found
                ), details
        return None, details

    def missing(self, case: Case) -> list[str]:
        """Why probing could confirm nothing; known before."""
        null, rows = (min(self.rows, len(d)) for d in (case.divided.all, case.untrusted))
        return too_few(null, rows, self.fdr, self.min_flagged)

    def detect(self, case: Case, run: Run = Run()) -> Detection:
        """Probe rows in random order: the probe as a detector of its own."""
        if missing := self.missing(case):
            return Detection.undecided(case, missing)
        said = [case.ask([case.suspect], part)[0].labels for part in case.scans]
        eligible = np.concatenate(said) == case.labels
        trusted = np.zeros(len(case.divided.all))
        found, details = self.confirm(
            case, Evidence(case.draws, eligible, trusted, case.fits_label), run
        )
        if found is not None:
            return found
        nobody = np.zeros(len(eligible), bool)
        return Detection(np.zeros(len(eligible)), nobody, float("inf"), False, details=details)
