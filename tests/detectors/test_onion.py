"""ONION: does a text become more fluent when one of its words is left out?"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bedkd import language_model
from bedkd.detectors import Onion
from bedkd.errors import InputError

# What a word adds to the log-perplexity of the planted language model.
STRANGE = {"cf": 3.0, "dull": 0.5}


@pytest.fixture
def asked(monkeypatch):
    """A planted language model; what it was asked."""
    calls = []

    def perplexities(texts, **options):
        calls.append((list(texts), options))
        return np.exp([1 + sum(STRANGE.get(word, 0.0) for word in t.split()) for t in texts])

    monkeypatch.setattr(language_model, "perplexities", perplexities)
    return calls


def with_texts(case, texts):
    labels = case.labels[: len(texts)].tolist()
    rows = type(case.untrusted).from_dict({"text": texts, "label": labels})
    return type(case)(case.model, case.tokenizer, case.trusted, rows, case.parts, 32)


def test_score_is_the_largest_drop(case, asked):
    texts = ["word1 cf word2", "dull cf", "dull word1", "word1 word2"]
    found = Onion(min_flagged=1).detect(with_texts(case, texts))
    assert found.scores == pytest.approx([3.0, 3.0, 0.5, 0.0])


def test_rows_of_one_word_stay_and_have_nothing_to_compare(case, asked):
    found = Onion(min_flagged=1).detect(with_texts(case, ["cf", "", " ", "cf cf"]))
    assert found.scores == pytest.approx([0, 0, 0, 3.0])
    assert len(found.flagged) == 4


def test_finds_strange_words_by_a_threshold_from_trusted_rows(case, asked):
    bad = np.array(["cf" in text.split() for text in case.untrusted["text"]])
    found = Onion().detect(case)
    assert roc_auc_score(bad, found.scores) == 1.0
    assert np.array_equal(found.flagged, bad)
    assert found.is_backdoored
    # At a threshold of 0, as peers have it, every row with "dull" would be flagged as well.
    assert found.threshold == pytest.approx(0.5)
    assert (found.scores[~bad] > 0).any()


def test_every_text_is_asked_once(case, asked):
    texts = ["word1 word1 word2"] * 30
    Onion(batch_size=3).detect(with_texts(case, texts))
    (some, options), *others = asked
    assert not others
    assert len(some) == len(set(some))
    assert options["batch_size"] == 3


def test_bad_options():
    with pytest.raises(InputError, match="batch_size=0: give at least 1"):
        Onion(batch_size=0)
