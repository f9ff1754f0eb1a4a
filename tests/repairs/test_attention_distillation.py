"""Attention distillation: the maps by hand, and what is left of it without them."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from bedkd.errors import InputError
from bedkd.repairs.attention_distillation import (
    AttentionDistillation,
    AttentionLoss,
    attention_map,
)
from bedkd.repairs.fine_tuning import FineTuning
from bedkd.training.objectives import cross_entropy
from bedkd.training.runtime import device

REPAIR = AttentionDistillation(teacher_epochs=3, epochs=3, lr=2e-3, batch_size=16)


def test_map_by_hand():
    """Mean squares 3, 4 and padding: lengths 3/5, 4/5 and 0, whatever the padding holds."""
    states = torch.tensor([[[3.0, 3.0], [4.0, 4.0], [8.0, 8.0]]]).sqrt()
    assert attention_map(states, torch.tensor([[1, 1, 0]]))[0].tolist() == pytest.approx(
        [0.6, 0.8, 0]
    )
    assert attention_map(7 * states, torch.tensor([[1, 1, 0]]))[0].tolist() == pytest.approx(
        [0.6, 0.8, 0]
    )


def test_loss_by_hand(victim, reference, trusted):
    """Rows one by one, which need no padding."""
    batch, expected = trusted.batch(np.arange(6), device()), []

    def maps(model, ids):
        mask = torch.ones(1, len(ids), dtype=torch.long)
        states = model(
            torch.tensor(ids)[None].long(), mask, output_hidden_states=True
        ).hidden_states
        return [attention_map(layer, mask)[0] for layer in states[1:]]

    with torch.no_grad():
        for ids in trusted.ids[:6]:
            pairs = zip(maps(victim, ids), maps(reference, ids), strict=True)
            expected.append(sum(float((one - other).pow(2).sum()) for one, other in pairs))
        ce = cross_entropy(victim, batch).item()
        loss = AttentionLoss(reference, 1000.0)(victim, batch).item()
        same = AttentionLoss(copy.deepcopy(victim), 1000.0)(victim, batch).item()
    assert 1000 * np.mean(expected) > 0.1
    assert loss == pytest.approx(ce + 1000 * np.mean(expected), rel=1e-3)
    assert same == pytest.approx(ce, rel=1e-4)
    assert not victim._forward_hooks
    assert not reference._forward_hooks


def test_without_the_attention_loss_it_is_fine_tuning(case, given, weights, same_weights):
    tuned = FineTuning(epochs=3, lr=2e-3, batch_size=16).repair(case, given).model
    student = replace(REPAIR, beta=0.0).repair(case, given).model
    assert same_weights(weights(student), weights(tuned))


def test_the_student_looks_where_the_teacher_does(case, given, trusted):
    teacher = FineTuning(epochs=3, lr=2e-3, batch_size=16).repair(case, given).model
    batch = trusted.batch(np.arange(len(trusted)), device())

    def distance(beta):
        student = replace(REPAIR, beta=beta, epochs=1).repair(case, given).model
        with torch.no_grad():
            whole = AttentionLoss(teacher, 1.0)(student, batch)
            return float(whole - cross_entropy(student, batch))

    assert distance(1000.0) < 0.8 * distance(0.0)


def test_the_teacher_does_not_change_with_the_student(case, given):
    made = REPAIR.repair(case, given)
    assert [r["stage"] for r in made.history] == ["teacher"] * 3 + ["student"] * 3
    tuned = FineTuning(epochs=3, lr=2e-3, batch_size=16).repair(case, given)
    assert [r["loss"] for r in made.history[:3]] == [r["loss"] for r in tuned.history]


def test_every_option_counts(every_option_counts):
    others = {"beta": 9.0}, {"teacher_epochs": 1}, {"epochs": 1}, {"lr": 1e-3}, {"batch_size": 8}
    every_option_counts(REPAIR, *(replace(REPAIR, **other) for other in others))


@pytest.mark.parametrize("name", ["beta", "teacher_epochs", "epochs", "lr", "batch_size"])
def test_bad_options(name):
    with pytest.raises(InputError, match=rf"{name}=-1: give at least"):
        AttentionDistillation(**{name: -1})
