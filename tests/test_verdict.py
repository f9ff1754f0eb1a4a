"""When the defender's rows say too little for a verdict, nothing is trained and nothing changed."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from bedkd import Case, Parts, data, purify
from bedkd.detectors import DETECTORS, BeDKDDetector, Detection, DirectionalMapping, TriggerProbe
from bedkd.detectors.base import too_few
from bedkd.errors import InputError
from bedkd.purify import detect
from bedkd.training.loop import Trainer


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    def train(*_):
        raise AssertionError("nothing may be trained")

    monkeypatch.setattr(Trainer, "train", train)


@dataclass(frozen=True)
class Alarm:
    """Calls every model backdoored."""

    def detect(self, case, run=None):
        everything = np.ones(len(case.untrusted), bool)
        return Detection(everything.astype(float), everything, 0.0, True)


def verdict(case, detector=None):
    """The reasons why there is no verdict, and that nothing was done, forced or not."""
    result = purify(case, detector or Alarm(), force=True)
    assert result.verdict == "cannot tell"
    assert result.model is case.model
    assert (result.changed, result.target_label) == (False, None)
    assert not result.detection.flagged.any()
    report = result.to_dict()
    assert report["cannot_tell"] == result.detection.cannot_tell
    assert report["threshold"] is None
    return result.detection.cannot_tell


def without(rows, label):
    return rows.filter(lambda row: row["label"] != label)


def test_a_class_without_trusted_rows_is_named(toy, tokenizer):
    model = toy.bert(tokenizer, classes=4)
    model.config.id2label = {0: "sport", 1: "trade", 2: "world", 3: "science"}
    trusted, untrusted = without(toy.rows(160, 1, classes=4), 3), toy.rows(80, 2, classes=4)
    reasons = verdict(Case(model, tokenizer, trusted, untrusted, Parts(4, 20, 10)))
    assert len(reasons) == 1
    assert "label science (3), but 20 untrusted rows do" in reasons[0]


def test_a_class_that_nobody_has_is_no_gap(toy, tokenizer):
    model = toy.bert(tokenizer, classes=4)
    rows = [without(toy.rows(160, seed, classes=4), 3) for seed in (1, 2)]
    assert Case(model, tokenizer, *rows, Parts(4, 20, 10)).gaps == []


@pytest.mark.parametrize(("rows", "enough"), [(5, False), (6, True)])
def test_every_class_needs_trusted_rows_for_three_parts(bert, tokenizer, toy, rows, enough):
    zeros, ones = (without(toy.rows(80, 1), label) for label in (1, 0))
    trusted = data.make(
        zeros["text"][:] + ones["text"][:rows], zeros["label"][:] + ones["label"][:rows], None
    )
    case = Case(bert, tokenizer, trusted, toy.rows(40), Parts(4, 4, 4))
    if enough:
        assert case.gaps == []
    else:
        assert "only 5 rows of label 1; give at least 6" in verdict(case)[0]


def test_trusted_rows_of_one_class_say_nothing(bert, tokenizer, toy):
    case = Case(bert, tokenizer, without(toy.rows(40), 1), toy.rows(40), Parts(4, 4, 4))
    assert any("fewer than two classes" in reason for reason in verdict(case))


@pytest.mark.parametrize(
    ("name", "null"), [("bedkd", 8), ("dmm", 8), ("content", 12), ("wording", 12), ("probe", 12)]
)
def test_too_few_trusted_rows_for_the_threshold(bert, tokenizer, toy, name, null):
    case = Case(bert, tokenizer, toy.rows(12), toy.rows(600, 2), Parts(40, 100, 60))
    reasons = verdict(case, DETECTORS[name]())
    assert f"{null} trusted rows to compare with" in reasons[0]
    assert "at least 19" in reasons[0]


def test_where_the_probe_could_decide_the_detector_goes_on(bert, tokenizer, toy):
    # 16 held-out trusted rows are too few for scores; the probe compares with all 24.
    case = Case(bert, tokenizer, toy.rows(24), toy.rows(600, 2), Parts(4, 4, 4))
    assert not BeDKDDetector().missing(case)
    assert BeDKDDetector(probe=None).missing(case)
    assert BeDKDDetector(wording=None).missing(case)
    assert BeDKDDetector(probe=TriggerProbe(fdr=0.01)).missing(case)


def test_a_fixed_threshold_needs_no_rows_to_compare_with(bert, tokenizer, toy):
    paper = DirectionalMapping(score="distance", gamma=0.1)
    case = Case(bert, tokenizer, toy.rows(12), toy.rows(600, 2), Parts(2, 2, 2))
    with pytest.raises(AssertionError, match="nothing may be trained"):
        paper.detect(case)
    assert replace(paper, gamma=None).detect(case).verdict == "cannot tell"


def test_fewer_untrusted_rows_than_a_verdict_needs():
    assert "15 untrusted rows: a verdict needs 16" in too_few(999, 15, 0.05, 16)[0]
    assert too_few(999, 16, 0.05, 16) == []
    assert too_few(18, 100, 0.05) != [] == too_few(19, 100, 0.05)


def long_rows(toy, count, length):
    """Rows of which every tenth has ``length`` tokens."""
    rows = toy.rows(count, 2)
    texts = [t if i % 10 else "word1 " * (length - 2) for i, t in enumerate(rows["text"])]
    return data.make(texts, rows["label"], None)


def test_rows_cut_where_the_model_reads_on(bert, tokenizer, toy):
    bert.config.bedkd_max_length = 32
    trusted, untrusted = toy.rows(80, 1), long_rows(toy, 50, 30)
    untrusted = data.make([*untrusted["text"][:], "word1 " * 28], [*untrusted["label"][:], 0], None)
    cut = Case(bert, tokenizer, trusted, untrusted, Parts(4, 20, 10), max_length=20)
    assert cut.cut_share == pytest.approx(6 / 51)
    reasons = verdict(cut)
    assert "12% of the untrusted rows reach 20 tokens" in reasons[0]
    assert "the model reads 32" in reasons[0]
    bert.config.bedkd_max_length = 20  # the model reads no further: nothing hides there
    assert Case(bert, tokenizer, trusted, untrusted, Parts(4, 20, 10)).max_length == 20
    assert Case(bert, tokenizer, trusted, untrusted, Parts(4, 20, 10)).gaps == []
    bert.config.bedkd_max_length = 32
    fewer = Case(bert, tokenizer, trusted, long_rows(toy, 50, 30), Parts(4, 20, 10), max_length=20)
    assert fewer.gaps == []
    assert "10% of the untrusted rows reach 20 tokens" in detect(fewer, Alarm())[1][0]


@pytest.mark.parametrize(("which", "labels"), [("trusted", [0, 1, 2]), ("untrusted", [0, -1, 1])])
def test_labels_that_the_model_does_not_know_are_bad_input(bert, tokenizer, toy, which, labels):
    sets = {"trusted": toy.rows(40), "untrusted": toy.rows(40)}
    sets[which] = data.make(list("abc"), labels, None)
    row = next(i for i, label in enumerate(labels) if label not in (0, 1))
    with pytest.raises(InputError, match=f"the {which} set, row {row}: label {labels[row]}, but"):
        Case(bert, tokenizer, **sets)
