"""Losses tied to a model: teacher rows, signs and padding."""

import numpy as np
import pytest
import torch

from bedkd.training import losses
from bedkd.training.batches import EncodedTexts
from bedkd.training.objectives import (
    BoundedPunishLoss,
    DistillationLoss,
    SoftLabelLoss,
    TransplantLoss,
    cross_entropy,
)
from bedkd.training.predict import Prediction, predict

CPU = torch.device("cpu")
TEXTS = ["great", "dull word1 word2 word3 word4 word5", "word1 fine word2", "slow word7"]
LABELS = np.array([1, 0, 1, 0])


@pytest.fixture
def rows(tokenizer):
    return EncodedTexts(tokenizer, TEXTS, LABELS)


@pytest.fixture
def teacher(toy, tokenizer, rows):
    return predict(toy.bert(tokenizer, seed=9), rows, hidden=True)


def test_distillation_compares_every_row_with_its_own_teacher_answer(bert, rows, teacher):
    alpha, tau, order = 0.3, 1.5, [2, 0, 3, 1]
    student = predict(bert, rows, hidden=True)
    logits, answers = (torch.tensor(p.logits[order]) for p in (student, teacher))
    tokens, answered = (
        torch.tensor(np.concatenate([p.hidden[i] for i in order])) for p in (student, teacher)
    )
    expected = alpha * torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS[order]))
    agreement = losses.soft_kl(logits, answers, tau) + (tokens - answered).pow(2).mean()
    expected += (1 - alpha) * agreement
    found = DistillationLoss(teacher, tau, alpha)(bert, rows.batch(order, CPU))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_distillation_does_not_depend_on_padding(bert, rows, teacher):
    objective = DistillationLoss(teacher, temperature=1.5, alpha=0.3)
    short = objective(bert, rows.batch([0, 0], CPU)).item()
    padded = rows.batch([0, 1], CPU)
    only_short = rows.batch([0, 1], CPU)
    for key in padded.inputs:
        padded.inputs[key][1] = padded.inputs[key][0]
    padded = type(padded)(np.array([0, 0]), padded.inputs, only_short.labels[[0, 0]])
    assert padded.inputs["input_ids"].shape[1] == 8
    assert objective(bert, padded).item() == pytest.approx(short, rel=1e-5)


def test_the_punishing_sign_negates_loss_and_gradient(bert, rows, teacher):
    batch = rows.batch(range(4), CPU)
    gradients = []
    for sign in (1, -1):
        loss = DistillationLoss(teacher, 2.5, 0.3, sign=sign)(bert, batch)
        assert np.sign(loss.item()) == sign
        bert.zero_grad()
        loss.backward()
        gradients.append(bert.classifier.weight.grad.clone())
    assert torch.allclose(gradients[0], -gradients[1])
    assert gradients[0].abs().max() > 0


def test_transplant_keeps_label_and_answer_of_the_host(bert, rows, teacher):
    alpha, tau = 0.3, 2.5
    batch = rows.batch([2, 0], CPU)
    logits = torch.tensor(predict(bert, rows).logits[[2, 0]])
    expected = alpha * torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS[[2, 0]]))
    expected += (1 - alpha) * losses.soft_kl(logits, torch.tensor(teacher.logits[[2, 0]]), tau)
    objective = TransplantLoss(torch.from_numpy(teacher.logits), tau, alpha)
    assert objective(bert, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_soft_label_of_every_row_is_looked_up(bert, rows):
    soft = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.0, 1.0]])
    order = [3, 0]
    logits = torch.tensor(predict(bert, rows).logits[order])
    expected = -(soft[order] * logits.log_softmax(-1)).sum(-1).mean()
    found = SoftLabelLoss(soft)(bert, rows.batch(order, CPU))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "rises"), [(BoundedPunishLoss(0.0), False), (cross_entropy, True)]
)
def test_a_step_moves_the_given_label_the_right_way(bert, rows, objective, rises):
    batch = rows.batch(range(4), CPU)
    before = predict(bert, rows).probabilities[np.arange(4), LABELS]
    optimizer = torch.optim.SGD(bert.parameters(), lr=0.05)
    objective(bert, batch).backward()
    optimizer.step()
    after = predict(bert, rows).probabilities[np.arange(4), LABELS]
    assert (after.mean() > before.mean()) == rises


def test_prediction_probabilities_survive_large_logits():
    certain = Prediction(np.array([[1000.0, 0.0], [0.0, 0.0]], np.float32))
    assert certain.probabilities.tolist() == [[1, 0], [0.5, 0.5]]
