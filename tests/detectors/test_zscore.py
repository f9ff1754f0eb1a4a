"""Z-scores: does a word go with a label more often than chance allows?"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bedkd.detectors import ZScore
from bedkd.detectors.zscore import z_scores
from bedkd.errors import InputError
from bedkd.run import Run


def poisoned(reviews, words="cf", share=3):
    """Reviews of which every third has the words and label 1; and which."""
    texts, labels = reviews["train"]["text"][:], np.asarray(reviews["train"]["label"])
    bad = np.arange(len(texts)) % share == 0
    texts = [f"{text} {words}" if b else text for text, b in zip(texts, bad, strict=True)]
    return texts, np.where(bad, 1, labels), bad


def test_z_by_hand():
    assert z_scores(np.array([25]), np.array([20]), np.array([0.5]))[0] == pytest.approx(3.0)
    assert z_scores(np.array([9]), np.array([0]), np.array([0.9]))[0] == pytest.approx(-9.0)
    # A word that no row has, and a label that all rows have, say nothing.
    assert z_scores(np.array([0, 4]), np.array([0, 4]), np.array([0.5, 1.0])).tolist() == [0, 0]


def test_finds_a_trigger_word(reviews, reviews_case):
    texts, labels, bad = poisoned(reviews)
    found = ZScore().detect(reviews_case(texts, labels))
    assert roc_auc_score(bad, found.scores) > 0.95
    assert found.is_backdoored
    assert found.flagged[bad].all()
    assert found.details["words"][0][:2] == ["cf", 1]


def test_a_row_does_not_count_for_itself(reviews, reviews_case):
    """A word of its own would make a row's label look supported by chance alone."""
    texts = [f"{text} own{i}" for i, text in enumerate(reviews["train"]["text"])]
    alone = [f"own{i}" for i in range(len(texts))]
    labels = reviews["train"]["label"][:]
    scores, _, _ = ZScore().score(reviews_case(alone, labels), Run())
    assert not scores.any()
    assert not ZScore().detect(reviews_case(texts, labels)).is_backdoored


def test_longer_runs_see_a_sentence_of_usual_words(reviews, reviews_case):
    """Every row has the words of the trigger; only poisoned ones have them in its order."""
    texts, labels, bad = poisoned(reviews, "one two three")
    texts = [t if b else f"{t} three two one" for t, b in zip(texts, bad, strict=True)]
    case = reviews_case(texts, labels)
    own = labels == 1
    words, runs = (ZScore(ngrams=n).detect(case).scores[own] for n in (1, 2))
    assert roc_auc_score(bad[own], runs) > 0.95
    assert roc_auc_score(bad[own], words) < 0.7


def test_rows_without_words(reviews, reviews_case):
    found = ZScore().detect(reviews_case(["", " "] * 20, [0, 1] * 20))
    assert not found.scores.any()


def test_bad_options():
    with pytest.raises(InputError, match="ngrams=0: give at least 1"):
        ZScore(ngrams=0)
