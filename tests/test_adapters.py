"""Adapters (LoRA): as files, as suspects, and as students on one base."""

import copy
import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import load_peft_weights
from safetensors.torch import load_file, save_file

from bedkd import models
from bedkd.detectors import DirectionalMapping, Given
from bedkd.errors import InputError
from bedkd.repairs import AdversarialDistillation, HeadPruning
from bedkd.training.batches import EncodedTexts
from bedkd.training.fine_tune import TrainingConfig, fine_tune
from bedkd.training.predict import predict
from bedkd.training.student import adapter_weights, student_of, whole_copy

HIGH = TrainingConfig(epochs=6, batch_size=16, lr=1e-2, max_length=32)


def logits(model, tokenizer):
    return predict(model, EncodedTexts(tokenizer, ["great word1", "dull"], max_length=8)).logits


@pytest.fixture(params=["bert", "llama"])
def base(request, toy, tokenizer, checkpoint):
    """A backbone's folder: without a classification head, as language models have none."""
    folder = checkpoint(getattr(toy, request.param)(tokenizer), "base")
    weights = load_file(folder / "model.safetensors")
    heads = [key for key in weights if key.startswith(("classifier.", "score."))]
    for key in heads:
        del weights[key]
    assert heads
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def adapter(base, tmp_path, toy):
    """A trained adapter and its tokenizer, in memory and as a folder."""
    model, tokenizer = models.load_backbone(base, num_labels=3, lora=4, seed=1)
    fine_tune(model, tokenizer, toy.rows(60, classes=3), HIGH)
    return model, tokenizer, models.save_checkpoint(model, tokenizer, tmp_path / "adapter")


def change(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values), encoding="utf-8")


def test_an_adapter_comes_back_as_it_was(adapter):
    model, tokenizer, folder = adapter
    loaded, its_tokenizer = models.load_checkpoint(folder)
    assert np.array_equal(logits(loaded, its_tokenizer), logits(model, tokenizer))
    assert models.max_length(loaded, its_tokenizer) == 32
    assert not loaded.training
    assert not list(folder.glob("model*"))
    assert models.fingerprint(loaded) == models.fingerprint(models.load_checkpoint(folder)[0])
    size = (folder / "adapter_model.safetensors").stat().st_size
    assert size < 4 * sum(w.numel() for w in model.parameters()) / 2


def test_other_tools_read_it_too(adapter, base):
    model, tokenizer, folder = adapter
    backbone = models.load_backbone(base, num_labels=3, seed=7)[0]
    theirs = PeftModel.from_pretrained(backbone, folder).eval()
    assert np.allclose(logits(theirs, tokenizer), logits(model, tokenizer), atol=1e-6)


def test_an_adapter_made_by_peft_is_read(base, tokenizer, tmp_path):
    backbone = models.load_backbone(base, num_labels=4, seed=7)[0]
    config = LoraConfig(task_type="SEQ_CLS", r=2, target_modules="all-linear", use_rslora=True)
    theirs = get_peft_model(backbone, config).eval()
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if weight.requires_grad:
                weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(name)))
    theirs.peft_config["default"].base_model_name_or_path = str(base)
    theirs.save_pretrained(tmp_path / "theirs")
    loaded, _ = models.load_checkpoint(tmp_path / "theirs")  # the tokenizer is the base's
    assert np.allclose(logits(loaded, tokenizer), logits(theirs, tokenizer), atol=1e-6)
    assert loaded.config.num_labels == 4


def test_a_base_beside_the_adapter_is_found_by_a_relative_path(adapter, base):
    model, tokenizer, folder = adapter
    change(folder, base_model_name_or_path="../base")
    assert np.array_equal(
        logits(models.load_checkpoint(folder)[0], tokenizer), logits(model, tokenizer)
    )


