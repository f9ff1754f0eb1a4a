"""What ``bedkd purify`` would do with a case, how long and how much memory it takes here: a dry run
that times a few batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import psutil
import torch

from bedkd.case import Case
from bedkd.detectors import BeDKDDetector
from bedkd.outcome import COMPARED
from bedkd.presets import Preset
from bedkd.repairs import AdversarialDistillation
from bedkd.repairs.stopping import HALVINGS
from bedkd.training.batches import EncodedTexts
from bedkd.training.embed import embed
from bedkd.training.loop import Trainer
from bedkd.training.objectives import cross_entropy
from bedkd.training.predict import predict
from bedkd.training.runtime import device
from bedkd.training.student import adapter_weights, is_adapter, student_of

TIMED_ROWS, TIMED_STEPS, BATCH = 64, 3, 16
BYTES_PER_TOKEN = 8  # its number, and its share of what an array costs
# Of the weights: suspect, student, gradients, two moments, the best so far, the pass's beginning.
COPIES = 7


def plan(case: Case, preset: Preset) -> dict:
    """A JSON object: rows, what is missing for a verdict, and ``seconds`` and ``memory_mb``.

    ``seconds`` is a range: evidence that is enough at once with the earliest stop, and every probe
    and cycle. It counts passes of the default methods; of others only what every method needs, so
    that the range is a lower bound (``complete`` is false).

    Example:
        >>> from bedkd import Parts, data, models, presets
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> found = plan(case, presets.quick())
        >>> found["rows"], found["complete"], found["seconds"][0] < found["seconds"][1]
        (60, True, True)
    """
    missing = case.gaps or getattr(preset.detector, "missing", lambda _: [])(case)
    found = {
        "rows": len(case.untrusted),
        "trusted": len(case.trusted),
        "labels": [case.label_name(k) for k in range(case.num_labels)],
        "max_length": case.max_length,
        "rows_cut": round(case.cut_share * len(case.untrusted)),
        "detector": type(preset.detector).__name__,
        "repair": type(preset.repair).__name__,
        "cannot_tell": missing,
    }
    if missing:
        return {**found, "seconds": [0.0, 0.0], "memory_mb": 0.0, "complete": True}
    known = isinstance(preset.detector, BeDKDDetector)
    known &= isinstance(preset.repair, AdversarialDistillation)
    seconds = [sum(part) for part in zip(*_parts(case, preset), strict=True)]
    return {**found, "seconds": seconds, "memory_mb": _memory(case), "complete": known}


def _parts(case: Case, preset: Preset) -> list[tuple[float, float]]:
    """Seconds of every part, at least (nothing is found) and at most."""
    rows, trusted = len(case.untrusted), len(case.divided.all)
    held_out, tune = len(case.divided.held_out), len(case.divided.tune)
    some = np.random.default_rng(case.seed).choice(rows, min(rows, TIMED_ROWS), replace=False)
    texts = case.untrusted.select(some)["text"][:]
    sample = EncodedTexts(case.tokenizer, texts, max_length=case.max_length)
    ask = _timed(lambda: predict(case.suspect, sample)) / len(sample)
    step = _step(case, sample)
    detector, repair = preset.detector, preset.repair
    judged = min(rows, COMPARED + getattr(repair, "max_suspects", rows))
    parts = [(0.0, 2 * (judged + trusted + held_out) * ask)]  # before and after a repair
    if isinstance(detector, BeDKDDetector):
        mapping = detector.mapping
        epoch = math.ceil(len(case.divided.flip) / mapping.batch_size) * step
        epoch += mapping.n_monitored * ask
        least = min(mapping.epochs, 1 + (mapping.patience or mapping.epochs))
        parts += [(least * epoch, mapping.epochs * epoch), (2 * (rows + trusted) * ask,) * 2]
        if detector.content:
            reading = _timed(lambda: embed(texts)) / len(texts)
            parts.append(((rows + trusted) * reading,) * 2)
        if asked := detector.association:
            parts.append((0.0, asked.most * asked.carriers * ask))
        if probe := detector.probe:
            parts.append((0.0, probe.rows * probe.windows * probe.carriers * ask * 2))
    if isinstance(repair, AdversarialDistillation):
        extra = 1 / repair.punish_every + (
            1 / repair.transplant_every if repair.transplant_every else 0
        )
        batches = math.ceil(tune / repair.batch_size) * (1 + extra) * repair.oversample
        batches *= repair.cycles
        if repair.schedule == "shuffle":
            # Later cycles go over a share of the presumed clean rows, and over flagged ones twice.
            later = repair.cycles - 1
            passed = repair.cycles * tune + (1 + 2 * later) * min(repair.max_suspects, rows)
            passed += (1 + later * repair.later_share) * min(repair.presumed_clean, rows // 2)
            batches = math.ceil(passed / repair.batch_size)
        asked = (repair.cycles + HALVINGS * repair.decay) * (
            held_out + min(repair.max_suspects, rows) / 4
        )
        parts.append((0.0, batches * step + asked * ask))
    return parts


def _timed(work: Callable[[], object]) -> float:
    """Seconds of the second call: the first makes ready."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _step(case: Case, sample: EncodedTexts) -> float:
    """Seconds of a training step of a copy."""
    student = student_of(case.suspect)
    trainer = Trainer(student, num_steps=2 * TIMED_STEPS, lr=1e-6, seed=0)
    batch = np.arange(min(BATCH, len(sample)))
    return (
        _timed(lambda: trainer.train([(cross_entropy, sample, batch)] * TIMED_STEPS)) / TIMED_STEPS
    )


def _memory(case: Case) -> float:
    """Megabytes beyond what the process has now: copies of the weights, tokens, hidden states."""
    model = case.model
    copied = adapter_weights(model).values() if is_adapter(model) else model.parameters()
    weights = sum(weight.numel() for weight in copied) * 4
    lengths = case.read(case.scans[0]).lengths
    width = getattr(case.model.config, "hidden_size", 768)
    states = len(case.divided.all) * float(lengths.mean()) * width * 4
    return (COPIES * weights + BYTES_PER_TOKEN * int(lengths.sum()) + states) / 1e6


def free_memory_mb() -> float:
    """Megabytes that are free on the accelerator's device."""
    if device().type == "cuda":
        return torch.cuda.mem_get_info(device())[0] / 1e6
    return psutil.virtual_memory().available / 1e6


def plan_text(found: dict) -> str:
    """A plan in sentences.

    >>> minutes(30), minutes(600), minutes(40000)
    ('30 s', '10 min', '11.1 h')
    """
    lines = [
        f"{found['rows']} untrusted rows, {found['trusted']} trusted rows, "
        f"{len(found['labels'])} labels: {', '.join(found['labels'][:20])}.",
        f"Texts are read up to {found['max_length']} tokens; {found['rows_cut']} untrusted rows "
        "reach that.",
        f"Detector {found['detector']}, and where there is evidence repair {found['repair']}.",
    ]
    if found["cannot_tell"]:
        lines.append("The verdict would be: cannot tell. What is missing:")
        return "\n".join([*lines, *(f"* {reason}" for reason in found["cannot_tell"])])
    low, high = (minutes(value) for value in found["seconds"])
    least = "" if found["complete"] else " at least"
    lines.append(f"By a short timing on this machine it takes{least} {low} to {high}.")
    lines.append(
        f"It needs about {found['memory_mb']:.0f} MB of memory; {free_memory_mb():.0f} MB are free."
    )
    return "\n".join(lines)


def minutes(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
