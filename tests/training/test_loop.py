"""The training loop."""

import copy
import os
import random
import sys
import time

import numpy as np
import pytest
import torch

from bedkd.errors import InputError
from bedkd.run import Run, load_state, save_state
from bedkd.training import runtime
from bedkd.training.batches import EncodedTexts
from bedkd.training.loop import MAX_STEPS_BACK, Trainer
from bedkd.training.objectives import cross_entropy
from bedkd.training.predict import predict


def steps(rows, count=3):
    return ((cross_entropy, rows, np.arange(len(rows))) for _ in range(count))


@pytest.fixture
def rows(tokenizer):
    return EncodedTexts(tokenizer, ["great", "dull", "fine word1", "slow word2"], [1, 0, 1, 0])


def test_training_lowers_the_loss_and_restores_the_random_state(bert, rows):
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    losses = Trainer(bert, num_steps=12, lr=5e-3, seed=0).train(steps(rows, 12))
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert not bert.training
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]


def test_same_seed_same_training_other_dropout_seed_other_training(toy, tokenizer, rows):
    def run(seed):
        return Trainer(toy.bert(tokenizer), num_steps=3, lr=1e-3, seed=seed).train(steps(rows))

    torch.manual_seed(1)
    first = run(0)
    torch.manual_seed(2)
    assert run(0) == first
    assert run(1) != first


def test_bf16_trains_in_eight_bits_and_predicts_in_full(toy, tokenizer, rows, weights, request):
    def trained():
        model = toy.bert(tokenizer)
        losses = Trainer(model, num_steps=3, lr=1e-3, seed=0).train(steps(rows))
        return model, losses

    model, full = trained()
    answers = predict(model, rows).logits
    request.getfixturevalue("bf16")
    assert np.array_equal(predict(model, rows).logits, answers)
    half_model, half = trained()
    assert half != full
    np.testing.assert_allclose(half, full, rtol=0.05)
    assert {value.dtype for value in weights(half_model).values()} == {np.dtype("float32")}


@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step")
def test_loss_scaling_changes_no_result_and_its_scale_is_kept(
    toy, tokenizer, rows, monkeypatch, fresh_accelerator
):
    """What fp16 on a GPU adds to training; the scaler itself works on a CPU too. (Accelerate
    unscales before clipping only where it made the scaler itself: no clipping here.)"""

    def make():
        return Trainer(toy.bert(tokenizer), num_steps=6, lr=1e-3, seed=0, max_grad_norm=None)

    plain = make().train(steps(rows, 6))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    monkeypatch.setattr(runtime.accelerator(), "scaler", scaler)
    trainer = make()
    assert trainer.train(steps(rows, 3)) == plain[:3]
    state = trainer.state_dict()
    assert state["scaler"]["scale"] == 16.0  # it has grown once
    scaler.update(2.0)
    again = make()
    again.load_state_dict(state)
    assert scaler.get_scale() == 16.0
    assert again.train(steps(rows, 3)) == plain[3:]


def test_the_learning_rate_warms_up_and_decays(toy, tokenizer, rows, weights):
    model, moved = toy.bert(tokenizer), []
    trainer = Trainer(model, num_steps=10, lr=1e-2, seed=0, warmup_ratio=0.3, max_grad_norm=None)
    last = weights(model)["classifier.bias"]
    for step in steps(rows, 10):
        trainer.train([step])
        now = weights(model)["classifier.bias"]
        moved.append(np.abs(now - last).max())
        last = now
    assert moved[0] == 0  # the rate of the first step
    assert max(moved[2:5]) > 5 * moved[-1] > 0


def test_after_a_restart_the_learning_rate_rises_and_falls_again(toy, tokenizer, rows):
    trainer = Trainer(toy.bert(tokenizer), num_steps=5, lr=1e-2, seed=0, warmup_ratio=0.4)

    def rates(count=5):
        found = []
        for step in steps(rows, count):
            found.append(trainer.schedule.get_last_lr()[0])
            trainer.train([step])
        return found

    once = rates()
    assert once == pytest.approx([0, 0.005, 0.01, 0.01 * 2 / 3, 0.01 / 3])
    trainer.restart(5)
    assert rates() == once
    trainer.restart(3)
    assert rates(3) == pytest.approx([0, 0.01, 0.005])
    assert trainer.bar.total == trainer.steps_done


