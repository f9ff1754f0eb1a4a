"""The losses against the formula worked out in numpy."""

import numpy as np
import pytest
import torch

from bedkd.training import losses

STUDENT, TEACHER = np.random.default_rng(0).normal(size=(2, 3, 4)) * 2
H_STUDENT, H_TEACHER = np.random.default_rng(1).normal(size=(2, 3, 5, 6))
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
LABELS = np.array([0, 3, 1])


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def kl(student, teacher, tau):
    p, q = softmax(teacher / tau), softmax(student / tau)
    return (p * np.log(p / q)).sum(axis=1).mean()


def mse():
    return ((H_STUDENT - H_TEACHER) ** 2)[MASK == 1].mean()


def cross_entropy():
    return -np.log(softmax(STUDENT)[np.arange(3), LABELS]).mean()


def t(array):
    return torch.tensor(array)


def distillation(alpha, temperature=1.5):
    return losses.distillation(
        t(STUDENT),
        t(TEACHER),
        t(H_STUDENT),
        t(H_TEACHER),
        t(MASK),
        t(LABELS),
        temperature=temperature,
        alpha=alpha,
    ).item()


@pytest.mark.parametrize("alpha", [0, 0.3, 1])
@pytest.mark.parametrize("tau", [1.5, 2.5])
def test_distillation_is_the_formula(alpha, tau):
    expected = alpha * cross_entropy() + (1 - alpha) * (kl(STUDENT, TEACHER, tau) + mse())
    assert distillation(alpha, tau) == pytest.approx(expected)
    assert min(cross_entropy(), kl(STUDENT, TEACHER, tau), mse()) > 0.1  # every term is seen


def test_kl_runs_from_teacher_to_student():
    assert losses.soft_kl(t(STUDENT), t(TEACHER), 2.0).item() == pytest.approx(
        kl(STUDENT, TEACHER, 2.0)
    )
    assert kl(STUDENT, TEACHER, 2.0) != pytest.approx(kl(TEACHER, STUDENT, 2.0), rel=0.01)
    assert losses.soft_kl(t(STUDENT), t(STUDENT), 2.0).item() == pytest.approx(0, abs=1e-12)


def test_hidden_mse_counts_real_tokens_only():
    assert losses.hidden_mse(t(H_STUDENT), t(H_TEACHER), t(MASK)).item() == pytest.approx(mse())
    wild = np.where(MASK[..., None] == 1, H_STUDENT, 1e6)
    assert losses.hidden_mse(t(wild), t(H_TEACHER), t(MASK)).item() == pytest.approx(mse())
    assert losses.hidden_mse(t(H_STUDENT), t(H_TEACHER), t(MASK * 0)).item() == 0


def test_bounded_punish_is_the_formula_above_its_target_and_zero_below():
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [0.1, 0.0]])
    labels = np.array([0, 0, 0])
    p = softmax(logits)[:, 0]
    for target, punished in ((0.0, [0, 1, 2]), (0.5, [0, 2]), (0.6, [0]), (0.9, [])):
        expected = -np.log(1 - p[punished]).sum() / 3
        assert losses.bounded_punish(t(logits), t(labels), target).item() == pytest.approx(expected)


def test_bounded_punish_pushes_the_given_label_down_and_nothing_else():
    logits = t([[3.0, 0.0, 0.0], [-3.0, 0.0, 0.0]]).requires_grad_()
    losses.bounded_punish(logits, t([0, 0]), 0.5).backward()
    assert logits.grad[0, 0] > 0  # descent lowers it
    assert (logits.grad[0, 1:] < 0).all()
    assert (logits.grad[1] == 0).all()


def test_bounded_punish_stays_finite_for_a_certain_model():
    logits = t([[80.0, -80.0]]).requires_grad_()
    loss = losses.bounded_punish(logits, t([0]), 0.5)
    loss.backward()
    assert 0 < loss.item() < 20
    assert torch.isfinite(logits.grad).all()
