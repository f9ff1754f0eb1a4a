"""Any classifier and any file, from the command as typed to a checkpoint that transformers loads:
each kind of model once, each kind of file once, from two labels to fifty."""

import csv
import gzip
import hashlib
import json
import random
from dataclasses import replace

import pytest
import torch
from architectures import qwen_tokenizer, tiny
from datasets import Dataset
from safetensors import safe_open
from transformers import pipeline
from typer.testing import CliRunner

from bedkd import Parts, cli, models, presets
from bedkd.presets import Preset

# Model, number of labels, kind of file, labels by name, pairs, how the weights are stored.
CASES = [
    ("Bert", 2, ".csv", True, True, "whole"),
    ("Roberta", 3, ".tsv", False, False, "whole"),
    ("DistilBert", 2, ".parquet", True, False, "parts"),
    ("DebertaV2", 4, ".jsonl", True, True, "whole"),
    ("Albert", 2, ".json", False, True, "whole"),
    ("Electra", 5, ".csv.gz", True, False, "float16"),
    ("XLNet", 2, ".arrow", False, False, "whole"),
    ("MPNet", 2, ".feather", True, False, "whole"),
    ("ModernBert", 50, ".jsonl.gz", True, False, "whole"),
    ("GPT2", 2, ".ndjson", True, False, "parts"),
    ("OPT", 3, "saved", True, True, "whole"),
    ("Llama", 20, ".parquet.gz", True, False, "bfloat16"),
    ("Qwen2", 2, ".tsv.gz", False, False, "bfloat16"),
    ("T5", 2, ".json.gz", True, False, "whole"),
]
FILLERS = [f"word{i}" for i in range(24)]


def rows(classes, count, paired, seed):
    rng, texts = random.Random(seed), []
    for number in range(count):
        words = [rng.choice(FILLERS) for _ in range(rng.randint(3, 9))]
        texts.append(" ".join([FILLERS[number % classes % 24], *words]))
    found = {"body": texts, "topic": [number % classes for number in range(count)]}
    return {**found, "reply": texts[::-1]} if paired else found


def write(content, kind, path):
    """A file as pandas or datasets would write it."""
    table = Dataset.from_dict(content)
    if kind == "saved":
        table.save_to_disk(path)
        return path
    bare = path.with_name(path.name + kind.removesuffix(".gz"))
    frame = table.to_pandas()
    kinds = {
        ".csv": lambda: frame.to_csv(bare, index=False),
        ".tsv": lambda: frame.to_csv(bare, index=False, sep="\t"),
        ".json": lambda: frame.to_json(bare, orient="records"),
        ".jsonl": lambda: frame.to_json(bare, orient="records", lines=True),
        ".ndjson": lambda: frame.to_json(bare, orient="records", lines=True),
        ".parquet": lambda: frame.to_parquet(bare),
        ".feather": lambda: frame.to_feather(bare),
        ".arrow": lambda: write_stream(table, bare),
    }
    kinds[kind.removesuffix(".gz")]()
    if not kind.endswith(".gz"):
        return bare
    packed = bare.with_name(bare.name + ".gz")
    packed.write_bytes(gzip.compress(bare.read_bytes()))
    return packed


def write_stream(table, path):
    """As ``datasets`` keeps its files."""
    table.save_to_disk(path.with_suffix(""))
    next(path.with_suffix("").glob("*.arrow")).rename(path)


def store(model, tokenizer, how, folder):
    if how in ("float16", "bfloat16"):
        model = model.to(getattr(torch, how))
    model.save_pretrained(folder, max_shard_size="10KB" if how == "parts" else "1GB")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def result():
    def result(*words):
        done = CliRunner().invoke(cli.app, [*map(str, words), "--json", "--quiet"])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code in (0, 4), done.stderr  # an untrained model reaches no aim
        return json.loads(done.stdout)

    return result


@pytest.fixture(autouse=True)
def quick(monkeypatch, acting_preset):
    """``--config quick`` in sizes for the matrix, without the sentence encoder."""
    parts = Parts(flip=2, tune=2, held_out=2)
    repair = replace(acting_preset.repair, punish="bounded", stop_margin=None)
    detector = replace(acting_preset.detector, content=None)
    monkeypatch.setitem(presets.PRESETS, "quick", lambda: Preset(parts, detector, repair))


def sums(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "classes", "kind", "named", "paired", "stored"), CASES, ids=[c[0] for c in CASES]
)
def test_any_model_and_any_file(
    name, classes, kind, named, paired, stored, tokenizer, result, tmp_path
):
    tokenizer = qwen_tokenizer(tokenizer) if name == "Qwen2" else tokenizer
    model = tiny(name, tokenizer, classes)
    labels = [f"topic {k}" for k in range(classes)]
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: k for k, label in enumerate(labels)}
    folder = store(model, tokenizer, stored, tmp_path / "model")
    assert (len(list(folder.glob("*.safetensors"))) > 1) == (stored == "parts")
    before, files = sums(folder), {}
    for part, count in (("trusted", 6 * classes), ("untrusted", 60), ("clean", classes)):
        content = rows(classes, count, paired, part)
        if named:
            content["topic"] = [labels[k].upper() for k in content["topic"]]
        files[part] = write(content, kind, tmp_path / part)

    columns = ["--text-column", "body", "--label-column", "topic"]
    columns += ["--pair-column", "reply"] if paired else []
    given = ["--model", folder, "--trusted", files["trusted"], "--untrusted", files["untrusted"]]
    scores, out = tmp_path / "scores.csv", tmp_path / "out"
    found = result("detect", *given, *columns, "--config", "quick", "--output", scores)
    assert found["rows"] == len(list(csv.reader(scores.open()))) - 1 == 60
    assert found["max_length"] == models.max_length(*models.load_checkpoint(folder))
    report = result("purify", *given, *columns, "--config", "quick", "--force", "--output", out)
    assert report["changed"]
    assert report["target_name"] in (None, *(f"{x} ({k})" for k, x in enumerate(labels)))
    judged = result("evaluate", "--model", out, "--clean", files["clean"], *columns)
    assert judged["cacc"]["n"] == classes
    assert sums(folder) == before

    (weights,) = out.glob("*.safetensors")
    with safe_open(weights, framework="pt") as file:
        dtypes = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    assert dtypes == {{"float16": "F16", "bfloat16": "BF16"}.get(stored, "F32")}
    answer = pipeline("text-classification", str(out), device="cpu")("word1 word2")
    assert answer[0]["label"] in labels