def test_training_in_parts_is_training_at_once(toy, tokenizer, rows, weights, same_weights):
    found = []
    for parts in ((6,), (1, 3, 2)):
        model = toy.bert(tokenizer)
        trainer = Trainer(model, num_steps=6, lr=1e-3, seed=0, warmup_ratio=0.3)
        losses = []
        for count in parts:
            losses += trainer.train(steps(rows, count))
            torch.rand(3)  # what happens in between does not matter
        found.append((losses, weights(model)))
    assert found[0][0] == found[1][0]
    assert same_weights(found[0][1], found[1][1])


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_saved_state_goes_on_as_if_nothing_had_happened(
    kind, toy, tokenizer, rows, weights, same_weights, tmp_path
):
    """To the bit, dropout included, in a new model and a new trainer."""

    def make(seed=0):
        model = (toy.bert if kind == "encoder" else toy.llama)(tokenizer, seed=seed)
        if kind == "decoder":
            model.model.layers[0].self_attn.attention_dropout = 0.1
        return model, Trainer(
            model, num_steps=8, lr=5e-3, seed=seed, weight_decay=0.01, warmup_ratio=0.25
        )

    whole, trainer = make()
    assert whole.config.to_dict().get("hidden_dropout_prob", 0.1) > 0
    losses = trainer.train(steps(rows, 8))

    first, trainer = make()
    before = trainer.train(steps(rows, 3))
    path = save_state(trainer.state_dict(), tmp_path / "state")
    second, trainer = make(seed=7)  # other weights and another dropout seed
    trainer.load_state_dict(load_state(path))
    assert trainer.steps_done == 3
    assert same_weights(weights(first), weights(second))
    after = trainer.train(steps(rows, 5))
    assert before + after == losses
    assert same_weights(weights(whole), weights(second))
    # Dropout is on: with the same weights and another seed the losses differ.
    _, trainer = make()
    state = load_state(path)
    state["random"] = make(seed=7)[1].state_dict()["random"]
    trainer.load_state_dict(state)
    assert trainer.train(steps(rows, 5)) != after


def broken_at(*calls):
    """Cross entropy that is not finite in these calls, and how often it was called."""
    count = []

    def objective(model, batch):
        count.append(1)
        return cross_entropy(model, batch) * (float("nan") if len(count) in calls else 1)

    return objective, count


def test_a_loss_that_stays_infinite_stops_the_run(bert, rows):
    objective, count = broken_at(*range(1, 20))
    trainer = Trainer(bert, num_steps=1, lr=1e-3, seed=0)
    with pytest.raises(InputError, match=r"loss of step 1 is nan, also .* rate of 6.3e-05; use"):
        trainer.train([(objective, rows, np.array([0]))])
    assert len(count) == 1 + MAX_STEPS_BACK
    assert not bert.training


def test_after_a_loss_that_is_not_finite_training_goes_on_from_before_it(
    toy, tokenizer, rows, weights, same_weights, caplog
):
    """As a new training with the weights of before, half the rate, and the rest of the schedule."""

    def make(model, lr):
        return Trainer(model, num_steps=9, lr=lr, seed=0, warmup_ratio=0.2, description="learning")

    model = toy.bert(tokenizer)
    trainer = make(model, 1e-2)
    trainer.train(steps(rows))
    assert trainer.notes == {}
    state = {**trainer.state_dict(), "model": {k: v.clone() for k, v in model.state_dict().items()}}
    objective, count = broken_at(2, 8)  # once in the first attempt, once in the second's last step
    losses = trainer.train((objective, rows, np.arange(len(rows))) for _ in range(4))
    assert (len(losses), len(count), trainer.steps_done) == (4, 12, 7)
    assert trainer.notes == {"stepped_back": 2, "lr": 0.0025}
    assert caplog.text.count("learning: the loss of step") == 2
    assert "back to step 3, learning rate 0.0025" in caplog.text

    other = toy.bert(tokenizer)
    again = make(other, 0.0025)
    state["optimizer"] = again.optimizer.optimizer.state_dict()
    state["schedule"] = {**state["schedule"], "base_lrs": [0.0025]}
    again.load_state_dict(state)
    for group in again.optimizer.optimizer.param_groups:
        group["lr"] = 0.0025 * again.schedule.lr_lambdas[0](3)
    assert again.train(steps(rows, 4)) == losses
    assert same_weights(weights(model), weights(other))
    # It does not forget, not even over an interruption.
    resumed = make(toy.bert(tokenizer), 1e-2)
    resumed.load_state_dict(copy.deepcopy(trainer.state_dict()))
    assert (
        resumed.train(steps(rows, 2))
        == trainer.train(steps(rows, 2))
        == again.train(steps(rows, 2))
    )
    assert (resumed.notes, resumed.steps_back) == ({}, 2)


