"""The grid: data set × attack × seed, one JSON a cell, resumable.

A cell is an attack on a data set with one seed. Its victim is trained once and kept outside the
repository; so is the reference model trained without poison. Measuring a cell writes one JSON with
provenance.
"""

from bedkd.experiments.detections import detection, judge_detector
from bedkd.experiments.grid import (
    ATTACKS,
    GRID,
    INSERTIONS,
    Cell,
    chapter_cell,
    chapter_preset,
    command,
    default_target,
    trigger,
)
from bedkd.experiments.runs import (
    defend,
    evaluate_clean_model,
    measure,
    named_rows,
    run,
)
from bedkd.experiments.victims import case, reference_rows, splits, task, training_rows, victim

__all__ = [
    "ATTACKS",
    "GRID",
    "INSERTIONS",
    "Cell",
    "case",
    "chapter_cell",
    "chapter_preset",
    "command",
    "default_target",
    "defend",
    "detection",
    "evaluate_clean_model",
    "judge_detector",
    "measure",
    "named_rows",
    "reference_rows",
    "run",
    "splits",
    "task",
    "training_rows",
    "trigger",
    "victim",
]
