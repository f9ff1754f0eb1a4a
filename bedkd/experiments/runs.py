"""Measuring a cell: one JSON with provenance each; a cell whose JSON exists is skipped."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from bedkd import attacks, metrics
from bedkd.conditions import AS_GIVEN, Conditions
from bedkd.detectors import Given
from bedkd.errors import InputError
from bedkd.evaluation import asr_by_word, evaluate
from bedkd.experiments.costs import Costs
from bedkd.experiments.detections import detection
from bedkd.experiments.grid import ROWS_FROM, Cell, command
from bedkd.experiments.records import finished, header
from bedkd.experiments.victims import (
    case,
    splits,
    task,
    victim,
)
from bedkd.files import read_json, write_json
from bedkd.presets import PRESETS
from bedkd.purify import Purified, purify, settings
from bedkd.run import Run
from bedkd.training.batches import encode
from bedkd.training.predict import predict

log = logging.getLogger(__name__)


def _manifest_summary(built: attacks.PoisonedTask) -> dict:
    """The manifest without its lists of rows."""
    lists = ("poisoned_rows", "decoy_rows", "held_out_train_rows")
    return {k: v for k, v in built.manifest.items() if k not in lists}


def measure(cell: Cell, *, progress: bool = False) -> dict:
    """Train or load victim and reference, and evaluate the victim undefended."""
    model, tokenizer = victim(cell, progress=progress)
    reference = victim(cell.reference, progress=progress)
    built = task(cell)
    result = evaluate(
        model,
        tokenizer,
        clean=built.clean["test"],
        poisoned=built.poisoned_test,
        triggered=built.triggered,
        reference=reference,
        max_length=cell.training.max_length,
        progress=progress,
    )
    return {
        **header(cell, command(cell)),
        "task": _manifest_summary(built),
        "undefended": result,
    }


def named_rows(rows_from: str, flags: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows to repair with in place of those found: what a repair does with perfect ones
    (``oracle``, drawn among the poisoned rows) and with useless ones (``random``)."""
    among = np.flatnonzero(flags) if rows_from == "oracle" else np.arange(len(flags))
    return np.random.default_rng(seed).permutation(among)[:count]


def defend(
    cell: Cell,
    preset: str = "default",
    *,
    undefended: dict,
    rows_from: str = "found",
    conditions: Conditions = AS_GIVEN,
    progress: bool = False,
) -> dict:
    """Purify the cell's victim with the clean dev rows as trusted set, and evaluate.

    The defence sees the dev split and the training mix; test rows and flags are only used here,
    afterwards, to judge it. (``rows_from`` other than ``found`` are experiments about the second
    stage, not defences.)

    Args:
        undefended: the ``undefended`` part of what :func:`measure` returned: floor and ceiling
            do not change with the defence and are taken from it.
        rows_from: see :func:`named_rows`.
        conditions: departures from the dev split and from the preset.
    """
    built = task(cell)
    flags = np.asarray(built.train["poisoned"][:], bool)
    chosen = conditions.applied(PRESETS[preset]())
    if rows_from != "found":
        rows = named_rows(rows_from, flags, chosen.repair.max_suspects, cell.seed)
        chosen = chosen._replace(detector=Given(tuple(rows)))
    given = case(cell, chosen, conditions.draw_trusted(built, cell.seed))
    found, spent = detection(given, chosen.detector, progress=progress)
    with Costs() as costs:
        run = Run(progress=progress)
        purified = purify(given, chosen.detector, chosen.repair, found=found, run=run)
    purified.seconds["detection"] = spent["seconds"]
    purified.cpu_seconds["detection"] = spent["cpu_seconds"]
    return {
        **header(cell, command(cell, preset, rows_from, conditions)),
        "task": _manifest_summary(built),
        "undefended": undefended,
        "preset": preset,
        "rows_from": rows_from,
        "conditions": conditions.to_dict(),
        "report": _report(purified),
        "peak_mb": {"detection": spent["peak_mb"], "repair": costs.peak_mb},
        **_judged(cell, built, purified, flags, undefended, progress),
        "ftr": _false_triggers(cell, built, purified),
    }


def _false_triggers(cell: Cell, built: attacks.PoisonedTask, purified: Purified) -> dict | None:
    """How often a near-trigger sends test rows of other classes to the target: with the victim, the
    purified and the reference model. None where the trigger has none."""
    near = attacks.near_trigger(built.trigger)
    if near is None:
        return None
    rows = attacks.triggered_rows(built.clean["test"], near, target=built.target, seed=cell.seed)
    rows = attacks.attack_rows(rows, built.target)
    length, tokenizer = cell.training.max_length, purified.case.tokenizer

    def rate(model: PreTrainedModel) -> dict:
        encoded = encode(model, tokenizer, rows, length, "the near-triggered rows")
        return metrics.asr(predict(model, encoded).labels, encoded.labels).to_dict()

    shared = {"victim": purified.case.suspect, "purified": purified.model}
    return {
        "trigger": attacks.describe(near),
        **{name: rate(model) for name, model in shared.items()},
        "reference": rate(victim(cell.reference)[0]),
    }


