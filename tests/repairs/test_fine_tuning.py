"""Fine-tuning on trusted rows, and what the rivals' repairs share."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from bedkd import Run
from bedkd.detectors import Detection
from bedkd.errors import InputError
from bedkd.repairs.fine_tuning import FineTuning
from bedkd.repairs.start import before_training, suspects, trusted_rows
from bedkd.repairs.training import kept_zero, shuffled, train
from bedkd.training.fine_tune import TrainingConfig
from bedkd.training.loop import Trainer
from bedkd.training.objectives import cross_entropy
from bedkd.training.predict import predict

REPAIR = FineTuning(epochs=2, lr=1e-3)


def test_held_out_rows_are_never_trained_on(case):
    trained = set(trusted_rows(case)["text"])
    assert len(trained) == 2 * (16 + 24)
    assert not trained & set(case.divided.held_out["text"])


def test_it_learns_the_trusted_rows_and_ignores_the_flags(case, bert, given, trusted):
    learner = FineTuning(epochs=12, lr=3e-3, batch_size=16)
    case = replace(case, model=bert)
    made = learner.repair(case, given)
    assert (predict(bert, trusted).labels == trusted.labels).mean() < 0.7
    assert (predict(made.model, trusted).labels == trusted.labels).mean() > 0.9
    assert made.history[-1]["loss"] < made.history[0]["loss"]
    nobody = Detection(given.scores, ~given.flagged, 0.0, False)
    assert learner.repair(case, nobody).history == made.history


def test_history_says_what_was_held_out(case, given):
    seen = []
    made = REPAIR.repair(case, given, Run(callback=lambda m: seen.append(m.training) or {"n": 1}))
    assert [(r["stage"], r["epoch"], r["n"]) for r in made.history] == [
        ("training", 1, 1),
        ("training", 2, 1),
    ]
    assert seen == [False, False]
    guard = case.encoded(case.divided.held_out, "held out")
    right = (predict(made.model, guard).labels == guard.labels).mean()
    assert made.history[-1]["held_out_accuracy"] == pytest.approx(right)


def test_every_option_counts(every_option_counts):
    every_option_counts(
        REPAIR, replace(REPAIR, epochs=1), replace(REPAIR, lr=2e-3), replace(REPAIR, batch_size=8)
    )


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"lr": -1.0}, {"batch_size": 0}])
def test_bad_options(bad):
    with pytest.raises(InputError, match=rf"{next(iter(bad))}=.*give at least"):
        FineTuning(**bad)


# --- shared by the rivals -------------------------------------------------------------------


def test_suspects_may_be_taken_and_come_in_order():
    scores = np.array([0.1, 0.9, 0.5, 0.7])
    allowed = np.array([0.1, -np.inf, 0.5, 0.7])
    flagged = np.array([True, True, True, False])
    found = Detection(scores, flagged, 0.0, True, repair_scores=allowed)
    assert suspects(found).tolist() == suspects(found, 9).tolist() == [2, 0]
    assert suspects(found, 1).tolist() == [2]
    without = replace(found, is_backdoored=False)
    assert suspects(without).tolist() == [2, 0]
    assert suspects(without, 2).tolist() == [3, 2]


def test_a_fresh_model_is_seeded_and_knows_nothing(case, bert, weights, same_weights):
    fresh = before_training(case, "fresh")
    assert same_weights(weights(fresh), weights(bert))  # the toy victim began with seed 0
    assert not same_weights(weights(before_training(replace(case, seed=1), "fresh")), weights(bert))


def test_a_backbone_is_loaded_with_the_victims_layers_and_names(case, checkpoint, bert):
    case.model.config.id2label = {0: "bad", 1: "good"}
    folder = str(checkpoint(bert))
    assert before_training(case, folder).config.num_hidden_layers == 2
    model = before_training(case, folder, layers=1)
    assert (model.config.num_hidden_layers, model.config.id2label[1]) == (1, "good")
    assert model.config.bedkd_max_length == case.max_length
    with pytest.raises(InputError, match=r"backbone='minilm': its vocabulary.*give backbone="):
        before_training(case, "minilm")


def test_what_is_kept_zero_stays_zero_and_no_longer(case, trusted, victim):
    weight = victim.classifier.weight
    with torch.no_grad():
        weight[0] = 0

    def step():
        trainer = Trainer(victim, num_steps=1, lr=0.1, seed=0)
        trainer.train([(cross_entropy, trusted, np.arange(20))])

    with kept_zero([weight]):
        step()
    assert (weight[0] == 0).all()
    assert (weight[1] != 0).all()
    step()
    assert (weight[0] != 0).any()


def test_training_goes_on_where_it_was_interrupted(case, trusted, tmp_path, weights, same_weights):
    epoch, config = shuffled(cross_entropy, trusted, 16), TrainingConfig(3, 16, 1e-3)
    whole, part = copy.deepcopy(case.suspect), copy.deepcopy(case.suspect)
    expected = train(whole, case, epoch, config)

    def interrupt(model, calls=[]):  # noqa: B006
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        train(part, case, epoch, config, Run(tmp_path, callback=interrupt))
    resumed = copy.deepcopy(case.suspect)
    history = train(resumed, case, epoch, config, Run(tmp_path))
    assert history == expected
    assert same_weights(weights(resumed), weights(whole))
