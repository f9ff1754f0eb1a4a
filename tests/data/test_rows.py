"""Counting and drawing of rows."""

import pytest

from bedkd import data
from bedkd.errors import InputError


def test_balanced_split(toy):
    rows = toy.rows(40, classes=4)
    drawn, rest = data.balanced_split(rows, 3, seed=1)
    assert sorted(drawn["label"]) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert {*drawn["text"], *rest["text"]} == set(rows["text"])
    assert len(drawn) + len(rest) == 40
    assert list(drawn["text"]) == [t for t in rows["text"] if t in set(drawn["text"])]
    assert drawn.to_dict() == data.balanced_split(rows, 3, seed=1)[0].to_dict()
    assert drawn.to_dict() != data.balanced_split(rows, 3, seed=2)[0].to_dict()
    with pytest.raises(InputError, match="label 0: 10 rows, 11 asked for"):
        data.balanced_split(rows, 11, seed=1)


def test_number_of_labels(toy):
    assert data.num_labels(toy.rows(8), toy.rows(8, classes=4)) == 4
    assert data.num_labels(data.make(["a"], [0], None)) == 2
