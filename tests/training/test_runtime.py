"""The one accelerator of the process."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from bedkd.training import runtime
from bedkd.training.batches import EncodedTexts
from bedkd.training.loop import Trainer
from bedkd.training.objectives import cross_entropy
from bedkd.training.predict import predict


@pytest.fixture(autouse=True)
def alone(fresh_accelerator, monkeypatch):
    """A process in which nobody has asked for an accelerator or a precision."""
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)


@pytest.fixture
def card(monkeypatch):
    """From now on there is a CUDA device, or one that does not compute bf16 natively."""

    def appear(native=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: native
        )

    return appear


def test_the_accelerator_is_made_once():
    assert runtime.accelerator() is runtime.accelerator()
    assert runtime.device() == runtime.accelerator().device


def test_asking_for_the_device_first_fixes_no_other_precision(card):
    """Accelerate's state refuses a second precision. ``device()`` made it without one, and the
    accelerator that came after it with that of the card: every training on a GPU crashed."""
    runtime.device()
    card()
    assert runtime.precision() == "bf16"
    assert runtime.accelerator().device == runtime.device()
    runtime.accelerator.cache_clear()  # nor does it depend on who holds the handle
    assert runtime.accelerator().device == runtime.device()


@pytest.mark.parametrize("asked", ["no", "bf16"])
def test_the_device_is_asked_for_in_the_precision_of_training(asked, monkeypatch):
    """Whatever is asked for first."""
    monkeypatch.setattr(runtime, "precision", lambda: asked)
    runtime.device()
    assert runtime.accelerator().mixed_precision == asked


@pytest.mark.parametrize("theirs", ["no", "bf16"])
def test_an_accelerator_of_the_callers_own_is_kept(theirs, card):
    accelerator = Accelerator(mixed_precision=theirs)
    card(native=False)  # we would take fp16
    assert runtime.precision() == "fp16"
    assert runtime.accelerator().mixed_precision == accelerator.mixed_precision == theirs
    assert runtime.device() == accelerator.device


def test_a_callers_accelerator_after_ours_is_not_refused():
    ours = runtime.accelerator()
    assert Accelerator().mixed_precision == ours.mixed_precision


def test_precision_follows_the_hardware(monkeypatch, card):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.precision() == "no"
    card(native=True)
    assert runtime.precision() == "bf16"
    card(native=False)  # older cards emulate bf16, slowly
    assert runtime.precision() == "fp16"


@pytest.mark.parametrize("asked", ["no", "bf16", "fp16"])
def test_the_environment_has_the_last_word_on_precision(asked, monkeypatch, card):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", asked)
    assert runtime.precision() == asked
    card(native=asked != "bf16")
    assert runtime.precision() == asked


def test_a_model_in_place_is_taken_as_it_is(bert):
    assert runtime.on_device(bert) is bert


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_in_another_precision_is_copied_and_stays_as_it_was(bert, dtype):
    model = bert.to(dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copy = runtime.on_device(model)
    assert copy is not model
    assert {p.dtype for p in copy.parameters()} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {dtype}
    with torch.no_grad():
        for p in copy.parameters():
            p.add_(1)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_copy_has_the_models_weights(bert):
    model = bert.to(torch.bfloat16)
    copy = runtime.on_device(model).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value.to(copy[name]), copy[name])


def test_one_process_does_everything_and_writes_the_files():
    assert np.array_equal(runtime.my_share(5), np.arange(5))
    assert runtime.gathered([1, 2]) == [1, 2]
    assert runtime.is_main_process()


def test_processes_share_the_batches_without_one_twice(monkeypatch):
    shares = []
    for index in range(3):
        one = SimpleNamespace(process_index=index, num_processes=3)
        monkeypatch.setattr(runtime, "accelerator", lambda one=one: one)
        shares.append(runtime.my_share(10))
    assert sorted(np.concatenate(shares)) == list(range(10))
    assert {len(share) for share in shares} == {3, 4}


@pytest.mark.parametrize("backend", ["no", "eager"])
def test_models_are_compiled_where_accelerate_was_told_so(backend, bert, tokenizer, monkeypatch):
    """By torch's own backend "eager", which needs no compiler and changes no digit."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", backend)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    rows = EncodedTexts(tokenizer, ["fine", "dull film"] * 4, [1, 0] * 4)
    plain, untouched = copy.deepcopy(bert), copy.deepcopy(bert)
    asked = runtime.compiled(bert, in_place=False)  # the suspect model of a case
    assert (asked is bert) == (backend == "no")
    assert asked.classifier.weight is bert.classifier.weight
    np.testing.assert_array_equal(predict(asked, rows).logits, predict(untouched, rows).logits)
    assert bool(torch._dynamo.utils.counters["frames"]["ok"]) == (backend == "eager")
    torch._dynamo.utils.counters.clear()
    predict(bert, rows)
    assert not torch._dynamo.utils.counters["frames"]["ok"]  # the caller's own is as it was
    for model, told in ((bert, backend), (plain, "no")):
        runtime.accelerator.cache_clear()
        AcceleratorState._reset_state(reset_partial_state=True)
        monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", told)
        trainer = Trainer(model, num_steps=2, lr=1e-3, seed=0)
        trainer.train([(cross_entropy, rows, np.arange(8)), (cross_entropy, rows, np.arange(5))])
    assert bool(torch._dynamo.utils.counters["frames"]["ok"]) == (backend == "eager")
    for one, other in zip(bert.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
    assert list(bert.state_dict()) == list(plain.state_dict())
