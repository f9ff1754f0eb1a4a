"""Putting classes back in proportion: the mean probability of a class becomes its prior."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from bedkd.calibration import class_offsets, output_layer, recentre
from bedkd.engine import Rows, predict


@pytest.fixture
def answers():
    """Logits of 600 rows that lean towards class 0, and labels of three uneven classes."""
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 600, p=[0.2, 0.3, 0.5])
    return rng.normal(size=(600, 3)) + 2 * np.eye(3)[labels] + [1.5, 0, -0.5], labels


def weighted_mean(logits, labels, prior):
    """Mean probabilities when every class has the weight of its prior."""
    return sum(p * softmax(logits[labels == k], axis=1).mean(axis=0) for k, p in enumerate(prior))


@pytest.mark.parametrize("prior", [[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]])
def test_mean_probability_becomes_the_prior(answers, prior):
    logits, labels = answers
    offsets = class_offsets(logits, labels, np.array(prior))
    assert np.abs(weighted_mean(logits, labels, prior) - prior).max() > 0.02
    assert np.allclose(weighted_mean(logits + offsets, labels, prior), prior, atol=1e-4)
    assert offsets.sum() == pytest.approx(0)


def test_a_model_in_proportion_keeps_its_logits(answers):
    logits, labels = answers
    prior = np.array([0.2, 0.3, 0.5])
    centred = logits + class_offsets(logits, labels, prior)
    assert np.allclose(class_offsets(centred, labels, prior), 0, atol=1e-4)


def test_how_many_rows_a_class_has_plays_no_part(answers):
    """A trusted set that is balanced says the same as one in proportion."""
    logits, labels = answers
    prior = np.array([0.2, 0.3, 0.5])
    twice = np.concatenate([np.arange(600), *[np.flatnonzero(labels == 2)] * 3])
    assert np.allclose(
        class_offsets(logits, labels, prior), class_offsets(logits[twice], labels[twice], prior)
    )


def test_a_class_without_rows_gets_no_offset(answers):
    logits, labels = answers
    seen = labels < 2
    offsets = class_offsets(logits[seen], labels[seen], np.array([0.4, 0.6, 0.0]))
    assert offsets[2] == 0
    assert offsets[0] < 0 < offsets[1]


def test_recentring_shifts_every_answer_by_the_same_offsets(victim, tokenizer, task):
    dev = task.clean["dev"]
    rows = Rows(tokenizer, list(dev["text"]), np.asarray(dev["label"]), 32)
    before = predict(victim, rows).logits
    offsets = recentre(victim, tokenizer, dev, np.array([0.8, 0.2]), 32)
    assert offsets[0] > 0.01
    assert np.allclose(predict(victim, rows).logits, before + offsets, atol=1e-5)


def test_an_output_layer_without_bias_is_left_alone(victim, tokenizer, task, weights, same_weights):
    hidden = victim.classifier.in_features
    victim.classifier = torch.nn.Linear(hidden, 2, bias=False)
    before = weights(victim)
    assert output_layer(victim) is None
    assert recentre(victim, tokenizer, task.clean["dev"], np.array([0.5, 0.5]), 32) is None
    assert same_weights(before, weights(victim))