def test_the_first_layers_of_a_base(base, tmp_path):
    model, tokenizer = models.load_backbone(base, num_labels=2, layers=1, lora=2)
    folder = models.save_checkpoint(model, tokenizer, tmp_path / "first")
    loaded, _ = models.load_checkpoint(folder)
    assert loaded.config.num_hidden_layers == 1
    assert np.array_equal(logits(loaded, tokenizer), logits(model, tokenizer))
    named = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == f"{base}[:1]"  # so that no other tool loads all layers and goes on


def test_names_of_classes_and_the_precision_of_the_file_stay(adapter, tmp_path):
    _, tokenizer, folder = adapter
    names = {0: "bad", 1: "good", 2: "odd"}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": names}))
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({k: w.half() for k, w in weights.items()}, folder / "adapter_model.safetensors")
    loaded, _ = models.load_checkpoint(folder)
    assert loaded.config.id2label == names
    assert next(iter(adapter_weights(loaded).values())).dtype == torch.float32
    again = models.save_checkpoint(loaded, tokenizer, tmp_path / "again")
    stored = load_file(again / "adapter_model.safetensors").values()
    assert {w.dtype for w in stored} == {torch.float16}


def refused(folder):
    with pytest.raises(InputError) as found:
        models.load_checkpoint(folder)
    assert str(folder) in str(found.value)
    return str(found.value)


def test_pickles_are_refused(adapter):
    *_, folder = adapter
    weights = load_peft_weights(folder, device="cpu")
    torch.save(weights, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    assert "does not unpickle" in refused(folder)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"peft_type": "IA3"}, "of kind IA3"),
        ({"megatron_config": {"a": 1}}, "sets megatron_config"),
        ({"layer_replication": [[0, 2]]}, "sets layer_replication"),
        ({"init_lora_weights": "pissa"}, "sets init_lora_weights"),
        ({"base_model_name_or_path": None}, "names no base_model_name_or_path"),
        ({"base_model_name_or_path": "./nowhere"}, "no such folder"),
        ({"r": 3}, "of another shape"),
        ({"target_modules": ["nothing"]}, "No modules were targeted"),
    ],
)
def test_settings_that_cannot_be_followed_are_named(adapter, settings, says):
    *_, folder = adapter
    change(folder, **settings)
    if says == "no such folder":
        with pytest.raises(InputError, match=says):
            models.load_checkpoint(folder)
    else:
        assert says in refused(folder)


@pytest.mark.parametrize("what", ["head", "lora", "nan", "more"])
def test_weights_that_are_not_the_adapters_are_refused(adapter, what):
    *_, folder = adapter
    weights = load_file(folder / "adapter_model.safetensors")
    heads = [key for key in weights if ".lora_" not in key]
    if what == "head":
        weights = {key: w for key, w in weights.items() if key not in heads}
    elif what == "lora":
        del weights[next(key for key in weights if ".lora_A" in key)]
    elif what == "nan":
        weights[heads[0]][0] = float("nan")
    else:
        weights["base_model.model.stranger.lora_A.weight"] = torch.ones(2, 2)
    save_file(weights, folder / "adapter_model.safetensors")
    says = {"nan": "not finite", "more": "not the base's"}.get(what, "missing")
    assert f": {says}: " in refused(folder)


def test_a_student_shares_the_base_and_leaves_the_teacher_alone(adapter, toy):
    model, tokenizer, _ = adapter
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    student = student_of(model)
    own = {w.data_ptr() for w in adapter_weights(student).values()}
    theirs = {w.data_ptr() for w in model.state_dict().values()}
    assert not own & theirs
    assert {w.data_ptr() for w in student.state_dict().values()} - own <= theirs
    assert np.array_equal(logits(student, tokenizer), logits(model, tokenizer))
    fine_tune(student, tokenizer, toy.rows(60, seed=3, classes=3), HIGH)
    assert not np.allclose(logits(student, tokenizer), logits(model, tokenizer), atol=1e-3)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_student_of_an_adapter_for_inference_can_be_trained(adapter, toy):
    """Peft loads adapters frozen; the head is part of what is trained."""
    model, *_ = adapter
    model.requires_grad_(False)
    student = student_of(model)
    trained = {name for name, weight in student.named_parameters() if weight.requires_grad}
    assert len(trained) == len(adapter_weights(model))
    assert any("lora_A" in name for name in trained)
    assert any("modules_to_save" in name for name in trained)
    assert not any(weight.requires_grad for weight in model.parameters())


