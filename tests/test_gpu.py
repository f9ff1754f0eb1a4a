"""The way through on a CUDA device: ``pytest -m gpu``.

Training, detection, repair and evaluation in the quick profile are compared with the measurement in
``results/`` that a CPU made; chapters 1 to 6 must run. What was found goes to ``results/status/``.
"""

import json
import time
from pathlib import Path

import pytest
import run_notebooks
import torch
from chapters import ROOT, chapters

from bedkd import experiments, report
from bedkd.files import write_json

# Another device draws other dropout masks and rounds otherwise, so it trains another victim. The
# tolerances are about three standard deviations of a share of 400 rows.
TOLERANCES = {
    ("undefended", "cacc"): 0.05,
    ("undefended", "asr"): 0.05,
    ("undefended", "racc"): 0.05,
    ("defended", "cacc"): 0.05,
    ("defended", "asr"): 0.15,
    ("defended", "racc"): 0.1,
}
AUROC = 0.02


def differences(stored, made):
    """What of a measurement lies outside the tolerances, one line each."""
    found = []
    if made["report"]["verdict"] != stored["report"]["verdict"]:
        found.append(f"verdict: {made['report']['verdict']}, not {stored['report']['verdict']}")
    if abs(made["detection"]["auroc"] - stored["detection"]["auroc"]) > AUROC:
        found.append(f"AUROC: {made['detection']['auroc']}, not {stored['detection']['auroc']}")
    for (stage, name), tolerance in TOLERANCES.items():
        ours, theirs = made[stage][name]["value"], stored[stage][name]["value"]
        if abs(ours - theirs) > tolerance:
            found.append(f"{stage} {name}: {ours}, not {theirs} ± {tolerance}")
    return found


def stored(attack="badnets"):
    name = f"{experiments.chapter_cell('quick', attack).name}.json"
    path = ROOT / "results" / "defended-quick" / name
    return json.loads(path.read_text(encoding="utf-8"))


def test_differences_are_those_outside_the_tolerance():
    before, made = stored(), stored()
    assert differences(before, made) == []
    made["defended"]["racc"]["value"] -= 0.09
    assert differences(before, made) == []
    made["defended"]["racc"]["value"] -= 0.02
    made["undefended"]["asr"]["value"] = 0.9
    made["detection"]["auroc"] -= 0.03
    made["report"]["verdict"] = "cannot tell"
    named = [line.partition(":")[0] for line in differences(before, made)]
    assert named == ["verdict", "AUROC", "undefended asr", "defended racc"]


@pytest.fixture
def status():
    """Where this device's figures go, kept as they come."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    folder = ROOT / "results" / "status"
    path = folder / f"{torch.cuda.get_device_name().replace(' ', '-').lower()}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def keep(**figures):
        known.update(report.provenance("pytest -m gpu", seed=0, backbone="minilm"), **figures)
        write_json(known, path)

    return keep


@pytest.mark.gpu
def test_the_way_through_agrees_with_the_cpu(status, tmp_path, monkeypatch):
    monkeypatch.setenv("BEDKD_CACHE", str(tmp_path / "cache"))
    start = time.perf_counter()
    path = experiments.run(experiments.chapter_cell("quick"), tmp_path / "results", "quick")
    made = json.loads(path.read_text(encoding="utf-8"))
    status(way_through_seconds=round(time.perf_counter() - start, 1))
    assert differences(stored(), made) == []


@pytest.mark.gpu
@pytest.mark.parametrize("number", range(1, 7))
def test_a_chapter_runs(status, number):
    path = next(Path(p) for p in chapters() if Path(p).name.startswith(f"{number:02d}_"))
    start = time.perf_counter()
    run_notebooks.run(path)
    status(**{f"{path.stem}_seconds": round(time.perf_counter() - start, 1)})
