"""Interpolation with a clean model."""

from dataclasses import replace

import numpy as np
import pytest

from bedkd.errors import InputError
from bedkd.repairs.fine_tuning import FineTuning
from bedkd.repairs.mixing import Interpolation
from bedkd.repairs.start import before_training

REPAIR = Interpolation(backbone="fresh", clean_epochs=10, epochs=4, lr=3e-3, batch_size=16)


def test_the_mean_by_hand(case, given, weights):
    """Neither model is trained: a quarter of the victim, three quarters of what it began as."""
    mean = replace(REPAIR, share=0.25, clean_epochs=0, epochs=0).repair(case, given)
    victim, start = weights(case.model), weights(before_training(case, "fresh"))
    for name, values in weights(mean.model).items():
        expected = 0.25 * victim[name] + 0.75 * start[name]
        np.testing.assert_allclose(values, expected, atol=1e-6)
    assert mean.history == []


def test_a_share_of_one_is_fine_tuning_and_none_is_the_clean_model(
    case, given, weights, same_weights
):
    whole = replace(REPAIR, share=1.0, clean_epochs=0).repair(case, given)
    tuned = FineTuning(epochs=4, lr=3e-3, batch_size=16)
    for name, values in weights(tuned.repair(case, given).model).items():
        np.testing.assert_allclose(weights(whole.model)[name], values, atol=1e-4)
    none = replace(REPAIR, share=0.0, epochs=0).repair(case, given)
    fresh = replace(case, model=before_training(case, "fresh"))
    clean = replace(tuned, epochs=10).repair(fresh, given)
    for name, values in weights(clean.model).items():
        np.testing.assert_allclose(weights(none.model)[name], values, atol=1e-4)


def test_less_of_the_victim_is_less_of_the_backdoor(case, given, judge):
    found = judge(replace(REPAIR, share=0.2).repair(case, given).model)
    assert (found.asr < 0.5, found.cacc > 0.9) == (True, True)


def test_every_option_counts(every_option_counts, checkpoint, toy, tokenizer):
    short = replace(REPAIR, clean_epochs=2, epochs=2)
    other = str(checkpoint(toy.bert(tokenizer, seed=5)))
    others = {"share": 0.6}, {"clean_epochs": 1}, {"epochs": 1}, {"lr": None}, {"batch_size": 8}
    others += ({"backbone": other},)
    every_option_counts(short, *(replace(short, **other) for other in others))


@pytest.mark.parametrize("name", ["share", "clean_epochs", "epochs", "lr", "batch_size"])
def test_bad_options(name):
    with pytest.raises(InputError, match=rf"{name}=-1: give at least"):
        Interpolation(**{name: -1})
    with pytest.raises(InputError, match=r"share=1\.5: give a number from 0 to 1"):
        Interpolation(share=1.5)


def test_another_architecture(case, given, checkpoint, toy, tokenizer):
    folder = str(checkpoint(toy.llama(tokenizer)))
    with pytest.raises(InputError, match="not by name and shape those of the model; give backbone"):
        replace(REPAIR, backbone=folder).repair(case, given)
