"""What detectors find in a cell: kept like victims, so that several repairs share one detection."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bedkd import metrics, report
from bedkd.case import Case
from bedkd.detectors import DETECTORS, Detection, Detector
from bedkd.experiments.costs import Costs
from bedkd.experiments.grid import Cell, command
from bedkd.experiments.records import finished, header
from bedkd.experiments.victims import cache_dir, case, training_rows
from bedkd.files import locked, read_json, write_json
from bedkd.presets import default
from bedkd.purify import detect, settings
from bedkd.run import Run

# Detectors that ask the model, or a language model, ten times or more about a row get so many of a
# cell's rows, drawn at random.
SAMPLED = {"bki": 500, "onion": 500, "strip": 500}
# What a detection is made with: other code finds something else.
CODE = ("detectors", "training", "case.py", "models.py", "text.py")


def detection(given: Case, detector: Detector, *, progress: bool = False) -> tuple[Detection, dict]:
    """What a detector finds in a case, from the cache or found now, and what it cost. Where another
    process is finding it, from there when that is done."""
    settings = {**given.hashes, "detector": repr(detector), "code": report.source_hash(*CODE)}
    folder = cache_dir() / "detections" / report.digest(settings)
    costs = folder / "costs.json"  # written last
    with locked(folder, wait=True):  # another process may be at it
        if not costs.is_file():
            return _found_now(given, detector, folder, progress)
    found, _ = detect(given, detector, Run(folder))
    if "content" in found.evidence:
        # Embeddings are in the detection's cost: a repair that reads them must not pay again.
        _ = given.embeddings, given.trusted_embeddings
    return found, read_json(costs)


def _found_now(
    given: Case, detector: Detector, folder: Path, progress: bool
) -> tuple[Detection, dict]:
    with Costs() as spent:
        found, _ = detect(given, detector, Run(folder, progress))
    write_json(spent.to_dict(), folder / "costs.json")
    for state in folder.glob("*.safetensors"):
        if state.stem != "detection":  # of the work that is now done
            state.unlink()
    return found, spent.to_dict()


def detector_settings(name: str) -> dict:
    """What a named detector is set to by default, and how trusted rows are divided for it."""
    found = settings(default().parts, DETECTORS[name](), default().repair)
    return {key: found[key] for key in ("parts", "detector")}


def judge_detector(cell: Cell, folder: str | Path, name: str, *, progress: bool = False) -> Path:
    """Put a named detector, with its default settings, to the cell's training rows; one JSON, and
    one that exists is not made again.

    Poison flags are only used here, afterwards. ``rows`` in the JSON says how many rows were
    scored: all of them, or a random sample (``SAMPLED``). The trusted rows are the dev split, as
    the default preset divides them.

    Raises:
        InputError: the JSON of that name holds another cell, other rows or other settings.
    """
    cell = cell.reference if cell.attack == "none" else cell
    path = Path(folder) / f"detected-{name}" / f"{cell.name}.json"
    detector = DETECTORS[name]()
    wanted = detector_settings(name)
    if finished(path, cell, wanted):
        return path
    rows = training_rows(cell)
    if SAMPLED.get(name, len(rows)) < len(rows):
        drawn = np.random.default_rng(cell.seed).permutation(len(rows))[: SAMPLED[name]]
        rows = rows.select(np.sort(drawn))
    given = case(cell, default(), untrusted=rows)
    found, costs = detection(given, detector, progress=progress)
    flags = np.asarray([bool(flag) for flag in rows["poisoned"]], bool)
    record = {
        **header(cell, command(cell, detector=name)),
        "detector": name,
        "report": {
            "settings": wanted,
            "rows": len(rows),
            "verdict": found.verdict,
            "cannot_tell": found.cannot_tell,
            "p_value": found.p_value,
            "flagged": int(found.flagged.sum()),
        },
        "detection": metrics.detection_quality(found.scores, found.flagged, flags).to_dict(),
        "costs": costs,
    }
    write_json(record, path)
    return path
