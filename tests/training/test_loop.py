"""Batches, the prediction loop and the training loop."""

import random

import numpy as np
import pytest
import torch

from bedkd.engine import Rows, optimise, predict
from bedkd.errors import InputError
from bedkd.objectives import cross_entropy

TEXTS = ["", "great", "日本 😀", *[f"word{i} " * (1 + i % 7) + "fine dull" for i in range(30)]]


@pytest.fixture(params=["encoder", "decoder"])
def model(request, toy, tokenizer):
    return (toy.bert if request.param == "encoder" else toy.llama)(tokenizer, classes=3)


def test_predictions_do_not_depend_on_batch_or_order(model, tokenizer):
    together = predict(model, Rows(tokenizer, TEXTS), hidden=True)
    alone = predict(model, Rows(tokenizer, TEXTS), batch_size=1, hidden=True)
    backwards = predict(model, Rows(tokenizer, TEXTS[::-1]), batch_size=5)
    assert together.logits.shape == (len(TEXTS), 3)
    np.testing.assert_allclose(together.logits, alone.logits, atol=1e-5)
    np.testing.assert_allclose(together.logits, backwards.logits[::-1], atol=1e-5)
    assert np.ptp(together.logits[:, 0]) > 1e-3
    for one, two, ids in zip(
        together.hidden, alone.hidden, Rows(tokenizer, TEXTS).ids, strict=True
    ):
        assert one.shape == (len(ids), 32)
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_no_rows_no_predictions(bert, tokenizer):
    assert predict(bert, Rows(tokenizer, [])).logits.shape == (0, 2)


def test_predicting_restores_the_mode(bert, tokenizer):
    for training in (True, False):
        bert.train(training)
        predict(bert, Rows(tokenizer, ["great"]))
        assert bert.training is training


def test_an_epoch_holds_every_row_once_in_batches_of_like_length(tokenizer):
    texts = ["word1 " * (i % 20) for i in range(203)]
    rows = Rows(tokenizer, texts)
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


def test_long_rows_are_cut_and_labels_are_counted(tokenizer):
    assert Rows(tokenizer, ["word1 " * 99], max_length=12).lengths.tolist() == [12]
    with pytest.raises(InputError, match="2 texts but 1 labels"):
        Rows(tokenizer, ["a", "b"], [0])


def test_an_empty_text_without_special_tokens_is_one_padding_token(toy):
    assert Rows(toy.tokenizer(template=False), [""]).lengths.tolist() == [1]


def steps(rows, count=3):
    return ((cross_entropy, rows, np.arange(len(rows))) for _ in range(count))


@pytest.fixture
def rows(tokenizer):
    return Rows(tokenizer, ["great", "dull", "fine word1", "slow word2"], [1, 0, 1, 0])


def test_training_lowers_the_loss_and_restores_the_random_state(bert, rows):
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    losses = optimise(bert, steps(rows, 12), total=12, lr=5e-3, seed=0)
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert not bert.training
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]


def test_same_seed_same_training_other_dropout_seed_other_training(toy, tokenizer, rows):
    def run(seed):
        return optimise(toy.bert(tokenizer), steps(rows), total=3, lr=1e-3, seed=seed)

    torch.manual_seed(1)
    first = run(0)
    torch.manual_seed(2)
    assert run(0) == first
    assert run(1) != first


def test_bf16_trains_in_eight_bits_and_predicts_in_full(toy, tokenizer, rows, weights, request):
    def trained():
        model = toy.bert(tokenizer)
        losses = optimise(model, steps(rows), total=3, lr=1e-3, seed=0)
        return model, losses

    model, full = trained()
    answers = predict(model, rows).logits
    request.getfixturevalue("bf16")
    assert np.array_equal(predict(model, rows).logits, answers)
    half_model, half = trained()
    assert half != full
    np.testing.assert_allclose(half, full, rtol=0.05)
    assert {value.dtype for value in weights(half_model).values()} == {np.dtype("float32")}


def test_the_learning_rate_warms_up_and_decays(toy, tokenizer, rows, weights):
    moved = []
    model = toy.bert(tokenizer)
    last = weights(model)["classifier.bias"]

    def measure(number, loss):
        nonlocal last
        now = weights(model)["classifier.bias"]
        moved.append(np.abs(now - last).max())
        last = now

    optimise(
        model, steps(rows, 10), total=10, lr=1e-2, seed=0, warmup=0.3, clip=None, after_step=measure
    )
    assert moved[0] == 0  # the rate of the first step
    assert max(moved[2:5]) > 5 * moved[-1] > 0


def test_a_loss_that_is_not_finite_stops_the_run(bert, rows):
    def broken(model, batch):
        return cross_entropy(model, batch) * float("nan")

    with pytest.raises(FloatingPointError, match="loss of step 1 is nan"):
        optimise(bert, [(broken, rows, np.array([0]))], total=1, lr=1e-3, seed=0)
    assert not bert.training
