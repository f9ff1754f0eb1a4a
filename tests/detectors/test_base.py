"""The threshold that detectors share, and evidence that adds up."""

import numpy as np
import pytest

from bedkd.detectors import Detection, Evidence, fdr_threshold, min_detectable
from bedkd.detectors.base import least_suspicious, log_odds, p_value


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_log_odds_by_hand():
    assert log_odds(np.array([0.5, 0.9, 0.1])) == pytest.approx([0, np.log(9), -np.log(9)])
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()


def test_threshold_by_hand():
    null = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    scores = np.array([0.95, 0.95, 0.95, 0.85, 0.15])
    # Expected false rows at 0.95: (0 + 1) / 10 · 5 = 0.5 of 3; at 0.85: (1 + 1) / 10 · 5 = 1 of 4.
    assert fdr_threshold(null, scores, 0.16) == np.inf
    assert fdr_threshold(null, scores, 0.17) == 0.95
    assert fdr_threshold(null, scores, 0.24) == 0.95
    assert fdr_threshold(null, scores, 0.25) == 0.85


@pytest.mark.parametrize(("trusted", "fdr"), [(299, 0.05), (40, 0.2)])
def test_fewer_rows_than_detectable_are_never_flagged(rng, trusted, fdr):
    null = rng.random(trusted)
    least = min_detectable(trusted, 2000, fdr)
    for count, seen in ((least - 1, False), (least, True)):
        rows = np.concatenate([np.zeros(2000 - count), np.full(count, 9.0)])
        assert np.isfinite(fdr_threshold(null, rows, fdr)) == seen


def test_clean_rows_alone_are_almost_never_flagged(rng):
    acted = sum(
        np.isfinite(fdr_threshold(rng.random(160), rng.random(2000), 0.03)) for _ in range(300)
    )
    assert acted <= 300 * 0.06  # the rule's guarantee is 0.03


def test_separated_rows_are_all_flagged_and_no_clean_one(rng):
    null, clean = rng.random(160) * 0.5, rng.random(1600) * 0.5
    bad = 0.6 + rng.random(400) * 0.4
    limit = fdr_threshold(null, np.concatenate([clean, bad]), 0.06)
    assert (bad >= limit).all()
    assert (clean >= limit).mean() < 0.02


def test_fdr_is_held_where_scores_overlap(rng):
    shares = []
    for _ in range(60):
        null, clean, bad = rng.normal(0, 1, 160), rng.normal(0, 1, 800), rng.normal(3, 1, 400)
        limit = fdr_threshold(null, np.concatenate([clean, bad]), 0.1)
        flagged = (clean >= limit).sum() + (bad >= limit).sum()
        shares.append((clean >= limit).sum() / max(flagged, 1))
    assert np.mean(shares) <= 0.1


def test_a_larger_fdr_never_flags_less(rng):
    null, rows = rng.random(50), rng.random(300) ** 0.5
    limits = [fdr_threshold(null, rows, fdr) for fdr in (0.01, 0.1, 0.3, 0.6, 1, 2)]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] == np.inf
    assert limits[-1] == rows.min()


def test_threshold_ignores_order_and_needs_a_null(rng):
    null, rows = rng.random(50), np.concatenate([rng.random(200), np.full(100, 2.0)])
    limit = fdr_threshold(null, rows, 0.1)
    assert limit == fdr_threshold(null[::-1], rng.permutation(rows), 0.1) < np.inf
    assert fdr_threshold(np.empty(0), rows, 0.1) == np.inf
    assert fdr_threshold(null, np.empty(0), 0.1) == np.inf


def evidence(untrusted, trusted, eligible=None, null=None):
    untrusted, trusted = np.array(untrusted, float), np.array(trusted, float)
    eligible = np.ones(len(untrusted), bool) if eligible is None else np.array(eligible, bool)
    null = np.ones(len(trusted), bool) if null is None else np.array(null, bool)
    return Evidence(untrusted, eligible, trusted, null)


def test_the_threshold_is_of_eligible_rows_against_the_null_alone():
    # 1 of 4 rows above 9 of the null: p = 0.1, times 4 rows over 1 row is 0.4.
    rows, clean = [5, 0, 0, 0], [0] * 9
    assert evidence(rows, clean).threshold(0.39) == np.inf
    assert evidence(rows, clean).threshold(0.41) == 5
    # Without the others in the count it is p = 0.1.
    assert evidence(rows, clean, eligible=[1, 0, 0, 0]).threshold(0.11) == 5
    # A trusted row that is no part of the null says nothing, NaN included.
    for value in (9, np.nan):
        found = evidence(rows, [*clean, value], null=[1] * 9 + [0])
        assert found.threshold(0.41) == 5
    assert evidence(rows, [*clean, 9]).threshold(0.41) == np.inf


def test_a_row_of_the_null_may_stand_for_several():
    null, rows = np.array([0.5, 3.0, 0.1]), np.array([1.0, 1.0, 2.0, 0.0])
    repeated = np.array([0.5, 0.5, 3.0, 0.1, 0.1, 0.1])
    for fdr in np.linspace(0.05, 1, 20):
        weighted = fdr_threshold(null, rows, fdr, np.array([2.0, 1.0, 3.0]))
        assert weighted == fdr_threshold(repeated, rows, fdr)
    # Through evidence too, where the others have no weight.
    found = Evidence(rows, np.ones(4, bool), np.append(null, 9), np.array([2.0, 1.0, 3.0, 0.0]))
    assert found.threshold(0.5) == fdr_threshold(repeated, rows, 0.5)


def test_only_eligible_rows_are_flagged():
    found = evidence([5, 5, 0, 0], [0] * 9, eligible=[1, 0, 1, 1])
    assert found.flag(0.5).tolist() == [True, False, False, False]
    assert not found.flag(0.01).any()


def test_evidence_adds_up_and_keeps_every_restriction():
    one = evidence([1, 2, 3], [1, 2], eligible=[1, 1, 0], null=[0, 1])
    two = evidence([10, 20, 30], [10, 20], eligible=[0, 1, 1], null=[1, 1])
    both = one + two
    assert both.untrusted.tolist() == [11, 22, 33]
    assert both.trusted.tolist() == [11, 22]
    assert both.eligible.tolist() == [False, True, False]
    assert both.null.tolist() == [False, True]
    assert one + None is one


def test_the_less_suspicious_half():
    scores, draws = np.array([4.0, -1, 3, 0, 9]), np.linspace(0, 1, 5)
    assert sorted(least_suspicious(scores, draws)) == [1, 3]
    # Between equal scores the draw decides, not the place.
    assert sorted(least_suspicious(np.zeros(5), draws[::-1])) == [3, 4]


def test_a_repair_takes_rows_by_score_unless_told_otherwise():
    scores, nobody = np.array([1.0, 2.0]), np.zeros(2, bool)
    assert Detection(scores, nobody, np.inf, False).repair_scores is scores
    other = np.array([-np.inf, 1])
    assert Detection(scores, nobody, np.inf, False, repair_scores=other).repair_scores is other


def test_p_value_is_the_smallest_fdr_that_flags_any_row():
    null = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    found = np.array([0.95, 0.95, 0.95, 0.85, 0.15])
    assert p_value(null, found) == pytest.approx(0.5 / 3)
    assert p_value(null, np.empty(0)) == 1