def test_weights_that_a_last_step_broke_are_taken_back(toy, tokenizer, rows, weights):
    model, count = toy.bert(tokenizer), []

    def exploding(model, batch):
        """The loss is a number, its gradient is not."""
        count.append(1)
        loss = cross_entropy(model, batch)
        return loss + 0 * torch.sqrt(0 * loss) if len(count) == 2 else loss

    trainer = Trainer(model, num_steps=2, lr=1e-3, seed=0)
    trainer.train((exploding, rows, np.arange(4)) for _ in range(2))
    assert trainer.notes["stepped_back"] == 1
    assert all(np.isfinite(value).all() for value in weights(model).values())


def test_weight_decay_shrinks_weights_without_a_loss(bert, rows, weights):
    def nothing(model, batch):
        return 0.0 * model(**batch.inputs).logits.sum()

    before = weights(bert)
    trainer = Trainer(bert, num_steps=1, lr=0.1, seed=0, weight_decay=0.5)
    trainer.train([(nothing, rows, np.arange(4))])
    for name, value in weights(bert).items():
        np.testing.assert_allclose(value, before[name] * (1 - 0.1 * 0.5), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("limit", [0.01, None])
def test_gradients_are_cut_to_a_norm_unless_there_is_none(bert, rows, limit):
    trainer, norms = Trainer(bert, num_steps=3, lr=1e-3, seed=0, max_grad_norm=limit), []
    step = trainer.optimizer.step

    def measured():
        norms.append(torch.cat([p.grad.flatten() for p in trainer.parameters]).norm().item())
        step()

    trainer.optimizer.step = measured
    trainer.train(steps(rows))
    assert len(norms) == 3
    if limit:
        assert norms == pytest.approx([limit] * 3, rel=1e-3)
    else:
        assert min(norms) > 0.02


def test_where_memory_runs_out_training_goes_on_with_halves(
    toy, tokenizer, rows, little_memory, caplog
):
    """Without dropout to the same model, and it does not try whole batches again."""

    def trained(limit):
        model = toy.bert(tokenizer)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        with little_memory(model, limit) as seen:
            trainer = Trainer(model, num_steps=3, lr=1e-3, seed=0, description="learning")
            losses = trainer.train(steps(rows))
        return predict(model, rows).logits, losses, seen

    whole, losses, _ = trained(4)
    halves, same, seen = trained(2)
    np.testing.assert_allclose(same, losses, rtol=1e-4)
    np.testing.assert_allclose(halves, whole, atol=1e-3)
    assert [size for size in seen if size > 1] == [4, *[2] * 6]  # one row tries out padding
    assert caplog.text.count("learning: out of memory; the batch is halved") == 1
    with pytest.raises(InputError, match="learning: out of memory with a single row"):
        trained(0)


def test_no_step_waits_for_its_loss(bert, rows, monkeypatch):
    """On a GPU each number that is read stops the work: as many for six steps as for two."""
    read = []

    def counted(name):
        original = getattr(torch.Tensor, name)

        def reading(tensor, *args):
            if "bedkd" in sys._getframe(1).f_code.co_filename:
                read.append(name)
            return original(tensor, *args)

        return reading

    Trainer(bert, num_steps=1, lr=1e-3, seed=0).train(steps(rows))  # padding is tried once a model
    for name in ("__float__", "item", "tolist", "__bool__"):
        monkeypatch.setattr(torch.Tensor, name, counted(name))
    for number in (2, 6):
        trainer = Trainer(bert, num_steps=number, lr=1e-3, seed=0)
        read.clear()
        trainer.train(steps(rows, number))
        assert read == ["tolist", "__bool__"]  # all losses; are all weights finite?


def test_a_young_state_is_not_written_again(tmp_path):
    """Seconds of writing after epochs of a second would be most of the time."""
    run, kept = Run(tmp_path), []

    def save(number):
        run.save("step", lambda: kept.append(number) or {"number": number})

    save(1)
    save(2)
    assert (run.load("step"), kept) == ({"number": 1}, [1])  # not even asked for
    a_while_ago = time.time() - 31
    os.utime(tmp_path / "step.safetensors", (a_while_ago, a_while_ago))
    save(3)
    assert run.load("step") == {"number": 3}
