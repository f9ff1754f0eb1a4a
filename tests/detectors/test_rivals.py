"""The threshold and the verdict that published detectors share here."""

import numpy as np
import pytest

from bedkd.detectors import DETECTORS, flag_by_fpr
from bedkd.detectors.base import Rival
from bedkd.errors import InputError

RIVALS = [name for name, kind in DETECTORS.items() if issubclass(kind, Rival)]


def test_threshold_and_p_value_by_hand():
    # k = ⌈(3 + 1)(1 − 0.5)⌉ = 2: the second of three. Of one new row, P(above) = (3 + 1 − 2) / 4.
    found = flag_by_fpr(np.array([2.5]), np.array([3.0, 1.0, 2.0]), 0.5, min_flagged=1)
    assert found.threshold == 2.0
    assert found.flagged.tolist() == [True]
    assert found.p_value == pytest.approx(0.5)
    # k = 19 of 19: both of two new rows above the largest of 19 is 1 in 21 choose 2.
    found = flag_by_fpr(np.array([99.0, 98.0]), np.arange(19.0), 0.05)
    assert found.threshold == 18.0
    assert found.p_value == pytest.approx(1 / 210)


def test_rows_at_the_threshold_are_not_flagged():
    found = flag_by_fpr(np.zeros(100), np.zeros(40), 0.05)
    assert not found.flagged.any()
    assert found.p_value == 1
    assert not found.is_backdoored


def test_clean_rows_alone_are_flagged_at_the_rate_asked_for_and_rarely_accused():
    rng, flagged, accused = np.random.default_rng(0), [], []
    for _ in range(1000):
        found = flag_by_fpr(rng.random(400), rng.random(99), 0.1, min_flagged=1)
        flagged.append(found.flagged.mean())
        accused.append(found.p_value <= 0.05)
    assert np.mean(flagged) == pytest.approx(0.1, abs=0.005)
    # A binomial tail, which takes the threshold for known, would accuse one in five.
    assert np.mean(accused) < 0.065


def test_the_verdict_takes_both_rows_enough_and_a_small_p_value():
    null, scores = np.arange(99.0), np.repeat([0.0, 200.0], [60, 40])
    assert flag_by_fpr(scores, null, 0.05).is_backdoored
    assert not flag_by_fpr(scores, null, 0.05, min_flagged=41).is_backdoored
    assert not flag_by_fpr(scores, null, 0.05, level=1e-30).is_backdoored
    assert not flag_by_fpr(np.repeat([0.0, 200.0], [584, 16]), null, 0.05).is_backdoored


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("option", [{"fpr": 0.0}, {"fpr": 1.0}, {"min_flagged": 0}])
def test_settings_that_make_no_sense(name, option):
    with pytest.raises(InputError, match=f"{next(iter(option))}=.*give"):
        DETECTORS[name](**option)


@pytest.mark.parametrize("name", RIVALS)
def test_without_trusted_rows_enough_there_is_no_verdict(name, case):
    found = DETECTORS[name](fpr=0.001).detect(case)
    assert found.verdict == "cannot tell"
    assert "it takes at least 999" in found.cannot_tell[0]
    found = DETECTORS[name](min_flagged=len(case.untrusted) + 1).detect(case)
    assert "give more" in found.cannot_tell[0]


@pytest.mark.parametrize(("rows", "enough"), [(19, True), (18, False)])
def test_nineteen_trusted_rows_are_enough_for_one_in_twenty(case, monkeypatch, rows, enough):
    monkeypatch.setattr(Rival, "null_rows", lambda self, case: rows)
    assert (Rival().missing(case) == []) == enough


def test_the_rate_and_the_minimum_decide(case, monkeypatch):
    scores = np.arange(320.0), np.arange(120.0)
    monkeypatch.setattr(Rival, "score", lambda self, case, run: (*scores, {"seen": 1}))
    strict, lax = (Rival(fpr=fpr).detect(case) for fpr in (0.05, 0.5))
    assert strict.flagged.sum() < lax.flagged.sum()
    assert lax.details == {"seen": 1}
    assert lax.is_backdoored
    assert not Rival(fpr=0.5, min_flagged=int(lax.flagged.sum()) + 1).detect(case).is_backdoored
