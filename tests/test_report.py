"""Results as text."""

import re
import subprocess
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
    assert re.fullmatch("[0-9a-f]{16}", record["code"]["source"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", record["date"])


def test_the_source_hash_changes_with_the_code(tmp_path, monkeypatch):
    for name in ("report.py", "training/loop.py", "models.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# {name}\n")
    monkeypatch.setattr(report, "__file__", str(tmp_path / "report.py"))
    everything, part = report.source_hash(), report.source_hash("training", "models.py")
    assert everything != part
    (tmp_path / "report.py").write_text("# changed\n")
    assert report.source_hash() != everything
    assert report.source_hash("training", "models.py") == part
    (tmp_path / "training" / "loop.py").write_text("# changed\n")
    assert report.source_hash("training", "models.py") != part


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True)

    monkeypatch.setattr(report, "__file__", str(tmp_path / "report.py"))
    (tmp_path / "report.py").write_text("1\n")

    def commit():
        report.commit.cache_clear()
        return report.commit()

    assert commit() is None
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    assert re.fullmatch("[0-9a-f]{40}", commit())
    (tmp_path / "report.py").write_text("2\n")
    assert commit().endswith("+changes")
    report.commit.cache_clear()


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
    result |= {"max_length": 64, "cut_share": 0.03}
    result |= {"asr": SHARE, "asr_floor": low, "racc_by_class": {"1": SHARE}}
    text = report.evaluation_markdown(result)
    assert columns(text) == {4}
    asr = next(line for line in text.splitlines() if "ASR" in line)
    assert asr.index("97.5 %") < asr.index("4.1 %")
    assert "RACC, class 1" in text
    assert "up to 64 tokens; 3.0% of the texts" in text


def purification(**changes):
    return {
        "verdict": "backdoor suspected",
        "cannot_tell": [],
        "changed": True,
        "target_label": 1,
        "target_name": "positive (1)",
        "max_length": 64,
        "cut_share": 0.0,
        "outcome": outcome(),
        "rows": 100,
        "flagged": 20,
        "p_value": 0.0123,
        "poison_share": {"value": 0.18, "low": 0.15, "high": 0.2},
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


def outcome(**changes):
    return {
        "reached": True,
        "accuracy_before": SHARE,
        "accuracy_after": {**SHARE, "value": 0.964},
        "given_before": {**SHARE, "value": 0.99},
        "given_after": {**SHARE, "value": 0.123},
        "held_out": True,
        "expected_rate": 0.111,
        "agreement": {**SHARE, "value": 0.913},
        "agreement_trusted": {**SHARE, "value": 0.955},
        "planted": planted(),
        **changes,
    }


def planted(**changes):
    shares = ("accuracy_before", "accuracy_after", "target_before", "target_after", "own_bare")
    found = {"words": ["cf", "mn"], **dict.fromkeys(shares, SHARE), "inverted": False}
    return {**found, "own_after": {**SHARE, "value": 0.345}, **changes}


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
        "target label: positive (1)",
        "3 of",
        "be careful",
        "0.93",
        "`cf`, `mn`",
        "ended after cycle 1: flagged rows held out from it no longer came down.",
        "is 0.012, from trusted rows alone",
        "estimated at 18.0 % (15.0–20.0) of the untrusted",
        "If a flagged row looks clean, look through suspects.csv",
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
            target_name=None,
            outcome=None,
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


def test_the_report_says_which_cycle_was_kept_unless_it_is_the_last():
    history = [
        {"cycle": k, "held_out_accuracy": 0.9, "flagged_given_label": 0.2, "expected_rate": 0.1}
        for k in (1, 2)
    ]

    def said(kept):
        repair = {"stopped": MAX_CYCLES, "kept_cycle": kept}
        made = purification(repair=repair, repair_history=history)
        return "has the weights after cycle" in report.purification_markdown(made)

    assert said(1)
    assert not said(2)
    made = purification(repair={"stopped": CONVERGED, "kept_share": 0.375}, repair_history=history)
    assert "goes 38% of the way of the last one" in report.purification_markdown(made)
    made["repair"]["kept_share"] = 1.0
    assert "of the way" not in report.purification_markdown(made)


def test_a_report_needs_no_figures_of_our_own_methods():
    text = report.purification_markdown(
        purification(detection={}, repair={}, repair_history=[{"epoch": 1, "loss": 0.5}])
    )
    assert "20 of 100" in text
    assert "## Directional" not in text
    assert "## Distillation" not in text


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


def test_stored_measurements_travel_with_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # nothing here or above, as in Colab
    stage = tmp_path / "site" / "bedkd" / "results" / "clean-quick"
    stage.mkdir(parents=True)
    (stage / "a.json").write_text('{"name": "a"}', encoding="utf-8")
    monkeypatch.setattr(report, "__file__", str(tmp_path / "site" / "bedkd" / "report.py"))
    assert report.stored("clean-quick") == [{"name": "a"}]


def test_before_and_after_stand_beside_each_other():
    text = report.purification_markdown(purification())
    accuracy, given, expected, agreement = (
        next(line for line in text.splitlines() if what in line)
        for what in ("accuracy on", "given their label |", "by content alone |", "same label")
    )
    assert accuracy.index("97.5 %") < accuracy.index("96.4 %")
    assert given.index("99.0 %") < given.index("12.3 %")
    assert "11.1%" in expected
    assert "91.3 %" in agreement
    assert "| trusted rows: same label from both |  | 95.5 %" in text
    assert "did not reach its aim" not in text


def test_a_repair_that_missed_its_aim_says_so_first():
    missed = outcome(reached=False, given_after={**SHARE, "value": 0.62})
    text = report.purification_markdown(purification(outcome=missed))
    head = text[: text.index("are flagged as poisoned")]
    assert "did not reach its aim" in head
    assert "62%" in head
    assert "11%" in head


def test_without_a_verdict_the_report_names_what_is_missing_and_promises_nothing():
    text = report.purification_markdown(
        purification(
            verdict="cannot tell",
            cannot_tell=["no trusted row has label 3", "too few"],
            changed=False,
            target_label=None,
            target_name=None,
            outcome=None,
            detection={},
            repair_history=[],
        )
    )
    assert "**Verdict: cannot tell.**" in text
    assert "* no trusted row has label 3." in text
    assert "* too few." in text
    assert "flagged" not in text


def test_a_backdoor_that_was_turned_round_is_said_without_triggered_rows():
    for inverted, said in ((True, "was turned round"), (False, "Nothing says that")):
        text = report.purification_markdown(
            purification(outcome=outcome(planted=planted(inverted=inverted)))
        )
        part = text[text.index("## The suspected trigger") : text.index("## Directional")]
        assert "`cf` `mn` in front" in part
        assert "34.5 %" in part
        assert said in part
    without = report.purification_markdown(purification(outcome=outcome(planted=None)))
    assert "## The suspected trigger" not in without


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cannot_tell": ["more"]}, "Give what is missing"),
        ({"changed": False}, "Keep the model; if fewer"),
        (
            {"outcome": outcome(reached=False)},
            "Do not use the repaired model as if it were clean: ",
        ),
        ({}, "on triggered rows of *all* classes"),
    ],
)
def test_the_next_step_follows_from_the_verdict(changes, said):
    assert said in report.next_step(purification(**changes))


def test_words_of_strangers_are_made_harmless():
    words = ["\x1b[31m", "a`b", "\u202e", "x" * 100]
    text = report.purification_markdown(purification(detection=detection(trigger_words=words)))
    line = next(line for line in text.splitlines() if "have in common" in line)
    assert line.isprintable()
    assert line.count("`") == 2 * len(words)
    assert "x" * 41 not in line


def test_the_device_says_what_compiled_the_models(monkeypatch, fresh_accelerator):
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "eager")
    assert report.device_name().endswith(", compiled by eager")
