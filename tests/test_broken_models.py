"""Models that are not what they say: one line, no code of theirs, no prompt."""

import contextlib
import io
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from bedkd import data, models
from bedkd.attacks.rewriting import load_generator
from bedkd.errors import InputError

LOADERS = {
    "classifier": models.load_checkpoint,
    "backbone": lambda folder: models.load_backbone(folder, num_labels=2),
    "first layers": lambda folder: models.load_backbone(folder, num_labels=2, layers=1),
}


@pytest.fixture(params=LOADERS)
def load(request):
    return LOADERS[request.param]


@pytest.fixture
def folder(bert, checkpoint):
    return checkpoint(bert)


def refused(load, folder):
    """The message, one line that begins with the folder."""
    with pytest.raises(InputError) as caught:
        load(folder)
    message = str(caught.value)
    assert message.startswith(f"model {folder}: ")
    assert "\n" not in message
    return message


def change_json(path, **changes):
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")


def change_weights(folder, change):
    """Store ``change(name, weight)``, a dict, in place of every weight."""
    path = folder / "model.safetensors"
    changed = {}
    for name, weight in load_file(path).items():
        changed |= change(name, weight)
    save_file(changed, path, metadata={"format": "pt"})


@pytest.mark.parametrize("damage", ["truncated", "empty", "pickle"])
def test_broken_weights(load, folder, damage):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[:-99], "empty": b"", "pickle": b"\x80\x04N."}[damage])
    assert "cannot be loaded" in refused(load, folder)


NOT_JSON = ["{", "[]", "\udce4"]
NOTHING_IN_IT = ["{}", '{"model": 1}']


@pytest.mark.parametrize(
    ("name", "junk"),
    [
        *(("config.json", junk) for junk in NOT_JSON + NOTHING_IN_IT),
        *(("tokenizer.json", junk) for junk in NOT_JSON + NOTHING_IN_IT),
        *(("tokenizer_config.json", junk) for junk in NOT_JSON),
    ],
)
def test_broken_json(load, folder, name, junk):
    (folder / name).write_bytes(junk.encode(errors="surrogateescape"))
    refused(load, folder)


def test_weights_of_an_index_that_are_not_safetensors(load, bert, folder):
    """They would be unpickled."""
    torch.save(bert.state_dict(), folder / "evil.bin")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(bert.state_dict(), "evil.bin")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "evil.bin" in refused(load, folder)


def test_weights_that_a_configuration_names_are_not_read(bert, tokenizer, folder, tmp_path):
    """Transformers would unpickle these."""
    change_json(folder / "config.json", transformers_weights="adapter_model.bin")
    with torch.no_grad():
        bert.classifier.bias += 1
    torch.save(bert.state_dict(), folder / "adapter_model.bin")
    model, _ = models.load_checkpoint(folder)
    assert torch.equal(model.classifier.bias + 1, bert.classifier.bias)
    saved = models.save_checkpoint(model, tokenizer, tmp_path / "saved")
    assert "transformers_weights" not in (saved / "config.json").read_text(encoding="utf-8")


def test_a_classifier_needs_all_of_its_weights(folder, toy, tokenizer, checkpoint):
    change_weights(folder, lambda n, w: {} if "layer.1.output.dense" in n else {n: w})
    message = refused(models.load_checkpoint, folder)
    assert "missing: bert.encoder.layer.1.output.dense.bias" in message
    four = checkpoint(toy.bert(tokenizer, classes=4), "four")
    change_json(
        four / "config.json", id2label={"0": "no", "1": "yes"}, label2id={"no": 0, "yes": 1}
    )
    assert "of another shape: classifier.bias" in refused(models.load_checkpoint, four)


def test_a_classifier_uses_all_of_its_weights(folder):
    change_json(folder / "config.json", num_hidden_layers=1)
    message = refused(models.load_checkpoint, folder)
    assert "not the model's: bert.encoder.layer.1" in message
    assert "and 13 more" in message
    models.load_backbone(folder, num_labels=2)  # but a backbone may be cut


def test_old_buffers_and_unread_poolers_are_in_order(toy, tokenizer, checkpoint):
    folder = checkpoint(toy.bert(tokenizer))
    extra = {
        "bert.embeddings.position_ids": torch.arange(40),
        "bert.pooler.old.weight": torch.zeros(2),
    }
    change_weights(folder, lambda n, w: {n: w, **extra})
    models.load_checkpoint(folder)


def test_a_backbone_needs_its_body(load, folder):
    change_weights(folder, lambda n, w: {f"x.{n}": w})
    assert "missing: bert." in refused(load, folder)


def test_a_backbone_of_another_shape(load, folder):
    change_weights(folder, lambda n, w: {n: w[:-1] if "word_embeddings" in n else w})
    assert "of another shape: bert.embeddings.word_embeddings.weight" in refused(load, folder)


