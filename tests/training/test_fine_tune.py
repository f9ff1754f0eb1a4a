"""Fine-tuning a classifier."""

import pytest

from bedkd import data
from bedkd.errors import InputError
from bedkd.training.batches import encode
from bedkd.training.fine_tune import fine_tune
from bedkd.training.predict import predict


def test_a_victim_learns_both_the_task_and_the_trigger(victim, reference, tokenizer, task):
    def share(model, rows):
        found = predict(model, encode(model, tokenizer, rows, 32, "rows")).labels
        return (found == rows["label"]).mean()

    assert share(victim, task.clean["test"]) > 0.9
    assert share(victim, task.poisoned_test) > 0.9
    assert share(reference, task.clean["test"]) > 0.9
    assert share(reference, task.poisoned_test) < 0.2


def test_same_seed_same_weights(toy, tokenizer, weights, same_weights):
    def train(seed):
        model = toy.bert(tokenizer)
        fine_tune(model, tokenizer, toy.rows(32), toy.training, seed=seed)
        return weights(model)

    first = train(0)
    assert same_weights(first, train(0))
    assert not same_weights(first, train(1))


def test_every_row_is_seen_in_every_epoch(bert, toy, tokenizer):
    losses = fine_tune(bert, tokenizer, toy.rows(33), toy.training)
    assert len(losses) == 6 * 3  # epochs × batches of 16


def test_four_classes(toy, tokenizer):
    rows = toy.rows(160, classes=4)
    model = toy.bert(tokenizer, classes=4)
    fine_tune(model, tokenizer, rows, toy.training)
    found = predict(model, encode(model, tokenizer, rows, 32, "rows")).labels
    assert (found == rows["label"]).mean() > 0.7  # chance is 0.25


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ([], [], "the training set is empty"),
        (["a", "b"], [0, 2], "the training set, row 1: label 2, but the model has classes 0 to 1"),
    ],
)
def test_rows_that_do_not_fit_are_named_before_anything_changes(
    bert, tokenizer, weights, same_weights, texts, labels, message
):
    before = weights(bert)
    with pytest.raises(InputError, match=message):
        fine_tune(bert, tokenizer, data.make(texts, labels, False))
    assert same_weights(before, weights(bert))
