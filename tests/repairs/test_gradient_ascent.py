"""Robust gradient ascent: the loss by hand, and that it switches itself off."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from bedkd.detectors import Detection
from bedkd.errors import InputError
from bedkd.repairs.gradient_ascent import (
    RobustAscentLoss,
    RobustGradientAscent,
    ascent_weights,
)
from bedkd.training.forward import ask
from bedkd.training.predict import predict
from bedkd.training.runtime import device

REPAIR = RobustGradientAscent(epochs=6, lr=2e-3, beta=0.005)
PLAIN = replace(REPAIR, alpha=0.0, beta=0.0)  # gradient ascent that knows no end


def test_weights_of_the_ascent_by_hand():
    """p now (3/4, 1/4), before (1/4, 3/4): KL = log(3)/2, so that λ = 3^(−α/2)."""
    now, before = torch.tensor([[3.0, 1.0], [1.0, 3.0]]).log()
    now, before = torch.stack([now, before]), torch.stack([before, before])
    assert ascent_weights(now, before, 2.0).tolist() == pytest.approx([1 / 3, 1])
    assert ascent_weights(now, before, 0.0).tolist() == [1, 1]


def test_divergence_is_from_now_to_before():
    now, before = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    kl = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    assert float(ascent_weights(now, before, 1.0)) == pytest.approx(np.exp(-kl))


def test_loss_and_gradient_by_hand(victim, trusted, case):
    """Rows 0 to 5 are trusted, the others flagged; no gradient flows through λ."""
    model, rng = copy.deepcopy(victim).eval(), np.random.default_rng(0)
    batch = trusted.batch(np.arange(10), device())
    before = torch.from_numpy(rng.normal(size=(74, 2)).astype(np.float32))
    start = [w.detach() + 0.01 for w in model.parameters()]
    objective = RobustAscentLoss(6, before, start, alpha=2.0, beta=0.05)
    loss = objective(model, batch)
    loss.backward()

    logits = ask(model, batch).logits.detach()
    p, wanted = logits.softmax(-1), torch.eye(2)[batch.labels]
    ce = -(p.log() * wanted).sum(-1)
    weights = ascent_weights(logits[6:], before[:4], 2.0)
    count = sum(w.numel() for w in model.parameters())
    expected = ce[:6].mean() - (weights * ce[6:]).mean() + 0.05 * count * 0.01**2
    assert loss.item() == pytest.approx(float(expected), rel=1e-4)
    pull = (p - wanted)[:6].mean(0) - (weights[:, None] * (p - wanted)[6:]).mean(0)
    bias = model.classifier.bias.grad
    assert bias.tolist() == pytest.approx((pull - 2 * 0.05 * 0.01).tolist(), rel=1e-3)


def flagged_given(model, case, detection):
    """Mean probability of the given label of flagged rows."""
    p = predict(model, case.encoded_untrusted).probabilities
    return p[np.arange(len(p)), case.labels][detection.flagged].mean()


def test_the_backdoor_goes_and_the_ascent_with_it(case, given, judge):
    made = REPAIR.repair(case, given)
    found = judge(made.model)
    assert judge(case.model).asr > 0.9
    assert (found.asr < 0.3, found.cacc > 0.9) == (True, True)
    assert made.details["ascent_left"] < 0.1
    assert sorted(made.rows) == np.flatnonzero(given.flagged).tolist()
    # Plain ascent goes on where this has stopped.
    plain = PLAIN.repair(case, given)
    assert plain.details["ascent_left"] == 1
    assert flagged_given(plain.model, case, given) < 0.01
    assert flagged_given(made.model, case, given) > 0.03


def test_the_weights_are_held(case, given):
    def moved(method):
        pairs = zip(
            method.repair(case, given).model.parameters(), case.suspect.parameters(), strict=True
        )
        return sum((a - b).detach().pow(2).sum().item() for a, b in pairs)

    assert moved(replace(REPAIR, beta=5.0)) < 0.2 * moved(replace(REPAIR, beta=0.0))


def test_it_takes_the_most_suspicious_rows(case, given):
    scores = given.scores + np.arange(len(given.scores)) / 1000
    scores[0] = 9
    found = Detection(scores, given.flagged, 1.0, False)
    short = replace(REPAIR, epochs=1, max_suspects=5)
    assert short.repair(case, found).rows.tolist()[0] == 0
    flagged = np.flatnonzero(given.flagged)
    assert flagged[0] != 0
    sure = replace(found, is_backdoored=True)
    assert short.repair(case, sure).rows.tolist() == flagged[::-1][:5].tolist()
    nobody = replace(sure, flagged=np.zeros_like(given.flagged))
    with pytest.raises(InputError, match="no untrusted row"):
        short.repair(case, nobody)


@pytest.mark.parametrize("count", [20, 64, 110])
def test_an_epoch_goes_over_the_larger_set(case, given, monkeypatch, count):
    """80 trusted rows beside so many flagged ones, in steps of 16."""
    steps = []
    monkeypatch.setattr(
        "bedkd.repairs.gradient_ascent.train",
        lambda student, case, epoch, *_: steps.extend(epoch(np.random.default_rng(0))) or [],
    )
    flagged = np.arange(320) < count
    made = REPAIR.repair(case, replace(given, flagged=flagged))
    assert len(steps) == -(-max(80, count) // 16)
    seen = np.concatenate([batch for _, _, batch in steps])
    assert set(seen) == set(range(80 + count))
    rows = steps[0][1]
    wanted = [case.encoded_untrusted.ids[i] for i in made.rows]
    assert [ids.tolist() for ids in rows.ids[80:]] == [ids.tolist() for ids in wanted]


def test_every_option_counts(every_option_counts):
    short = replace(REPAIR, epochs=2)
    others = {"alpha": 0.5}, {"beta": 0.5}, {"max_suspects": 8}
    others += {"epochs": 1}, {"lr": 1e-4}, {"batch_size": 8}
    every_option_counts(short, *(replace(short, **other) for other in others))


@pytest.mark.parametrize("name", ["alpha", "beta", "max_suspects", "epochs", "lr", "batch_size"])
def test_bad_options(name):
    with pytest.raises(InputError, match=rf"{name}=-1: give at least"):
        RobustGradientAscent(**{name: -1})
