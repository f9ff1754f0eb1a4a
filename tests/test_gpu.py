"""What the CPU found, a GPU finds too: ``pytest -m gpu`` on a machine that has one.

It trains, detects, repairs and evaluates in the quick profile, runs chapters 1 to 6, compares with
what is stored (tolerances: ``tools/key_figures.py``), and writes what it saw to
``results/status/``.
"""

import json
import os
import re
import time

import key_figures
import pytest
import run_notebooks
import shared_models
import torch
from chapters import ROOT, chapters, read

from bedkd import experiments, report
from bedkd.files import write_json
from bedkd.training.runtime import accelerator

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device; see book/status.md"),
]


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """What the run leaves in ``results/status/``."""
    with pytest.MonkeyPatch.context() as patch:
        # Models of a cache could have been trained elsewhere.
        patch.setenv("BEDKD_CACHE", str(tmp_path_factory.mktemp("cache")))
        made = report.provenance("pytest -m gpu", seed=0, backbone="minilm")
        made |= {"precision": accelerator().mixed_precision, "measured": {}, "chapters": {}}
        yield made
    name = re.sub(r"\W+", "-", made["device"]).strip("-").lower()
    write_json(made, ROOT / "results" / "status" / f"{name}.json")


def outside(compared):
    return [figure for figure in compared if not figure["within"]]


def test_training_detection_repair_and_evaluation(record, tmp_path):
    assert accelerator().device.type == "cuda"
    started = time.monotonic()
    path = experiments.run(experiments.chapter_cell("quick"), tmp_path, "quick")
    seconds = time.monotonic() - started
    stored = ROOT / "results" / path.relative_to(tmp_path)
    both = (json.loads(file.read_text(encoding="utf-8")) for file in (stored, path))
    figures = key_figures.compared_records(*both)
    record["measured"] = {"seconds": round(seconds, 1), "figures": figures}
    assert not outside(figures)


@pytest.fixture(scope="module")
def models(record):
    """The models that chapters share, in the cache of this run."""
    assert os.environ["BEDKD_PROFILE"] == "quick"
    shared_models.train("quick")


@pytest.mark.parametrize("path", chapters()[:6], ids=lambda path: path.stem)
def test_chapter(path, record, models):
    notebook, started = read(path), time.monotonic()
    found = key_figures.outputs_by_cell(notebook, run_notebooks.run(path))
    seconds = time.monotonic() - started
    assert "quick profile on cuda" in found["setup"]
    stored = key_figures.outputs_by_cell(notebook)
    figures = key_figures.compared(path.stem, stored, found)
    record["chapters"][path.stem] = {"seconds": round(seconds, 1), "figures": figures}
    assert not outside(figures)
