"""Head pruning: which heads go, when it stops, and that they stay away."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bedkd.errors import InputError
from bedkd.repairs.head_pruning import HeadPruning, head_variance, output_projections
from bedkd.training.predict import predict

REPAIR = HeadPruning(epochs=1, lr=1e-3, batch_size=16)


@pytest.fixture(params=["bert", "llama"])
def owner(request, case, toy, tokenizer):
    """The case of an encoder or a decoder."""
    model = case.model if request.param == "bert" else toy.llama(tokenizer)
    return replace(case, model=model)


def gone(model):
    """Heads of which nothing is left, bool (layers, 2)."""
    parts = [layer.weight.reshape(32, 2, 16) == 0 for layer in output_projections(model)]
    return np.array([part.all(2).all(0).tolist() for part in parts])


def silence(model, layer, head):
    """A head that says the same of every token."""
    half = slice(16 * head, 16 * head + 16)
    with torch.no_grad():
        if hasattr(model, "bert"):
            value = model.bert.encoder.layer[layer].attention.self.value
            value.bias[half] = 5
        else:
            value = model.model.layers[layer].self_attn.v_proj
        value.weight[half] = 0


@pytest.fixture
def falling(owner, monkeypatch):
    """Accuracy is 1 before, 0.9 after the first heads, 0.8 after the next."""
    seen = iter([1.0, 0.9, 0.8])
    truth = owner.encoded(owner.divided.tune, "tune").labels

    class Said:
        @property
        def labels(self):
            right = np.arange(len(truth)) < next(seen) * len(truth)
            return np.where(right, truth, 1 - truth)

    monkeypatch.setattr("bedkd.repairs.head_pruning.predict", lambda *_: Said())


@pytest.mark.usefixtures("falling")
def test_the_head_that_says_nothing_goes_first(owner, given):
    silence(owner.model, 1, 0)
    made = replace(REPAIR, epochs=0).repair(owner, given)
    assert gone(made.model).tolist() == [[False, False], [True, False]]
    assert made.details == {"heads": 4, "pruned": 1}
    whole = [layer.weight for layer in output_projections(owner.suspect)]
    left = [layer.weight for layer in output_projections(made.model)]
    assert torch.equal(left[0], whole[0])
    assert torch.equal(left[1][:, 16:], whole[1][:, 16:])


@pytest.mark.usefixtures("falling")
def test_several_heads_at_a_time(owner, given):
    made = replace(REPAIR, epochs=0, step=2).repair(owner, given)
    assert made.details["pruned"] == gone(made.model).sum() == 2


def test_variance_by_hand(case, trusted):
    model, values = case.suspect.eval(), []
    layers = output_projections(model)
    hook = layers[1].register_forward_pre_hook(lambda _, args: values.append(args[0][0]))
    with torch.no_grad():
        for ids in trusted.ids:
            model(
                input_ids=torch.tensor(ids)[None].long(),
                attention_mask=torch.ones(1, len(ids)).long(),
            )
    hook.remove()
    expected = torch.cat(values).var(0, correction=0).reshape(2, 16).mean(1)
    np.testing.assert_allclose(head_variance(model, layers, trusted)[1], expected, rtol=1e-3)


def test_pruned_heads_stay_pruned(owner, given):
    made = replace(REPAIR, threshold=0.0).repair(owner, given)
    assert made.details == {"heads": 4, "pruned": 4}
    assert gone(made.model).all()


def test_it_stops_where_accuracy_would_fall(case, given):
    made = replace(REPAIR, epochs=0).repair(case, given)
    rows = case.encoded(case.divided.tune, "tune")
    before, after = (
        (predict(model, rows).labels == rows.labels).mean() for model in (case.suspect, made.model)
    )
    assert after >= 0.85 * before
    assert made.details["pruned"] == gone(made.model).sum()


def test_clean_accuracy_is_kept(case, given, judge):
    assert judge(REPAIR.repair(case, given).model).cacc > 0.85


def test_every_option_counts(every_option_counts):
    short = replace(REPAIR, threshold=0.0)
    every_option_counts(
        short,
        replace(short, threshold=1.0),
        replace(short, epochs=0),
        replace(short, lr=1e-4),
        replace(short, batch_size=8),
    )


@pytest.mark.parametrize("name", ["threshold", "step", "epochs", "lr", "batch_size"])
def test_bad_options(name):
    with pytest.raises(InputError, match=rf"{name}=-1: give at least"):
        HeadPruning(**{name: -1})
    with pytest.raises(InputError, match=r"threshold=1\.5: give a share from 0 to 1"):
        HeadPruning(threshold=1.5)


def test_a_model_without_such_heads(case, given):
    for layer in case.model.bert.encoder.layer:
        layer.attention.output.linear = layer.attention.output.dense
        del layer.attention.output.dense
    with pytest.raises(InputError, match=r"no attention heads .* choose another repair"):
        REPAIR.repair(case, given)
