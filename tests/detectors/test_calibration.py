"""A null that stands for rows the model was trained on."""

from types import SimpleNamespace

import numpy as np
import pytest

from bedkd.detectors.base import Evidence
from bedkd.detectors.calibration import as_if_trained_on


def case(labels, trusted_labels, seed=0):
    return SimpleNamespace(
        labels=np.array(labels), trusted_labels=np.array(trusted_labels), seed=seed
    )


def test_rows_that_the_model_gets_wrong_get_what_it_says_of_others_of_their_class():
    nan = np.nan
    trusted = np.array([nan, nan, 1.0, 2.0, -9.0, -8.0, 5.0, 6.0, -7.0])
    right = np.array([0, 0, 1, 1, 0, 0, 1, 1, 0], bool)
    before = trusted.copy()
    given = case([0, 1], [0, 1, 0, 0, 0, 0, 1, 1, 1])
    found = as_if_trained_on(Evidence(np.zeros(2), np.ones(2, bool), trusted, right), given)
    # Two of class 0, at a quarter and three quarters of the way; one of class 1, in the middle.
    assert sorted(found.trusted[4:6]) == [1.25, 1.75]
    assert found.trusted[8] == 5.5
    assert np.array_equal(found.trusted[right], before[right])
    assert np.isnan(found.trusted[:2]).all()
    assert (found.null[:2] == 0).all()
    assert np.array_equal(trusted, before, equal_nan=True)


def test_which_row_gets_what_is_drawn_by_the_seed():
    right = np.arange(40) < 20
    values = np.where(right, np.arange(40.0), -1)

    def drawn(seed):
        given = case([0], [0] * 40, seed)
        evidence = Evidence(np.zeros(1), np.ones(1, bool), values, right)
        return as_if_trained_on(evidence, given).trusted[20:].tolist()

    assert drawn(0) == drawn(0) != drawn(1)
    assert sorted(drawn(0)) == sorted(drawn(1)) != drawn(0)


def test_classes_weigh_as_they_do_among_eligible_rows():
    labels = [0] * 6 + [1] * 4
    eligible = np.array([1] * 6 + [1, 1, 0, 0], bool)
    trusted = [0, 0, 1, 1, 1, 1]
    evidence = Evidence(np.zeros(10), eligible, np.zeros(6), np.ones(6, bool))
    found = as_if_trained_on(evidence, case(labels, trusted))
    assert found.null.tolist() == pytest.approx([2.25] * 2 + [0.375] * 4)
    assert found.null.sum() == pytest.approx(6)


def test_a_class_of_which_nothing_is_right_keeps_its_own_evidence():
    evidence = Evidence(np.zeros(2), np.ones(2, bool), np.array([1.0, -3]), np.array([True, False]))
    found = as_if_trained_on(evidence, case([0, 1], [0, 1]))
    assert found.trusted.tolist() == [1, -3]