def test_the_pooler_of_a_backbone_may_be_new(folder):
    """A masked language model has none."""
    change_weights(folder, lambda n, w: {} if "pooler" in n or "classifier" in n else {n: w})
    models.load_backbone(folder, num_labels=3)
    assert "missing: bert.pooler" in refused(models.load_checkpoint, folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(load, folder, value):
    name = "bert.encoder.layer.0.output.dense.bias"
    change_weights(folder, lambda n, w: {n: torch.full_like(w, value) if n == name else w})
    assert f"{name} are not finite" in refused(load, folder)


def test_weights_that_overflow(folder):
    change_weights(
        folder, lambda n, w: {n: torch.full_like(w, 3e38) if n == "classifier.weight" else w}
    )
    assert "not finite" in refused(models.load_checkpoint, folder)


@pytest.mark.parametrize("kind", ["multi_label_classification", "regression"])
def test_other_problems_than_one_label_a_text(folder, kind):
    change_json(folder / "config.json", problem_type=kind)
    assert kind in refused(models.load_checkpoint, folder)
    model, _ = models.load_backbone(folder, num_labels=2)  # its head is new
    assert model.config.problem_type is None


def test_a_single_class(toy, tokenizer, checkpoint):
    folder = checkpoint(toy.bert(tokenizer, classes=1))
    assert "1 labels" in refused(models.load_checkpoint, folder)
    with pytest.raises(InputError, match="num_labels=1: give at least 2"):
        models.load_backbone(folder, num_labels=1)


def test_quantised_weights(load, folder):
    change_json(folder / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    assert "quantised" in refused(load, folder)


def test_adapters(load, folder):
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    assert "holds an adapter" in refused(load, folder)


def words(*vocabulary, **options):
    model = WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]")
    specials = {"unk_token": "[UNK]", "pad_token": "[PAD]", **options}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), **specials)


def test_a_folder_without_its_tokenizer(load, folder):
    """Transformers makes an empty one."""
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "its tokenizer knows 0 of the model's 49 words" in refused(load, folder)


def test_a_tokenizer_that_is_much_too_small(load, folder):
    words("[PAD]", "[UNK]", "great", "dull").save_pretrained(folder)
    assert "knows 2 of the model's 49 words" in refused(load, folder)


def test_a_tokenizer_that_reads_nothing(load, checkpoint):
    """For Qwen transformers reads bytes, whatever the file says: of words nothing is left."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    config = Qwen2Config(**sizes, **heads, vocab_size=49, pad_token_id=0)
    folder = checkpoint(Qwen2ForSequenceClassification(config))
    assert "its tokenizer knows 1 of the model's 49 words" in refused(load, folder)


def test_a_tokenizer_beyond_the_embeddings(load, folder):
    words("[PAD]", "[UNK]", *(f"w{i}" for i in range(60))).save_pretrained(folder)
    assert "ids up to 61, for 49 embeddings" in refused(load, folder)


def test_a_tokenizer_with_nothing_to_pad_with(load, folder):
    words("[UNK]", *(f"w{i}" for i in range(40)), pad_token=None).save_pretrained(folder)
    assert "neither a padding nor an end-of-text token" in refused(load, folder)


CODE = {
    "a configuration": ("config.json", {"AutoConfig": "evil.C"}, {"model_type": "mine"}),
    "a model": ("config.json", {"AutoModelForSequenceClassification": "evil.M"}, {}),
    "a model of the hub": (
        *("config.json", {"AutoModelForSequenceClassification": "some/where--evil.M"}, {}),
    ),
    "both": (
        *("config.json", {"AutoConfig": "evil.C", "AutoModelForSequenceClassification": "evil.M"}),
        {"model_type": "mine"},
    ),
    "a tokenizer": (
        *("tokenizer_config.json", {"AutoTokenizer": ["evil.T", "evil.T"]}),
        {"tokenizer_class": "EvilTokenizer"},
    ),
    "a tokenizer of a known class": (
        *("tokenizer_config.json", {"AutoTokenizer": [None, "evil.T"]}, {}),
    ),
    "attention": ("config.json", {}, {"attn_implementation": "some/kernel"}),
    "attention, privately": ("config.json", {}, {"_attn_implementation": "some/kernel"}),
}


def hostile(folder, what):
    """A checkpoint with code of its own; returns the file that the code would leave."""
    name, auto_map, changes = CODE[what]
    change_json(folder / name, auto_map=auto_map, **changes)
    ran = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass C: pass\nM = T = C\n")
    return ran


@pytest.mark.parametrize("answer", ["closed", "yes"])
@pytest.mark.parametrize("what", CODE)
def test_no_code_of_a_checkpoint_runs_and_nobody_is_asked(
    load, folder, what, answer, monkeypatch, capsys
):
    ran = hostile(folder, what)
    keyboard = io.StringIO("y\n" * 9)
    if answer == "closed":
        keyboard.close()
    monkeypatch.setattr(sys, "stdin", keyboard)
    if what in ("a configuration", "both"):
        refused(load, folder)
    else:  # ours are used
        load(folder)
    assert not ran.exists()
    assert keyboard.closed or keyboard.tell() == 0
    assert "[y/N]" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("answer", ["closed", "yes"])
def test_the_command_asks_nobody_either(folder, answer, tmp_path):
    """The way in which the prompt once came up, in a process with a standard input of its own."""
    ran = hostile(folder, "both")
    rows = data.write(data.make(["great", "dull"] * 4, [1, 0] * 4, False), tmp_path / "train.csv")
    words = ["train", "--train", rows, "--backbone", folder, "--layers", "1"]
    stdin = {"input": "y\n" * 9} if answer == "yes" else {"stdin": subprocess.DEVNULL}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from bedkd.cli import app; app()",
            *map(str, words),
            "--output",
            str(tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        **stdin,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "[y/N]" not in done.stdout + done.stderr
    assert not ran.exists()


@pytest.mark.parametrize("what", ["both", "a tokenizer", "a tokenizer of a known class"])
def test_no_code_of_a_generator_runs_either(folder, what, monkeypatch):
    ran = hostile(folder, what)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    with contextlib.suppress(InputError):
        load_generator(str(folder), "stylebkd", folder / "out")
    assert sys.stdin.tell() == 0
    assert not ran.exists()
