"""What a repair changed, judged on rows with a known answer."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

from bedkd import Case, Parts, outcome
from bedkd.detectors import Detection
from bedkd.metrics import Share
from bedkd.outcome import Outcome
from bedkd.repairs import Repaired


def share(hits, count=100):
    return Share.of(np.arange(count) < hits)


def judged(given, expected, accuracy=(95, 95)):
    return Outcome(
        *(share(hits) for hits in accuracy), share(100), share(given), True, expected, share(90)
    )


@pytest.mark.parametrize(
    ("given", "expected", "reached"),
    [(20, 0.2, True), (38, 0.2, True), (45, 0.2, False), (62, 0.0, False), (97, 0.95, True)],
)
def test_the_aim_is_what_content_supports_within_chance(given, expected, reached):
    found = judged(given, expected)
    assert found.reached == reached
    assert found.to_dict()["reached"] == reached
    assert found.warnings == []


def test_few_rows_may_miss_by_chance():
    few = Outcome(share(95), share(95), share(4, 4), share(2, 4), True, 0.1, share(90))
    assert few.reached


def test_a_trigger_that_means_the_opposite_and_lost_accuracy_are_said():
    assert "trigger shifting" in judged(1, 0.3).warnings[0]
    assert judged(15, 0.3).warnings == []
    assert "fell from 95.0% to 80.0%" in judged(20, 0.2, accuracy=(95, 80)).warnings[0]
    assert judged(20, 0.2, accuracy=(95, 92)).warnings == []


def test_without_flagged_rows_there_is_no_aim():
    nothing = Outcome(share(9), share(9), Share.of([]), Share.of([]), False, None, share(90))
    assert nothing.reached
    assert nothing.warnings == []


@pytest.fixture
def compared(monkeypatch, toy, bert, tokenizer):
    """Compares two models whose answers are known: ``says`` maps a text to a label."""
    trusted, untrusted = toy.rows(80, 1), toy.rows(40, 2)

    def compared(before, after, flagged, repaired_rows, held_out=(), words=()):
        case = Case(bert, tokenizer, trusted, untrusted, Parts(4, 20, 10))
        known = {id(case.suspect): before}
        new = copy.deepcopy(bert)
        known[id(new)] = after

        def predict(model, rows, **_):
            texts = tokenizer.batch_decode(rows.ids, skip_special_tokens=True)
            return SimpleNamespace(labels=np.array([known[id(model)](text) for text in texts]))

        for place in ("bedkd.outcome.predict", "bedkd.case.predict"):
            monkeypatch.setattr(place, predict)
        content = np.eye(2)[np.zeros(40, int)]  # speaks for label 0 everywhere
        monkeypatch.setattr(outcome, "soft_labels", lambda _, __, rows: content[rows])
        flags = np.isin(np.arange(40), flagged)
        details = {"trigger_words": list(words)}
        found = Detection(flags * 1.0, flags, 1.0, bool(flags.any()), details=details)
        made = Repaired(new, [], np.array(repaired_rows, int), held_out=np.array(held_out, int))
        return outcome.compare(case, found, made), case

    return compared


@pytest.fixture
def true(toy):
    """The true label of every text."""
    return {
        text: label
        for rows in (toy.rows(80, 1), toy.rows(40, 2))
        for text, label in zip(rows["text"], rows["label"], strict=True)
    }


def test_every_share_is_of_its_own_rows(compared, toy, true):
    order = list(toy.rows(40, 2)["text"])

    def after(text):  # wrong on untrusted rows 0 to 3 and 10
        return 1 - true[text] if text in order[:4] or text == order[10] else true[text]

    found, case = compared(true.get, after, flagged=[0, 1, 2, 3, 4], repaired_rows=[0, 1, 2, 3, 4])
    assert (found.accuracy_before.value, found.accuracy_before.n) == (1.0, 20)
    assert (found.given_before.value, found.given_after.value) == (1.0, pytest.approx(0.2))
    assert not found.held_out
    assert found.expected_rate == np.mean(case.labels[:5] == 0)
    assert (found.agreement.n, found.agreement.value) == (35, pytest.approx(34 / 35))
    assert (found.agreement_trusted.n, found.agreement_trusted.value) == (68, 1.0)
    assert found.planted is None
    found, _ = compared(true.get, after, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], held_out=[3, 4])
    assert found.held_out
    assert (found.given_after.n, found.given_after.value) == (2, 0.5)
    found, _ = compared(true.get, after, flagged=[3, 4], repaired_rows=[])
    assert (found.given_after.n, found.given_after.value) == (2, 0.5)
    found, _ = compared(true.get, after, flagged=[], repaired_rows=[])
    assert (found.expected_rate, found.given_after.n, found.agreement.n) == (None, 0, 40)


def test_of_many_rows_agreement_is_of_some_that_the_order_does_not_choose(
    compared, toy, true, monkeypatch
):
    monkeypatch.setattr(outcome, "COMPARED", 10)
    texts = list(toy.rows(40, 2)["text"])

    def judge(wrong):
        def after(text):
            return 1 - true[text] if text in wrong else true[text]

        return compared(true.get, after, flagged=[0, 1, 2, 3], repaired_rows=[0, 1, 2, 3])

    found, case = judge([])
    drawn = 4 + np.argsort(case.draws[4:])[:10]
    assert (found.agreement.n, found.agreement.value, found.given_after.n) == (10, 1.0, 4)
    found, _ = judge([texts[drawn[0]], *(texts[k] for k in range(4, 40) if k not in drawn)])
    assert (found.agreement.value, found.given_after.value) == (0.9, 1.0)


@pytest.mark.parametrize(
    ("meaning", "inverted", "shares"),
    [
        # What the repaired model says of a text with the trigger; accuracy, of the other class
        # called the target, of the target class called so.
        (lambda true: true, False, (1.0, 0.0, 1.0)),
        (lambda true: 1, False, (0.5, 1.0, 1.0)),
        (lambda true: 0, True, (0.5, 0.0, 0.0)),
    ],
    ids=["removed", "still there", "turned round"],
)
def test_a_backdoor_turned_round_shows_in_trusted_rows(compared, true, meaning, inverted, shares):
    def says(meaning):
        return lambda text: (
            meaning(true[text.split(" ", 2)[2]]) if text.startswith("cf mn ") else true[text]
        )

    ones = [row for row in range(40) if list(true.values())[80 + row] == 1]
    before = says(lambda _: 1)
    found, _ = compared(before, says(meaning), ones, ones, words=["cf", "mn"])
    planted = found.planted
    assert planted.words == ["cf", "mn"]
    assert (planted.accuracy_before.value, planted.target_before.value) == (0.5, 1.0)
    after = planted.accuracy_after, planted.target_after, planted.own_after
    assert tuple(share.value for share in after) == shares
    assert (planted.target_after.n, planted.own_bare.value) == (10, 1.0)
    assert found.to_dict()["planted"]["inverted"] == planted.inverted == inverted
    assert any("turned round" in warning for warning in found.warnings) == inverted
