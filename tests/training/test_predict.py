"""The prediction loop."""

import numpy as np
import pytest
import torch

from bedkd.errors import InputError
from bedkd.training.batches import EncodedTexts
from bedkd.training.predict import predict

TEXTS = ["", "great", "日本 😀", *[f"word{i} " * (1 + i % 7) + "fine dull" for i in range(30)]]


@pytest.fixture(params=["encoder", "decoder"])
def model(request, toy, tokenizer):
    return (toy.bert if request.param == "encoder" else toy.llama)(tokenizer, classes=3)


def test_predictions_do_not_depend_on_batch_or_order(model, tokenizer):
    together = predict(model, EncodedTexts(tokenizer, TEXTS), hidden=True)
    alone = predict(model, EncodedTexts(tokenizer, TEXTS), batch_size=1, hidden=True)
    backwards = predict(model, EncodedTexts(tokenizer, TEXTS[::-1]), batch_size=5)
    assert together.logits.shape == (len(TEXTS), 3)
    np.testing.assert_allclose(together.logits, alone.logits, atol=1e-5)
    np.testing.assert_allclose(together.logits, backwards.logits[::-1], atol=1e-5)
    assert np.ptp(together.logits[:, 0]) > 1e-3
    for one, two, ids in zip(
        together.hidden, alone.hidden, EncodedTexts(tokenizer, TEXTS).ids, strict=True
    ):
        assert one.shape == (len(ids), 32)
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_dropout_plays_no_part(model, tokenizer):
    rows = EncodedTexts(tokenizer, TEXTS)
    for part in model.modules():  # some toys have none
        if hasattr(part, "attention_dropout"):
            part.attention_dropout = 0.5
        elif isinstance(part, torch.nn.Dropout):
            part.p = 0.5
    expected = predict(model.eval(), rows).logits
    np.testing.assert_array_equal(predict(model.train(), rows).logits, expected)


def test_no_rows_no_predictions(bert, tokenizer):
    assert predict(bert, EncodedTexts(tokenizer, [])).logits.shape == (0, 2)


def test_predicting_restores_the_mode(bert, tokenizer):
    for training in (True, False):
        bert.train(training)
        predict(bert, EncodedTexts(tokenizer, ["great"]))
        assert bert.training is training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_not_finite_are_refused(bert, tokenizer, value):
    with torch.no_grad():
        bert.classifier.weight[0, 0] = value
    rows = EncodedTexts(tokenizer, ["great", "dull"])
    with pytest.raises(InputError, match=r"suspect model, row 0: .*not a finite number"):
        predict(bert, rows, description="suspect model")


def test_the_first_row_that_is_not_finite_is_named(bert, tokenizer):
    """Whatever order the rows are predicted in."""
    with torch.no_grad():
        bert.bert.embeddings.word_embeddings.weight[tokenizer.convert_tokens_to_ids("cf")] = float(
            "nan"
        )
    rows = EncodedTexts(tokenizer, ["great", "dull fine", "cf", "cf dull fine great"])
    for size in (1, 64):
        with pytest.raises(InputError, match="row 2"):
            predict(bert, rows, batch_size=size)


def test_predicting_leaves_weights_alone(bert, tokenizer, weights, same_weights):
    before = weights(bert)
    predict(bert, EncodedTexts(tokenizer, ["great"]), hidden=True)
    assert same_weights(before, weights(bert))


def test_where_memory_runs_out_batches_are_halved(model, tokenizer, little_memory, caplog):
    rows = EncodedTexts(tokenizer, TEXTS)
    whole = predict(model, rows, hidden=True)
    with little_memory(model, 5):
        found = predict(model, rows, hidden=True, description="scoring")
    np.testing.assert_allclose(found.logits, whole.logits, atol=1e-5)
    assert all(one.shape == two.shape for one, two in zip(found.hidden, whole.hidden, strict=True))
    assert "scoring: out of memory; the batch is halved" in caplog.text
    with little_memory(model, 0), pytest.raises(InputError, match="with a single row; give a"):
        predict(model, rows)


def test_other_errors_of_a_model_are_not_taken_for_memory(model, tokenizer):
    def broken(*_):
        raise RuntimeError("shapes cannot be multiplied")

    model.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="multiplied"):
        predict(model, EncodedTexts(tokenizer, TEXTS))


def test_states_in_a_file_are_those_in_memory(model, tokenizer, monkeypatch):
    rows = EncodedTexts(tokenizer, TEXTS)
    there = predict(model, rows, hidden=True).hidden
    monkeypatch.setattr("bedkd.training.predict.IN_MEMORY", 0)
    filed = predict(model, rows, hidden=True).hidden
    assert isinstance(filed.values, np.memmap)
    assert not isinstance(there.values, np.memmap)
    assert len(filed.values) == rows.lengths.sum()  # nothing is kept for padding
    np.testing.assert_array_equal(filed.values, there.values)
    order = [2, 0]
    expected = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(there[i]) for i in order], batch_first=True
    )
    assert torch.equal(filed.padded(order), expected)
    with pytest.raises(IndexError):
        filed[len(TEXTS)]