def _judged(
    cell: Cell,
    built: attacks.PoisonedTask,
    purified: Purified,
    flags: np.ndarray,
    undefended: dict,
    progress: bool,
) -> dict:
    """Detection against the flags, and the purified model on test rows."""
    found, length = purified.detection, cell.training.max_length
    result = evaluate(
        purified.model,
        purified.case.tokenizer,
        clean=built.clean["test"],
        poisoned=built.poisoned_test,
        triggered=built.triggered,
        max_length=length,
        progress=progress,
    )
    # A combination puts all of its words into every row; there is nothing to tell apart.
    combined = isinstance(built.trigger, attacks.WordCombination)
    words = () if combined else getattr(built.trigger, "words", ())
    mapping = found.evidence.get("mapping", found.scores)
    made = purified.repaired
    used = flags[made.rows] if made is not None else flags[:0]
    return {
        "detection": metrics.detection_quality(found.scores, found.flagged, flags).to_dict(),
        # The mapping student's score alone, without the other evidence.
        "mapping_auroc": metrics.detection_quality(mapping, found.flagged, flags).auroc,
        "repair_precision": metrics.Share.of(used).to_dict(),
        "defended": {k: undefended[k] if v is None else v for k, v in result.items()},
        "asr_by_word": asr_by_word(
            purified.model, purified.case.tokenizer, built.poisoned_test, words, length
        ),
    }


def evaluate_clean_model(cell: Cell, preset: str = "default", *, progress: bool = False) -> dict:
    """Purify a model that was never poisoned: the verdict, and what acting cost.

    Args:
        cell: a reference cell (``attack="none"``).
    """
    chosen = PRESETS[preset]()
    test = splits(cell.dataset, cell.seed, cell.normalise, cell.sizes)["test"]
    given = case(cell, chosen)
    found, spent = detection(given, chosen.detector, progress=progress)
    run = Run(progress=progress)
    purified = purify(given, chosen.detector, chosen.repair, found=found, run=run)
    purified.seconds["detection"] = spent["seconds"]
    purified.cpu_seconds["detection"] = spent["cpu_seconds"]

    def accuracy(judged: PreTrainedModel) -> dict:
        length = cell.training.max_length
        found = evaluate(judged, given.tokenizer, clean=test, max_length=length)
        return found["cacc"]

    before = accuracy(given.model)
    return {
        **header(cell, command(cell, preset)),
        "preset": preset,
        "report": _report(purified),
        "cacc_before": before,
        "cacc_after": accuracy(purified.model) if purified.changed else before,
    }


def _report(purified: Purified) -> dict:
    """The report without its list of rows."""
    return {k: v for k, v in purified.to_dict().items() if k != "repair_rows"}


def run(
    cell: Cell,
    folder: str | Path,
    preset: str | None = None,
    rows_from: str = "found",
    conditions: Conditions = AS_GIVEN,
    *,
    progress: bool = False,
) -> Path:
    """Measure a cell undefended, then with a defence if ``preset`` is given; each measurement is
    one JSON, and one that exists is not made again. A reference cell, which has no poison, is only
    defended. Defences under other ``conditions`` have a folder of their own.

    Returns:
        The JSON of the defence if one is given, else of the undefended cell.

    Raises:
        InputError: the JSON of that name holds another cell, other rows or other settings of the
            preset; unknown ``rows_from``; a reference cell, rows from elsewhere than ``found`` or
            other conditions without ``preset``; other conditions for a reference cell.
    """
    _check(cell, preset, rows_from, conditions)
    if cell.attack == "none":
        cell = cell.reference
        path = Path(folder) / f"clean-{preset}" / f"{cell.name}.json"
        if not finished(path, cell, _settings(preset)):
            write_json(evaluate_clean_model(cell, preset, progress=progress), path)
        return path
    path = Path(folder) / "undefended" / f"{cell.name}.json"
    if finished(path, cell):
        measured = read_json(path)
    else:
        measured = measure(cell, progress=progress)
        write_json(measured, path)
    if preset is None:
        return path
    stage = f"conditions-{preset}" if conditions.name else f"defended-{preset}"
    if rows_from != "found":
        stage += f"-{rows_from}"
    file = f"{cell.name}-{conditions.name}.json" if conditions.name else path.name
    path = Path(folder) / stage / file
    if not finished(path, cell, _settings(preset, rows_from, conditions)):
        found = defend(
            cell,
            preset,
            undefended=measured["undefended"],
            rows_from=rows_from,
            conditions=conditions,
            progress=progress,
        )
        write_json(found, path)
    return path


def _check(cell: Cell, preset: str | None, rows_from: str, conditions: Conditions) -> None:
    if rows_from not in ROWS_FROM:
        raise InputError(f"rows-from {rows_from!r}: choose one of {', '.join(ROWS_FROM)}")
    if preset is None and rows_from != "found":
        raise InputError(f"rows-from {rows_from}: name the preset that shall repair with them")
    if preset is None and conditions.name:
        raise InputError(f"conditions {conditions.name}: name the preset that shall work so")
    if cell.attack == "none" and (preset is None or rows_from != "found" or conditions.name):
        raise InputError("attack none: name a preset, which finds its rows itself")


def _settings(
    preset: str, rows_from: str = "found", conditions: Conditions = AS_GIVEN
) -> dict[str, dict]:
    """What the preset is set to now; without the detector where the rows are named."""
    found = settings(*conditions.applied(PRESETS[preset]()))
    return {k: v for k, v in found.items() if k != "detector" or rows_from == "found"}
