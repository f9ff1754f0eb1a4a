"""Batches of tokenised texts."""

import numpy as np
import pytest

from bedkd import data
from bedkd.errors import InputError
from bedkd.training.batches import EncodedTexts, encode


def test_an_epoch_holds_every_row_once_in_batches_of_like_length(tokenizer):
    texts = ["word1 " * (i % 20) for i in range(203)]
    rows = EncodedTexts(tokenizer, texts)
    batches = list(rows.epoch(8, np.random.default_rng(0)))
    assert sorted(np.concatenate(batches)) == list(range(203))
    assert len(batches) == 26
    assert max(map(len, batches)) == 8
    spread = np.mean([np.ptp(rows.lengths[batch]) for batch in batches])
    assert spread < 2  # 18 or so in random batches
    again = list(rows.epoch(8, np.random.default_rng(0)))
    other = list(rows.epoch(8, np.random.default_rng(1)))
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))
    assert [b.tolist() for b in batches] != [b.tolist() for b in other]
    named = np.arange(3, 203, 4)
    batches = list(rows.epoch(8, np.random.default_rng(0), named))
    assert sorted(np.concatenate(batches)) == named.tolist()
    assert np.mean([np.ptp(rows.lengths[batch]) for batch in batches]) < 5


def test_long_rows_are_cut_and_labels_are_counted(tokenizer):
    assert EncodedTexts(tokenizer, ["word1 " * 99], max_length=12).lengths.tolist() == [12]
    with pytest.raises(InputError, match="2 texts but 1 labels"):
        EncodedTexts(tokenizer, ["a", "b"], [0])


def test_an_empty_text_without_special_tokens_is_one_padding_token(toy):
    assert EncodedTexts(toy.tokenizer(template=False), [""]).lengths.tolist() == [1]


def test_rows_that_do_not_fit_the_model_are_named(bert, tokenizer):
    with pytest.raises(InputError, match="these rows is empty"):
        encode(bert, tokenizer, data.make([], [], False), 32, "these rows")
    for label in (-1, 2):
        rows = data.make(["a", "b"], [0, label], False)
        with pytest.raises(InputError, match=f"these rows, row 1: label {label}.*classes 0 to 1"):
            encode(bert, tokenizer, rows, 32, "these rows")
    found = encode(bert, tokenizer, data.make(["word1 " * 99], [1], False), 12, "these rows")
    assert found.lengths.tolist() == [12]
    assert found.labels.tolist() == [1]


def test_batches_by_length_hold_every_row_once_the_longest_first(tokenizer):
    rows = EncodedTexts(tokenizer, ["word1 " * n for n in (3, 9, 1, 7, 5)])
    assert [batch.tolist() for batch in rows.by_length(2)] == [[1, 3], [4, 0], [2]]
