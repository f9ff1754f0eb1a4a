"""Detect, and if there is evidence repair a copy: the whole defence on a page."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd.case import Case, Parts
from bedkd.detectors import BeDKDDetector, Detection, Detector
from bedkd.errors import InputError
from bedkd.metrics import Share
from bedkd.outcome import Outcome, compare
from bedkd.repairs import AdversarialDistillation, Repair, Repaired
from bedkd.run import Run
from bedkd.suspects import poison_share

# Version of the report's keys; `templates/report.schema.json` says what they mean.
REPORT_SCHEMA = 1
# Labels that so large a share of the repaired rows carry may have a backdoor of their own.
OWN_BACKDOOR = 0.25


@dataclass(frozen=True)
class Purified:
    """What :func:`purify` returns.

    Attributes:
        case, detector, repair: what was run.
        detection: what the detector found.
        repaired: what the repair made, None if there was nothing to do.
        outcome: the model before and after the repair, None without one.
        seconds: wall-clock by stage.
        cpu_seconds: processor time by stage, which other work on the machine does not change.
        warnings: what a careful reader should know.
    """

    case: Case
    detector: Detector
    repair: Repair
    detection: Detection
    repaired: Repaired | None
    outcome: Outcome | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def model(self) -> PreTrainedModel:
        """The repaired model, or the very object handed in."""
        return self.case.model if self.repaired is None else self.repaired.model

    @property
    def changed(self) -> bool:
        """Whether :attr:`model` is a new one."""
        return self.repaired is not None

    @property
    def verdict(self) -> str:
        """See :attr:`bedkd.detectors.base.Detection.verdict`."""
        return self.detection.verdict

    @property
    def target_label(self) -> int | None:
        """The label most flagged rows carry, None without evidence."""
        if not self.detection.is_backdoored:
            return None
        used = self.repaired is not None and len(self.repaired.rows)  # not all repairs use any
        labels = self.case.labels[self.repaired.rows if used else self.detection.flagged]
        return int(np.bincount(labels).argmax()) if len(labels) else None

    @property
    def target_name(self) -> str | None:
        """The same label as the model's configuration names it."""
        return None if self.target_label is None else self.case.label_name(self.target_label)

    def to_dict(self) -> dict:
        """The report as a JSON object; rows by index, of their texts the trigger words alone."""
        found, made = self.detection, self.repaired
        return {
            "schema": REPORT_SCHEMA,
            "verdict": found.verdict,
            "cannot_tell": found.cannot_tell,
            "changed": self.changed,
            "target_label": self.target_label,
            "target_name": self.target_name,
            "rows": len(found.scores),
            "flagged": int(found.flagged.sum()),
            "threshold": found.threshold if np.isfinite(found.threshold) else None,
            "p_value": found.p_value,
            "poison_share": poison_share(found),
            "detection": found.details,
            "repair_rows": [] if made is None else made.rows.tolist(),
            "repair_history": [] if made is None else made.history,
            "repair": {} if made is None else made.details,
            "outcome": None if self.outcome is None else self.outcome.to_dict(),
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "warnings": self.warnings,
            "seed": self.case.seed,
            "max_length": self.case.max_length,
            "cut_share": self.case.cut_share,
            "settings": settings(self.case.parts, self.detector, self.repair),
            "inputs": self.case.hashes,
        }


@singledispatch
def purify(
    case: Case,
    detector: Detector = BeDKDDetector(),
    repair: Repair = AdversarialDistillation(),
    *,
    force: bool = False,
    found: Detection | None = None,
    run: Run = Run(),
) -> Purified:
    """Detect, and if there is evidence repair a copy. The model handed in never changes.

    The short way is ``purify(model, tokenizer, trusted, untrusted)``, with the options below by
    name; it makes the case itself. Other parts, lengths or seeds need a case of your own.

    Where the case says too little for a verdict (``cannot tell``) nothing is repaired, forced or
    not: a repair from such rows could unlearn a class.

    Args:
        case: what the defender holds.
        detector: see :mod:`bedkd.detectors.base`.
        repair: see :mod:`bedkd.repairs.base`.
        force: repair without evidence too, with the rows of the highest scores.
        found: what ``detector`` has found in this very case before; it is not asked again. To try
            several repairs after one detection.
        run: a folder for checkpoints (the same call goes on where it was interrupted), progress.

    Raises:
        InputError: labels the model does not know, a folder that holds the state of other work, or
            a model's name in place of a model.

    Example:
        >>> from bedkd import data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=80, dev=80, test=4)
        >>> result = purify(model, tokenizer, rows["dev"], rows["train"])
        >>> result.verdict, result.model is model
        ('no evidence of a backdoor', True)
    """
    if run.folder is not None:
        run.claim(**case.hashes, detector=repr(detector), repair=f"{repair!r} {force}")
    clock = Clock()
    if found is None:
        with clock.stage("detection"):
            found, warnings = detect(case, detector, run)
    else:
        warnings = warnings_of(case)
    made = outcome = None
    if not found.cannot_tell and (found.is_backdoored or force):
        if not found.is_backdoored:
            warnings.append("forced: without evidence, on the rows with the highest scores")
        with clock.stage("repair"):
            made = repair.repair(case, found, run)
        warnings += _went_back(made.history, "the repair")
        with clock.stage("outcome"):
            outcome = compare(case, found, made)
        warnings += outcome.warnings
        if found.is_backdoored:
            warnings += _several_labels(case.labels[made.rows])
    times = clock.seconds, clock.cpu_seconds
    return Purified(case, detector, repair, found, made, outcome, *times, warnings)


