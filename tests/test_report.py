"""Results as text."""

import re
from importlib.metadata import version

import pytest

from bedkd import report
from bedkd.errors import InputError
from bedkd.repairs.stopping import CONVERGED, MAX_CYCLES, PLATEAU

SHARE = {"value": 0.975, "low": 0.968, "high": 0.981, "n": 1821}
NOTHING = {"value": None, "low": None, "high": None, "n": 0}


def test_provenance_names_what_a_number_needs():
    record = report.provenance("bedkd x", seed=3, backbone="minilm")
    assert (record["command"], record["seed"], record["backbone"]) == ("bedkd x", 3, "minilm")
    assert record["versions"]["torch"] == version("torch")
    assert {"python", "bedkd", "transformers", "datasets"} <= set(record["versions"])
    assert record["device"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", record["date"])


def test_percent():
    assert report.percent(SHARE) == "97.5 % (96.8–98.1, n = 1821)"
    assert report.percent(None) == report.percent(NOTHING) == "–"


def columns(markdown):
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    return {line.count("|") for line in rows}


def test_evaluation_table_puts_floor_and_ceiling_beside():
    low = {**SHARE, "value": 0.041}
    empty = dict.fromkeys(
        ["asr", "racc", "racc_by_class", "cacc_reference", "asr_floor", "racc_ceiling"]
    )
    result = {"cacc": SHARE, **empty, "racc_ceiling_by_class": None}
    result |= {"asr": SHARE, "asr_floor": low, "racc_by_class": {"1": SHARE}}
    text = report.evaluation_markdown(result)
    assert columns(text) == {4}
    asr = next(line for line in text.splitlines() if "ASR" in line)
    assert asr.index("97.5 %") < asr.index("4.1 %")
    assert "RACC, class 1" in text


def purification(**changes):
    return {
        "verdict": "backdoor suspected",
        "changed": True,
        "target_label": 1,
        "rows": 100,
        "flagged": 20,
        "detection": detection(),
        "repair_rows": [1, 2, 3],
        "repair_history": [
            {
                "cycle": 1,
                "held_out_accuracy": 0.9,
                "flagged_given_label": 0.2,
                "expected_rate": 0.1,
            }
        ],
        "repair": {"stopped": PLATEAU},
        "warnings": ["be careful"],
        **changes,
    }


def detection(**changes):
    return {
        "mapping_history": [{"epoch": 1, "loss": 1.0, "held_out_p_true": 0.25}],
        "min_detectable": 7,
        "wording_auroc": 0.934,
        "examined": 0,
        "trigger_words": ["cf", "mn"],
        **changes,
    }


def test_purification_report_says_what_was_done():
    text = report.purification_markdown(purification())
    for part in (
        "backdoor suspected",
        "20 of 100",
        "target label: 1",
        "3 of",
        "be careful",
        "0.93",
        "`cf`, `mn`",
        "ended after cycle 1: flagged rows held out from it no longer came down.",
    ):
        assert part in text
    assert "byte for byte" not in text
    assert "noticed" not in text
    assert "Pieces" not in text
    decided = report.purification_markdown(purification(detection=detection(examined=96)))
    assert "Pieces of 96 of them were put in front of trusted texts" in decided
    assert "that gave the evidence" in decided
    text = report.purification_markdown(
        purification(
            changed=False,
            target_label=None,
            flagged=0,
            detection=detection(wording_auroc=None, examined=40),
            repair_rows=[],
            repair_history=[],
            repair={},
        )
    )
    assert "that gave no evidence" in text
    assert "byte for byte" in text
    assert "Fewer than 7 poisoned rows (7.0%" in text
    assert "words" not in text
    assert "target label" not in text
    assert "## Distillation" not in text


@pytest.mark.parametrize(
    ("stopped", "said"),
    [
        (CONVERGED, "were treated as their content supports"),
        (PLATEAU, "the mean of its weights after the last cycles"),
        (MAX_CYCLES, "no more were configured"),
    ],
)
def test_the_report_says_why_the_repair_ended(stopped, said):
    text = report.purification_markdown(purification(repair={"stopped": stopped}))
    assert said in " ".join(text.split())


def test_a_report_needs_no_figures_of_our_own_methods():
    text = report.purification_markdown(
        purification(detection={}, repair={}, repair_history=[{"epoch": 1, "loss": 0.5}])
    )
    assert "20 of 100" in text
    assert "## " not in text


def test_stored_measurements_are_found_from_below(tmp_path, monkeypatch):
    stage = tmp_path / "results" / "clean-quick"
    (tmp_path / "notebooks").mkdir()
    stage.mkdir(parents=True)
    for name in "ba":
        (stage / f"{name}.json").write_text(f'{{"name": "{name}"}}', encoding="utf-8")
    monkeypatch.chdir(tmp_path / "notebooks")
    assert [record["name"] for record in report.stored("clean-quick")] == ["a", "b"]
    assert report.stored("clean-quick", tmp_path / "results") == report.stored("clean-quick")
    with pytest.raises(InputError, match="no folder results/other here or above"):
        report.stored("other")
