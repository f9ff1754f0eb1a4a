"""Maximum entropy, then fine-tuning."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bedkd.errors import InputError
from bedkd.repairs.fine_tuning import FineTuning
from bedkd.repairs.max_entropy import MaximumEntropy, negative_entropy
from bedkd.training.predict import predict
from bedkd.training.runtime import device

REPAIR = MaximumEntropy(entropy_epochs=4, epochs=4, lr=3e-3, batch_size=16)


def test_loss_by_hand(victim, trusted):
    with torch.no_grad():
        victim.classifier.weight.zero_()
        victim.classifier.bias[:] = torch.tensor([3.0, 1.0]).log()
        loss = negative_entropy(victim, trusted.batch(np.arange(5), device()))
    assert loss.item() == pytest.approx(0.75 * np.log(0.75) + 0.25 * np.log(0.25))


def test_first_it_doubts_everything_then_it_knows_again(case, given, trusted, judge):
    doubting = replace(REPAIR, entropy_epochs=10, epochs=0).repair(case, given).model
    assert predict(case.suspect, trusted).probabilities.max(1).mean() > 0.9
    assert predict(doubting, trusted).probabilities.max(1).mean() < 0.6
    made = REPAIR.repair(case, given)
    assert [r["stage"] for r in made.history] == ["entropy"] * 4 + ["fine-tuning"] * 4
    assert judge(made.model).cacc > 0.9


def test_without_the_first_step_it_is_fine_tuning(case, given, weights, same_weights):
    tuned = FineTuning(epochs=4, lr=3e-3, batch_size=16).repair(case, given).model
    made = replace(REPAIR, entropy_epochs=0).repair(case, given).model
    assert same_weights(weights(made), weights(tuned))


def test_every_option_counts(every_option_counts):
    short = replace(REPAIR, entropy_epochs=2, epochs=2)
    others = {"entropy_epochs": 1}, {"epochs": 1}, {"lr": 1e-3}, {"batch_size": 8}
    every_option_counts(short, *(replace(short, **other) for other in others))


@pytest.mark.parametrize("name", ["entropy_epochs", "epochs", "lr", "batch_size"])
def test_bad_options(name):
    with pytest.raises(InputError, match=rf"{name}=-1: give at least"):
        MaximumEntropy(**{name: -1})