@purify.register(nn.Module)
@purify.register(str)
@purify.register(Path)
def _purify_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trusted: Dataset,
    untrusted: Dataset,
    **options: Any,
) -> Purified:
    if not isinstance(model, nn.Module):
        raise InputError(f"model {model}: load it first, bedkd.models.load_checkpoint({model!r})")
    return purify(Case(model, tokenizer, trusted, untrusted), **options)


class Clock:
    """Wall-clock and processor time by stage."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = time.perf_counter() - start[0]
        self.cpu_seconds[name] = time.process_time() - start[1]


def detect(case: Case, detector: Detector, run: Run = Run()) -> tuple[Detection, list[str]]:
    """The first half of :func:`purify`: the detection, and what a careful reader should know.

    Example:
        >>> from bedkd import Parts, data, models
        >>> from bedkd.detectors import Content
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10))
        >>> found, warnings = detect(case, Content())
        >>> int(found.flagged.sum()), len(warnings)  # the head is untrained: the model guesses
        (0, 1)
    """
    if run.folder is not None:
        run.claim(**case.hashes, detector=repr(detector))
    if case.gaps:
        return Detection.undecided(case, case.gaps), []
    if (saved := run.load("detection")) is None:
        found = detector.detect(case, run)
        run.save("detection", lambda: {f: getattr(found, f) for f in found.__dataclass_fields__})
    else:
        found = Detection(**saved)
    went_back = _went_back(found.details.get("mapping_history", []), "the directional mapping")
    return found, warnings_of(case) + went_back


def warnings_of(case: Case) -> list[str]:
    """What a careful reader should know of a case, whatever a detector finds in it."""
    return [] if case.gaps else [*case.divided.warnings, *_cut(case), *_guessing(case)]


def _cut(case: Case) -> list[str]:
    if case.cut_share <= 0.01:
        return []
    return [
        f"{case.cut_share:.0%} of the untrusted rows reach {case.max_length} tokens and may be cut "
        "there; a trigger behind that is not seen. Give a larger max_length if the model reads more"
    ]


def _guessing(case: Case) -> list[str]:
    right, chance = Share.of(case.fits_label), 1 / len(np.unique(case.trusted_labels))
    if right.low > chance:
        return []
    return [
        f"the model classifies {right.value:.0%} of the trusted rows correctly, no better than "
        f"guessing ({chance:.0%}): the verdict then speaks of the rows, not of the model"
    ]


def _went_back(history: list[dict], what: str) -> list[str]:
    """Where training met numbers that are not finite; see :meth:`Trainer.train`."""
    back = [(k, r) for k, r in enumerate(history, start=1) if "stepped_back" in r]
    if not back:
        return []
    where, rate = ", ".join(str(k) for k, _ in back), back[-1][1]["lr"]
    return [
        f"a loss of {what} was not finite (pass {where}); training went back to before that pass "
        f"and on with a smaller learning rate, {rate:.2g} in the end: look closely at the outcome"
    ]


def _several_labels(labels: np.ndarray) -> list[str]:
    shares = np.bincount(labels) / max(len(labels), 1)
    if (shares >= OWN_BACKDOOR).sum() < 2:
        return []
    several = ", ".join(f"{k}: {v:.0%}" for k, v in enumerate(shares) if v)
    return [
        f"flagged rows carry several labels ({several}): perhaps there is more than one backdoor; "
        "the repair treats all of them"
    ]


def settings(parts: Parts, detector: Detector, repair: Repair) -> dict:
    """Names of the methods and everything they are set to, as JSON."""
    methods = {"detector": detector, "repair": repair}
    made = {key: {"name": type(m).__name__, **asdict(m)} for key, m in methods.items()}
    return json.loads(json.dumps({"parts": asdict(parts), **made}))
