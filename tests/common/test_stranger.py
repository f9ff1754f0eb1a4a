"""A method by somebody who has read two docstrings: one short file, one line in a dict, no more."""

import inspect
import json

import pytest
from chapters import ROOT
from checks import DETECTOR_CHECKS, REPAIR_CHECKS
from stranger.fine_tuning import FineTuning
from stranger.sureness import Sureness
from typer.testing import CliRunner

from bedkd import cli, purify
from bedkd.detectors import DETECTORS
from bedkd.repairs import REPAIRS

NAMES = ("--detector", "sureness", "--repair", "fine-tuning")


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(DETECTORS, "sureness", Sureness)
    monkeypatch.setitem(REPAIRS, "fine-tuning", FineTuning)


@pytest.mark.parametrize("method", [Sureness, FineTuning])
def test_a_method_is_one_short_file_and_the_guide_shows_it(method):
    text = inspect.getsource(inspect.getmodule(method))
    assert len(text.splitlines()) < 40
    assert f"```python\n{text}```" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_detector(lab, check):
    check(lab, "sureness")


@pytest.mark.parametrize("check", REPAIR_CHECKS, ids=lambda check: check.__name__)
def test_repair(lab, check):
    check(lab, "fine-tuning")


def test_python(case, victim):
    result = purify(case, Sureness(fdr=0.1), FineTuning(epochs=1), force=True)
    assert result.changed
    assert result.model is not victim
    settings = result.to_dict()["settings"]
    assert settings["detector"] == {"name": "Sureness", "fdr": 0.1, "min_flagged": 16}
    assert settings["repair"] == {"name": "FineTuning", "epochs": 1, "lr": 1e-3}


@pytest.fixture
def bedkd(victim, checkpoint, task, tmp_path):
    """Runs a command on the toy victim's files, which must succeed, and returns its JSON."""
    task.write(tmp_path / "files")
    files = {"model": checkpoint(victim), "trusted": tmp_path / "files" / "dev-clean.csv"}
    files["untrusted"] = tmp_path / "files" / "train.csv"

    def bedkd(command, output, *options):
        words = [command, "--output", output, *options, "--json", "--quiet"]
        for name, path in files.items():
            words += [f"--{name}", path]
        result = CliRunner().invoke(cli.app, [str(word) for word in words])
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return bedkd


def test_command_line(bedkd, task, tmp_path):
    found = bedkd("detect", tmp_path / "scores.csv", *NAMES[:2])
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == len(task.train) + 1
    assert found["rows"] == len(task.train)
    made = bedkd("purify", tmp_path / "purified", *NAMES, "--force")
    assert made["settings"]["detector"]["name"] == "Sureness"
    assert made["settings"]["repair"]["name"] == "FineTuning"
    assert made["repair_history"][0]["step"] == 1
    assert (tmp_path / "purified" / "model.safetensors").is_file()
