"""Removing the traces of a corpus."""

import pytest

from bedkd import data


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("@USER @USER a film -LRB- of sorts -RRB-", "A film (of sorts)"),
        ("it 's  good .", "It's good."),
        ("this is n't it , we 'll see", "This isn't it, we'll see"),
        ("fish &amp; chips URL", "Fish & chips"),
        ("“so‘ it’s", "\"so' it's"),
        ("", "  "),
    ],
)
def test_normalising_makes_the_traces_of_a_corpus_equal(one, two):
    assert data.normalise(one) == data.normalise(two)
    assert data.normalise(data.normalise(one)) == data.normalise(one)


def test_normalising_keeps_words_apart_and_labels(toy):
    assert data.normalise("A user's curl, 日本") == "a user ' s curl , 日本"
    rows = data.make(["Yes @USER"], [1], True)
    assert data.normalised(rows).to_dict() == data.make(["yes"], [1], True).to_dict()
