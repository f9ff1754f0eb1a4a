"""Shares, intervals and detection measures."""

import numpy as np
import pytest

from bedkd.metrics import Share, asr, cacc, detection_quality, mean_and_spread, racc


def wilson(hits, n, z=1.959964):
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return middle - half, middle + half


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (5, 10), (81, 263), (1, 1)])
def test_share_with_its_wilson_interval(hits, n):
    share = Share.of(np.arange(n) < hits)
    assert (share.value, share.n) == (hits / n, n)
    assert (share.low, share.high) == pytest.approx(wilson(hits, n), abs=1e-6)
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_published_wilson_interval():
    # Newcombe 1998, Table I: 81 of 263.
    share = Share.of(np.arange(263) < 81)
    assert (round(share.low, 4), round(share.high, 4)) == (0.2553, 0.3662)


def test_a_share_of_nothing_is_none():
    assert Share.of([]).to_dict() == {"value": None, "low": None, "high": None, "n": 0}
    assert str(Share.of([])) == "– (n = 0)"


def test_accuracy_and_success_rate():
    assert cacc(np.array([0, 1, 1, 0]), [0, 1, 0, 0]).value == 0.75
    found = asr(np.array([1, 1, 0, 2]), 1)
    assert (found.value, found.n) == (0.5, 4)


def test_racc_tells_removed_from_inverted():
    true = np.repeat([0, 1], 50)
    backdoored, inverted, removed = np.ones(100), 1 - np.ones(100), true
    non_target = true == 0
    assert asr(backdoored[non_target], 1).value == 1
    assert asr(inverted[non_target], 1).value == asr(removed[non_target], 1).value == 0
    overall, by_class = racc(inverted, true)
    assert (overall.value, overall.n) == (0.5, 100)
    assert {c: share.value for c, share in by_class.items()} == {0: 1, 1: 0}
    assert {share.n for share in by_class.values()} == {50}
    assert racc(removed, true)[0].value == 1


def test_detection_counts():
    scores = np.array([0.9, 0.8, 0.7, 0.2, 0.1])
    poisoned = np.array([True, False, True, False, False])
    found = detection_quality(scores, scores > 0.5, poisoned)
    assert (found.precision.value, found.precision.n) == (pytest.approx(2 / 3), 3)
    assert (found.recall.value, found.recall.n) == (1, 2)
    assert (found.frr.value, found.frr.n) == (pytest.approx(1 / 3), 3)
    assert found.auroc == pytest.approx(5 / 6)
    order = [3, 1, 4, 0, 2]
    assert detection_quality(scores[order], (scores > 0.5)[order], poisoned[order]) == found
    assert detection_quality(-scores, scores > 0.5, poisoned).auroc == pytest.approx(1 / 6)


@pytest.mark.parametrize("flag", [True, False])
def test_detection_without_both_kinds_has_no_auroc(flag):
    found = detection_quality(np.arange(3.0), np.zeros(3, bool), np.full(3, flag))
    assert found.auroc is None
    assert found.precision.value is None
    assert found.to_dict()["recall"]["n"] == (3 if flag else 0)


def test_mean_and_spread():
    assert mean_and_spread([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert mean_and_spread([4.0]) == (4.0, None)
