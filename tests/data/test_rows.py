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


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3, 4, 5], "largest label is 5, but no row has label 0;"),
        ([0, 3, 3], "no row has label 1, 2;"),
        ([0, 0], "no row has label 1;"),
        ([0, 1, 4_000_000_000], "no row has label 2, 3, 4, 5, 6 and 3,999,999,993 more"),
        ([-1, 0, 1], "label -1 is not a class index"),
        ([], "no rows"),
    ],
)
def test_gaps_in_labels_to_train_on_are_named(labels, message):
    rows = data.make(["text"] * len(labels), labels, None)
    with pytest.raises(InputError, match=f"my.csv: .*{message}"):
        data.checked_num_labels(rows, source="my.csv")


def test_labels_without_gaps_are_counted(toy):
    assert data.checked_num_labels(toy.rows(8, classes=4)) == 4