def test_whole_models_are_copied_whole(bert):
    student = student_of(bert)
    assert not {w.data_ptr() for w in student.parameters()} & {
        w.data_ptr() for w in bert.parameters()
    }


def test_a_merged_copy_answers_alike(adapter):
    model, tokenizer, _ = adapter
    merged = whole_copy(model)
    assert not isinstance(merged, PeftModel)
    assert np.allclose(logits(merged, tokenizer), logits(model, tokenizer), atol=1e-5)
    assert isinstance(model, PeftModel)


@pytest.fixture
def suspect(case, tokenizer, tmp_path, toy, task):
    """The toy case with an adapter on a backbone that knows the task, as suspect."""
    folder = models.save_checkpoint(case.model, tokenizer, tmp_path / "backbone")
    model, _ = models.load_backbone(folder, num_labels=2, lora=4)
    fine_tune(model, tokenizer, task.train, HIGH)
    return copy.copy(case).__class__(
        model, tokenizer, case.trusted, case.untrusted, case.parts, case.max_length
    )


def test_what_purifies_an_adapter_is_an_adapter(suspect, tokenizer, tmp_path):
    """Mapping and distillation train adapters alone; the repaired model is saved as one."""
    mapping = DirectionalMapping(epochs=2, patience=None)
    student, _ = mapping.fit(suspect)
    found = Given(tuple(range(24))).detect(suspect)
    made = AdversarialDistillation(cycles=2).repair(suspect, found)
    base = suspect.model.get_input_embeddings().weight
    for model in (student, made.model):
        assert isinstance(model, PeftModel)
        assert model.get_input_embeddings().weight is base
        assert not np.allclose(logits(model, tokenizer), logits(suspect.model, tokenizer))
    folder = models.save_checkpoint(made.model, tokenizer, tmp_path / "purified")
    assert (folder / "adapter_model.safetensors").is_file()
    loaded, _ = models.load_checkpoint(folder)
    assert np.array_equal(logits(loaded, tokenizer), logits(made.model, tokenizer))


def test_repairs_that_change_the_base_give_a_whole_model(suspect, tokenizer, tmp_path):
    before = models.fingerprint(suspect.model)
    found = Given((0, 1)).detect(suspect)
    made = HeadPruning(threshold=0.5, epochs=1).repair(suspect, found)
    assert not isinstance(made.model, PeftModel)
    assert models.fingerprint(suspect.model) == before
    loaded, _ = models.load_checkpoint(
        models.save_checkpoint(made.model, tokenizer, tmp_path / "whole")
    )
    assert np.array_equal(logits(loaded, tokenizer), logits(made.model, tokenizer))


def test_the_command_line(commands, files, base, tmp_path):
    """Train, detect, purify and evaluate with an adapter in place of a model."""
    victim, new = tmp_path / "victim", tmp_path / "new"
    options = ["--layers", "1", "--lora", "4", "--epochs", "1", "--max-length", "32"]
    train = ["train", "--train", files, "--backbone", base, "--output", victim, *options]
    assert commands.run(*train) == [0], commands.said()
    assert (victim / "adapter_model.safetensors").is_file()
    given = ["--model", victim, "--trusted", files, "--untrusted", files, "--config", "quick"]
    detect = ["detect", *given, "--output", tmp_path / "scores.csv"]
    assert commands.run(*detect) == [0], commands.said()
    purify = ["purify", "--force", *given, "--output", new]
    assert commands.run(*purify)[0] in (0, 4), commands.said()  # 4: the repair missed its aim
    assert (new / "adapter_model.safetensors").is_file()
    judge = ["evaluate", "--model", new, "--clean", files]
    assert commands.run(*judge) == [0], commands.said()
