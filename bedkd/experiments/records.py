"""The JSON of a measurement: what stands in every one, and whether it is the one asked for."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from bedkd import report
from bedkd.data import fingerprint_rows
from bedkd.errors import InputError
from bedkd.experiments.grid import Cell
from bedkd.experiments.victims import training_rows, training_seconds
from bedkd.files import read_json

log = logging.getLogger(__name__)

# Options that came later than some results, with the value that leaves everything as it was.
LATER = {
    "presumed_clean": 0,
    "planted": 0.0,
    "decay": False,
    "null": "correct",
    "association": None,
    "frozen_embeddings": False,
    "later_share": 1.0,
}


def header(cell: Cell, line: str) -> dict:
    """Cell, provenance with the command line, rows, and what the cell's model cost."""
    return {
        "cell": cell.to_dict(),
        **report.provenance(line, seed=cell.seed, backbone=cell.backbone),
        "data": fingerprint_rows(training_rows(cell)),
        "training_seconds": training_seconds(cell),
    }


def finished(path: Path, cell: Cell, wanted: dict[str, dict] | None = None) -> bool:
    """Whether ``path`` holds the measurement of this very cell, rows and settings."""
    if not path.is_file():
        return False
    stored = read_json(path)
    if stored["cell"] != json.loads(json.dumps(cell.to_dict())):
        raise InputError(f"{path}: holds a cell with other settings; give another folder")
    used = stored.get("report", {}).get("settings", {})
    changed = [part for part in wanted or {} if not same(used.get(part), wanted[part])]
    if changed:
        raise InputError(
            f"{path}: was measured with other settings ({', '.join(changed)}); give another folder "
            "or delete the file"
        )
    # Results of before version 0.2 do not say on which rows they were measured.
    if stored.get("data") not in (None, fingerprint_rows(training_rows(cell))):
        raise InputError(f"{path}: was measured on other rows; give another folder")
    log.info("%s exists", path)
    return True


def same(stored: object, wanted: object) -> bool:
    """Whether stored settings say the same as those wanted; options that came later may be absent.

    >>> same({"cycles": 4}, {"cycles": 4, "decay": False}), same({"cycles": 4}, {"cycles": 5})
    (True, False)
    """
    if not (isinstance(stored, dict) and isinstance(wanted, dict)):
        return stored == wanted
    known = {**{key: LATER[key] for key in wanted.keys() & LATER.keys()}, **stored}
    return known.keys() == wanted.keys() and all(same(known[key], wanted[key]) for key in wanted)
