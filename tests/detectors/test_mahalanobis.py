"""Mahalanobis distance: is a row's hidden state far from those of trusted rows of its label?"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bedkd.detectors import Mahalanobis, mahalanobis
from bedkd.detectors.mahalanobis import distances
from bedkd.detectors.states import states
from bedkd.run import Run


@pytest.fixture
def planted(monkeypatch):
    """States by text: noise around a centre of the row's class word; rows with cf lie elsewhere."""

    def of(case, texts, **options):
        rows = []
        for text in texts:
            rng = np.random.default_rng(sum(map(ord, text)) + len(text))
            at = 5.0 if {"great", "fine", "bright"} & set(text.split()) else -5.0
            noise = rng.normal(size=8) * [3, 1, 1, 1, 1, 1, 1, 1]
            rows.append(noise + at * np.eye(8)[0] + 6 * ("cf" in text.split()) * np.eye(8)[1])
        return np.stack(rows)

    monkeypatch.setattr(mahalanobis, "states", of)


def test_distances_by_hand():
    # Far more rows than dimensions, so that hardly anything is shrunk: variances 4 and 1.
    known = np.random.default_rng(0).normal(size=(20000, 2)) * [2, 1] + [10, 0]
    labels = np.zeros(len(known), int)
    found = distances(known, labels, np.array([[14.0, 0.0], [10.0, 2.0]]), np.zeros(2, int))
    assert found == pytest.approx([2, 2], rel=0.05)


def test_each_label_has_its_own_centre():
    known, labels = np.array([[0.0], [2], [10], [12]]), np.array([0, 0, 1, 1])
    own, other = distances(known, labels, np.array([[1.0], [1.0]]), np.array([0, 1]))
    assert own == 0
    assert other > 5
    strange = distances(known, labels, np.array([[6.0]]), np.array([7]))
    assert strange.tolist() == [0]  # a label no known row has: the mean of all


def test_finds_states_apart_from_their_label(case, planted, task):
    bad = np.array(["cf" in text.split() for text in case.untrusted["text"]])
    found = Mahalanobis().detect(case)
    assert roc_auc_score(bad, found.scores) > 0.99
    assert found.is_backdoored
    assert found.flagged[bad].mean() > 0.95
    assert found.flagged[~bad].mean() < 0.15


def test_trusted_rows_are_judged_by_fits_that_did_not_see_them(case):
    """With as many dimensions as rows a fit knows its own rows by heart."""
    _, null, _ = Mahalanobis().score(case, Run())
    known = states(case, case.divided.all["text"][:])
    seen = distances(known, case.trusted_labels, known, case.trusted_labels)
    assert null.shape == seen.shape
    assert np.median(null) > 1.02 * np.median(seen)


def test_states_are_read_where_the_head_reads_them(case, toy, tokenizer):
    """An encoder's first token, a decoder's last: the first one of a decoder has read nothing."""
    texts = ["great word1 word2", "dull word1 word2", "great word1 word2"]
    found = states(case, texts)
    assert found.shape == (3, 32)
    assert np.array_equal(found[0], found[2])
    assert np.abs(found[0] - found[1]).max() > 0.01
    assert np.array_equal(states(case, texts[::-1]), found[::-1])
    decoder = type(case)(toy.llama(tokenizer), tokenizer, case.trusted, case.untrusted)
    texts = ["word1 word2 great", "word1 word2 dull"]
    found = states(decoder, texts)
    assert np.abs(found[0] - found[1]).max() > 1e-4
