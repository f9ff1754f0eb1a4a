"""Fine-pruning: which units go, how many, and that they stay away."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bedkd.errors import InputError
from bedkd.repairs.unit_pruning import FinePruning, activity, feed_forward_layers

REPAIR = FinePruning(pruned=0.25, epochs=2, lr=1e-3, batch_size=16)


@pytest.fixture(params=["bert", "llama"])
def owner(request, case, toy, tokenizer):
    """The case of an encoder or a decoder."""
    model = case.model if request.param == "bert" else toy.llama(tokenizer)
    return replace(case, model=model)


def gone(layer):
    """Units of which nothing is left, bool."""
    parts = [(w.reshape(len(w), -1) == 0).all(1) for w in layer.weights[:-1]]
    return torch.stack([*parts, (layer.down.weight == 0).all(0)]).all(0).numpy()


def test_exactly_the_stated_share_is_gone_and_nothing_else(owner, given):
    made = REPAIR.repair(owner, given)
    for layer in feed_forward_layers(made.model):
        assert gone(layer).sum() == 16
        for weight in layer.weights:
            assert (weight == 0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert made.details == {"units": 128, "pruned": 32}
    zeros = sum(int((w == 0).sum()) for w in made.model.parameters())
    assert zeros < 0.15 * sum(w.numel() for w in made.model.parameters())


def test_units_stay_away_whatever_their_activation_makes_of_zero(case, given):
    for layer in case.model.bert.encoder.layer:
        layer.intermediate.intermediate_act_fn = torch.nn.Sigmoid()
    for layer in feed_forward_layers(REPAIR.repair(case, given).model):
        assert gone(layer).sum() == 16


def test_a_dormant_unit_goes_first_however_large_its_weights(owner, given, trusted):
    """Unit 5 never answers but is read with huge weights; unit 7 answers loudly through small and
    negative ones, which pruning by the value of weights would take first."""
    with torch.no_grad():
        for layer in feed_forward_layers(owner.model):
            for up in layer.up:
                up.weight[5] = 0
                if up.bias is not None:
                    up.bias[5] = -20
            layer.down.weight[:, 5] = 9
            layer.up[-1].weight[7] *= 30
            layer.down.weight[:, 7] = -1e-3
    model = replace(REPAIR, pruned=1 / 64, epochs=0).repair(owner, given).model
    for layer in feed_forward_layers(model):
        assert np.flatnonzero(gone(layer)).tolist() == [5]
    model = replace(REPAIR, pruned=63 / 64, epochs=0).repair(owner, given).model
    assert not gone(feed_forward_layers(model)[0])[7]


def test_activity_is_a_mean_over_real_tokens(case, trusted):
    """Rows one by one, which need no padding, give what batches do."""
    model, values = case.suspect.eval(), []
    layers = feed_forward_layers(model)
    hook = layers[1].down.register_forward_pre_hook(lambda _, args: values.append(args[0][0]))
    with torch.no_grad():
        for ids in trusted.ids:
            model(
                input_ids=torch.tensor(ids)[None].long(),
                attention_mask=torch.ones(1, len(ids)).long(),
            )
    hook.remove()
    expected = torch.cat(values).abs().mean(0)
    np.testing.assert_allclose(activity(model, layers, trusted)[1], expected, rtol=1e-4)
    assert not layers[1].down._forward_pre_hooks


def test_clean_accuracy_is_kept(case, given, judge):
    assert judge(REPAIR.repair(case, given).model).cacc > 0.9


def test_every_option_counts(every_option_counts):
    others = {"pruned": 0.5}, {"epochs": 0}, {"lr": 1e-4}, {"batch_size": 8}
    every_option_counts(REPAIR, *(replace(REPAIR, **other) for other in others))


@pytest.mark.parametrize("name", ["pruned", "epochs", "lr", "batch_size"])
def test_bad_options(name):
    with pytest.raises(InputError, match=rf"{name}=-1: give at least"):
        FinePruning(**{name: -1})
    with pytest.raises(InputError, match=r"pruned=1\.5: give a share from 0 to 1"):
        FinePruning(pruned=1.5)


def test_a_model_without_such_layers(case, given):
    for layer in case.model.bert.encoder.layer:
        layer.output.dense = torch.nn.Bilinear(1, 1, 1)
    with pytest.raises(InputError, match=r"no feed-forward layers .* choose another repair"):
        REPAIR.repair(case, given)
