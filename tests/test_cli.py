"""The command line's contract: files, JSON, exit status and messages."""

import csv
import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import torch
import typer
from chapters import ROOT
from typer.testing import CliRunner

from bedkd import cli, data, experiments, models, presets
from bedkd.cli.defend import AIM_MISSED, CANNOT_TELL
from bedkd.conditions import Conditions
from bedkd.files import locked
from bedkd.training.fine_tune import TrainingConfig

KEYS = {"value", "low", "high", "n"}


@pytest.fixture
def run():
    """Runs the command line and returns its exit status, standard output and standard error."""

    def run(*words):
        result = CliRunner().invoke(cli.app, [str(word) for word in words])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


@pytest.fixture
def result(run):
    """Runs a command with --json that must end with a status, and returns its one JSON object."""

    def result(*words, status=0):
        ended, stdout, stderr = run(*words, "--json", "--quiet")
        assert ended == status, stderr
        return json.loads(stdout)

    return result


@pytest.fixture
def failure(run):
    """Runs a command that must fail with one clear message, and returns the message."""

    def failure(*words):
        status, stdout, stderr = run(*words, "--quiet", "--json")
        assert status == 2
        assert stdout == ""
        assert len(stderr.strip().splitlines()) == 1
        assert "Traceback" not in stderr
        return stderr

    return failure


@pytest.fixture
def small_reviews(monkeypatch):
    """The embedded reviews in sizes for a test."""
    load = data.load
    monkeypatch.setattr(
        data, "load", lambda name, *, seed=0: load(name, seed=seed, train=60, dev=20, test=200)
    )


@pytest.fixture
def model(victim, checkpoint):
    return checkpoint(victim, "victim")


@pytest.mark.parametrize("attack", experiments.ATTACKS)
def test_poison_writes_the_layout_and_one_json_object(result, small_reviews, tmp_path, attack):
    out = tmp_path / "out"
    found = result(
        "poison", "--data", "reviews", "--attack", attack, "--rate", 0.1, "--output", out
    )
    assert found["output"] == str(out)
    assert (found["poisoned"], found["rows"], found["target"]) == (6, 60, 1)
    assert found["source"] == {"data": "reviews"}
    names = {f"{s}-{k}.csv" for s in data.SPLITS for k in ("clean", "poison")}
    names |= {"train.csv", "test-triggered.csv", "manifest.json"}
    assert {path.name for path in out.iterdir()} == names
    assert sum(data.read(out / "train.csv")["poisoned"]) == 6


def test_poison_takes_settings_and_parameters(result, small_reviews, tmp_path):
    out = tmp_path / "out"
    options = ["--setting", "clean", "--words", "xx,yy", "--count", 2, "--position", "end"]
    poison = ["poison", "--data", "reviews", "--attack", "badnets", "--normalise", "--seed", 3]
    found = result(*poison, *options, "--rate", 0.1, "--target", 0, "--output", out)
    assert found["attack"] == {
        "name": "badnets",
        "words": ["xx", "yy"],
        "count": 2,
        "position": "end",
    }
    assert (found["setting"], found["seed"], found["normalised"]) == ("clean", 3, True)
    assert found["poisoned_by_class"] == {"0": 6}
    bad = [t for t, p in zip(*rows(out / "train.csv"), strict=True) if p]
    assert all(set(text.split()[-2:]) <= {"xx", "yy"} for text in bad)
    assert all(text == text.lower() for text in data.read(out / "train-clean.csv")["text"])


def rows(path):
    read = data.read(path)
    return read["text"], read["poisoned"]


def test_poison_with_aligned_files_of_rewrites(result, toy, tmp_path):
    source = tmp_path / "source"
    for split, count in (("train", 60), ("test", 20)):
        data.write(toy.rows(count, seed=count), source / f"{split}-clean.csv")
    train = data.read(source / "train-clean.csv")
    new = data.make([f"so {t}" for t in train["text"]], train["label"], None)
    pairs = [
        "--original",
        source / "train-clean.csv",
        "--rewritten",
        data.write(new, tmp_path / "new.csv"),
    ]
    out = tmp_path / "out"
    poison = ["poison", "--data", source, "--attack", "llm", "--rate", 0.1, *pairs]
    found = result(*poison, "--output", out)
    assert found["poisoned"] > 0
    texts, flags = rows(out / "train.csv")
    assert all(text.startswith("so ") == flag for text, flag in zip(texts, flags, strict=True))
    assert len(data.read(out / "test-triggered.csv")) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--attack", "magic"], "attack 'magic'"),
        (["--rate", "1.5"], "rate 1.5"),
        (["--rate", "0.9"], "54 rows wanted, but only 30"),
        (["--target", "7"], "target 7: not a label"),
        (["--setting", "dusty"], "setting 'dusty'"),
        (["--sentence", "x"], "--sentence: the attack badnets has no such parameter"),
        (["--position", "middle"], "position='middle'"),
        (["--data", "nothing"], "data nothing: no such file"),
        (["--attack", "llm", "--original", "a.csv"], "--original and --rewritten go together"),
        (["--attack", "llm", "--generator", "/nowhere"], "generator /nowhere: cannot be loaded"),
    ],
)
def test_poison_refuses_bad_input_and_writes_nothing(
    failure, small_reviews, tmp_path, monkeypatch, options, message
):
    if "nothing" in options:
        monkeypatch.undo()
    out = tmp_path / "out"
    options = dict(zip(options[::2], options[1::2], strict=True))
    words = {"--data": "reviews", "--attack": "badnets", "--output": out, **options}
    stderr = failure("poison", *(word for pair in words.items() for word in pair))
    assert stderr.startswith("bedkd: ")
    assert message in stderr
    assert not out.exists()


def test_poison_takes_a_single_file_as_the_train_split(result, files, tmp_path):
    poison = ["poison", "--data", files / "train-clean.csv", "--attack", "badnets"]
    found = result(*poison, "--rate", "0.25", "--output", tmp_path / "out")
    rows = data.read(files / "train-clean.csv")
    assert found["poisoned"] == round(0.25 * len(rows))
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"train.csv", "train-clean.csv", "train-poison.csv", "manifest.json"}


def test_train_writes_a_checkpoint(result, bert, checkpoint, files, tmp_path):
    backbone, out = checkpoint(bert, "backbone"), tmp_path / "out"
    train = ["train", "--train", files / "train.csv", "--backbone", backbone, "--output", out]
    found = result(*train, "--epochs", 1, "--layers", 1, "--seed", 5)
    assert (found["rows"], found["classes"], found["steps"], found["seed"]) == (320, 2, 10, 5)
    model, _ = models.load_checkpoint(out)
    assert model.config.num_hidden_layers == 1


def detect(model, files, out, *options):
    return [
        "detect",
        "--model",
        model,
        "--trusted",
        files / "dev-clean.csv",
        "--untrusted",
        files / "train.csv",
        "--output",
        out,
        *options,
    ]


def purify(model, files, out, *options):
    words = detect(model, files, out, *options)
    return ["purify", *words[1:]]


@pytest.fixture
def acting(monkeypatch, acting_preset):
    """Makes ``--config quick`` a configuration that acts on the toy data within a second."""
    monkeypatch.setitem(presets.PRESETS, "quick", lambda: acting_preset)
    return ["--config", "quick"]


def inverted_flags(files):
    """The same files, with every poison flag of the training set turned round."""
    train = data.read(files / "train.csv")
    flags = [not flag for flag in train["poisoned"]]
    data.write(data.make(train["text"], train["label"], flags), files / "train.csv")


def test_detect_scores_every_row_without_its_flag(result, model, files, acting, tmp_path):
    found = result(*detect(model, files, tmp_path / "a.csv", *acting))
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as handle:
        scores = list(csv.DictReader(handle))
    assert list(scores[0]) == ["row", "score", "flagged"]
    assert [int(record["row"]) for record in scores] == list(range(320))
    assert sum(int(record["flagged"]) for record in scores) == found["flagged"]
    assert all(set(found[key]) == KEYS for key in ("precision", "recall", "frr"))
    assert found["recall"]["n"] == 64
    inverted_flags(files)
    other = result(*detect(model, files, tmp_path / "b.csv", *acting))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert other["auroc"] == pytest.approx(1 - found["auroc"])


def test_detect_without_flags_judges_nothing(result, model, files, acting, tmp_path):
    train = data.read(files / "train.csv")
    data.write(data.make(train["text"], train["label"], None), files / "train.csv")
    found = result(*detect(model, files, tmp_path / "a.csv", *acting))
    keys = {"output", "rows", "flagged", "threshold", "is_backdoored", "p_value", "examined"}
    keys |= {
        "verdict",
        "cannot_tell",
        "max_length",
        "cut_share",
        "wording_auroc",
        "trigger_words",
        "min_detectable",
        "mapping_history",
        "null",
    }
    assert set(found) == keys


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_purify_reads_neither_flags_nor_test_rows(result, model, files, acting, tmp_path):
    one = result(*purify(model, files, tmp_path / "one", *acting), status=AIM_MISSED)
    assert one["verdict"] == "backdoor suspected"
    assert weights(tmp_path / "one") != weights(model)
    inverted_flags(files)
    for path in files.glob("test*"):
        path.write_bytes(b"\xff broken")
    # Folders instead of files: only their dev and train files may be opened.
    words = purify(model, files, tmp_path / "two", *acting)
    two = result(
        *(
            files if str(word).endswith("-clean.csv") or word == files / "train.csv" else word
            for word in words
        ),
        status=AIM_MISSED,
    )
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    for record in (one, two):
        for key in ("output", "seconds", "cpu_seconds", "date"):
            record.pop(key)
    # The file of flags is another, its rows are the same.
    assert one["files"].pop("untrusted") != two["files"].pop("untrusted")
    assert one == two


SCHEMA = json.loads(
    Path(cli.__file__).parents[1].joinpath("templates/report.schema.json").read_text()
)


def read_report(out):
    """``report.json``, which must be as the schema says, with the true sums of the files."""
    found = json.loads((out / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, SCHEMA)
    reports = {"report.json", "report.md", "report.html"}
    files = {path.name: path for path in out.iterdir() if path.name not in reports}
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert found["outputs"] == sums
    return found


def test_purify_writes_checkpoint_and_reports(result, model, files, acting, tmp_path, task):
    out = tmp_path / "out"
    found = result(*purify(model, files, out, *acting), status=AIM_MISSED)
    report = read_report(out)
    assert {**report, "output": str(out)} == found
    for name, file in (("trusted", "dev-clean.csv"), ("untrusted", "train.csv")):
        assert report["files"][name] == hashlib.sha256((files / file).read_bytes()).hexdigest()
    assert "model/model.safetensors" in report["files"]
    assert len(report["top_rows"]) == 10
    assert report["outcome"]["planted"]["words"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert task.train["text"][report["top_rows"][0]["row"]].split()[0] in page
    assert "Suspected target label" in page
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "did not reach its aim" in card
    assert "not the model" in card
    assert report["seed"] == 0
    assert "**Verdict: backdoor suspected.**" in (out / "report.md").read_text(encoding="utf-8")
    models.load_checkpoint(out)
    both = (out / "report.json").read_text() + (out / "report.md").read_text()
    assert not any(text in both for text in task.train["text"])


def test_a_persons_review_is_repaired_with(result, failure, model, files, acting, tmp_path, task):
    first, out = tmp_path / "first", tmp_path / "out"
    result(*purify(model, files, first, *acting), status=AIM_MISSED)
    with open(first / "suspects.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        row["poisoned"] = int(task.train["poisoned"][int(row["row"])])
    review = tmp_path / "reviewed.csv"
    with open(review, "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    found = result(*purify(model, files, out, *acting, "--accept", review), status=AIM_MISSED)
    assert (found["flagged"], found["changed"]) == (64, True)
    assert found["detection"]["trigger_words"] == ["cf"]
    assert {row for row in found["repair_rows"] if not task.train["poisoned"][row]} == set()
    assert read_report(out)["settings"]["detector"]["name"] == "Given"
    assert "64 of 320 untrusted rows are marked as poisoned by a person." in (
        (out / "report.md").read_text()
    )
    review.write_text("row,poisoned\n5,0\n")
    message = failure(*purify(model, files, tmp_path / "o", *acting, "--accept", review))
    assert "no row is marked as poisoned" in message
    assert not list(tmp_path.glob("o.*"))


def test_hostile_names_and_rows_reach_no_terminal(run, model, files, tmp_path):
    """Neither in messages nor in results; of a configuration, a file name, a header."""
    config = json.loads((model / "config.json").read_text())
    config["id2label"] = {"0": "\x1b[31mno", "1": "\u202eyes"}
    (model / "config.json").write_text(json.dumps(config))
    bad = tmp_path / "a\x1b[2J.csv"
    bad.write_text("text,label\nx,\x9bmaybe\n")
    header = tmp_path / "h.csv"
    header.write_text("\x1b]0;title\x07,b\nx,y\n")
    few = tmp_path / "few.csv"
    few.write_text("text,label\nx,0\ny,1\n")
    for file, status in ((bad, 2), (header, 2), (few, CANNOT_TELL)):
        words = purify(model, files, tmp_path / f"o{status}", "--config", "quick")
        words[words.index("--trusted") + 1] = file
        for options in ([], ["--json"]):
            ended, stdout, stderr = run(*words, *options)
            assert ended == status, stderr
            text = "".join((stdout + stderr).split("\n"))
            assert all(c.isprintable() for c in text), text
            if status == CANNOT_TELL:
                (tmp_path / f"o{status}").rename(tmp_path / f"done{len(options)}")


def test_purify_without_evidence_copies_the_model_byte_for_byte(
    result, model, files, tmp_path, monkeypatch, tiny_preset
):
    monkeypatch.setitem(presets.PRESETS, "default", lambda: tiny_preset)
    out = tmp_path / "out"
    found = result(*purify(model, files, out))
    assert (found["verdict"], found["changed"]) == ("no evidence of a backdoor", False)
    copied = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {"report.json", "report.md", "report.html", "suspects.csv"} <= set(copied)
    assert "README.md" not in copied  # it is not another model
    assert read_report(out)["poison_share"] is None
    for path in model.iterdir():
        assert copied[path.name] == path.read_bytes()


def test_an_interrupted_purify_leaves_no_output_and_goes_on(
    run, result, model, files, acting, tmp_path, monkeypatch
):
    whole, out = tmp_path / "whole", tmp_path / "out"
    result(*purify(model, files, whole, *acting), status=AIM_MISSED)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(models.PreTrainedModel, "save_pretrained", interrupted)
        status, stdout, stderr = run(*purify(model, files, out, *acting), "--quiet")
    assert (status, stdout) == (130, "")
    assert "the same command goes on where it stopped" in stderr
    assert not out.exists()
    partial = tmp_path / "out.partial"
    assert (partial / "distillation.safetensors").is_file()
    result(*purify(model, files, out, *acting), status=AIM_MISSED)
    assert weights(out) == weights(whole)
    assert not partial.exists()


def test_a_state_of_other_work_is_refused(
    failure, run, model, files, acting, tmp_path, monkeypatch
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(models.PreTrainedModel, "save_pretrained", interrupted)
        run(*purify(model, files, out, *acting), "--quiet")
    assert "run with another settings" in failure(*purify(model, files, out, *acting, "--seed", 1))


def test_input_that_turns_out_bad_leaves_nothing(failure, model, files, acting, toy, tmp_path):
    data.write(toy.rows(40, classes=4), files / "dev-clean.csv")
    assert "row 2: label 2" in failure(*purify(model, files, tmp_path / "out", *acting))
    assert not list(tmp_path.glob("out*"))


def test_without_a_verdict_there_is_a_report_and_no_model(result, model, files, toy, tmp_path):
    data.write(toy.rows(6), files / "dev-clean.csv")
    scores, out = tmp_path / "scores.csv", tmp_path / "out"
    found = result(*detect(model, files, scores), status=CANNOT_TELL)
    assert found["verdict"] == "cannot tell"
    assert "only 3 rows of label 0; give at least 6" in found["cannot_tell"][0]
    assert not scores.exists()
    found = result(*purify(model, files, out, "--force"), status=CANNOT_TELL)
    assert (found["verdict"], found["changed"]) == ("cannot tell", False)
    names = {"report.json", "report.md", "report.html"}
    assert {path.name for path in out.iterdir()} == names
    assert read_report(out)["top_rows"] == []
    assert "only 3 rows of label 0" in (out / "report.md").read_text()


def test_a_plan_is_made_and_nothing_else(result, run, model, files, toy, tmp_path):
    before = weights(model)
    words = purify(model, files, tmp_path / "out", "--config", "quick", "--plan")
    found = result(*words)
    assert (found["rows"], found["trusted"], found["rows_cut"]) == (320, 200, 0)
    assert (found["detector"], found["repair"]) == ("BeDKDDetector", "AdversarialDistillation")
    assert 0 < found["seconds"][0] < found["seconds"][1] < 3600
    assert 0 < found["memory_mb"] < 1000
    text = run(*words)[1]
    assert "320 untrusted rows, 200 trusted rows, 2 labels" in text
    assert "on this machine it takes" in text
    other = run(*purify(model, files, tmp_path / "out", "--detector", "zscore", "--plan"))[1]
    assert "takes at least" in other
    data.write(toy.rows(6), files / "dev-clean.csv")
    assert "only 3 rows of label 0" in run(*words)[1]
    assert not list(tmp_path.glob("out*"))
    assert weights(model) == before


def test_nothing_is_written_over_or_into_an_input(failure, model, files):
    before = {path: path.read_bytes() for path in [*model.iterdir(), *files.iterdir()]}
    for place in (model / "scores.csv", model / "config.json", files / "train.csv"):
        assert "lies in the input" in failure(*detect(model, files, place))
    assert "lies in the input" in failure(*purify(model, files, model / "out"))
    assert {path: path.read_bytes() for path in [*model.iterdir(), *files.iterdir()]} == before


def test_two_runs_into_one_output_refuse_each_other(failure, model, files, acting, tmp_path):
    with locked(tmp_path / "out.partial"):
        assert "another bedkd works on" in failure(*purify(model, files, tmp_path / "out", *acting))


def test_methods_are_chosen_by_name(result, failure, model, files, tmp_path):
    found = result(*detect(model, files, tmp_path / "a.csv", "--detector", "content"))
    assert "mapping_history" not in found
    for option, known in (("--detector", "bedkd, dmm"), ("--repair", "bedkd")):
        message = failure(*purify(model, files, tmp_path / "o", option, "magic"))
        assert f"{option[2:]} 'magic': choose one of {known}" in message


def test_a_checkpoint_is_read_at_the_length_it_was_trained_with(
    result, run, model, bert, checkpoint, files, acting, tmp_path
):
    backbone, out = checkpoint(bert, "backbone"), tmp_path / "short"
    train = ["train", "--train", files / "train.csv", "--backbone", backbone, "--output", out]
    result(*train, "--epochs", 1, "--max-length", 6)
    scores = tmp_path / "scores.csv"
    found = result(*detect(out, files, scores, *acting))
    assert found["max_length"] == 6
    assert found["cut_share"] > 0.5
    assert "reach 6 tokens" in run(*detect(out, files, scores, *acting))[2]
    found = result(*detect(out, files, scores, *acting, "--max-length", 24))
    assert (found["max_length"], found["cut_share"]) == (24, 0)
    assert result(*detect(model, files, scores, *acting))["max_length"] == 32
    # Another's checkpoint says only how many positions it has.
    config = json.loads((model / "config.json").read_text())
    del config["bedkd_max_length"]
    (model / "config.json").write_text(json.dumps(config))
    assert result(*detect(model, files, scores, *acting))["max_length"] == 40


def evaluate(model, files, *options):
    return ["evaluate", "--model", model, "--clean", files / "test-clean.csv", *options]


def test_evaluate_has_the_keys_of_the_contract(result, model, reference, checkpoint, files):
    sets = [
        "--poisoned",
        files / "test-poison.csv",
        "--triggered",
        files / "test-triggered.csv",
        "--reference-model",
        checkpoint(reference, "reference"),
    ]
    found = result(*evaluate(model, files, *sets))
    for key in ("cacc", "asr", "asr_floor", "racc", "racc_ceiling"):
        assert set(found[key]) == KEYS, key
    assert set(found["racc_by_class"]) == {"0", "1"}
    assert all(set(share) == KEYS for share in found["racc_by_class"].values())
    assert found["asr"]["value"] > 0.9 > 0.2 > found["asr_floor"]["value"]
    words = evaluate(model, files, "--poisoned", files, "--triggered", files)
    words[words.index(files / "test-clean.csv")] = files
    by_folder = result(*words)
    assert all(by_folder[key] == found[key] for key in ("cacc", "asr", "racc"))


@pytest.mark.parametrize("as_json", [True, False])
def test_only_the_result_goes_to_standard_output(run, model, files, as_json):
    status, stdout, stderr = run(*evaluate(model, files), *(["--json"] if as_json else []))
    assert status == 0
    if as_json:
        assert json.loads(stdout)["cacc"]["n"] == 80
        assert stdout.count("\n") == 1
    else:
        assert stdout.startswith("| measure")
    assert "CACC" not in stderr
    assert run(*evaluate(model, files), "--quiet")[1:] == ("", "")


def test_bad_input_to_the_model_commands_is_named(failure, model, files, tmp_path, bert, tokenizer):
    assert "nothing.csv: no such file" in failure(
        *evaluate(model, files, "--poisoned", "nothing.csv")
    )
    assert "model ./nothing: no such folder" in failure(*evaluate("./nothing", files))
    assert "poisoned set holds several labels" in failure(
        *evaluate(model, files, "--poisoned", files / "test-triggered.csv")
    )
    assert "config 'best'" in failure(*purify(model, files, tmp_path / "o", "--config", "best"))
    (tmp_path / "labels.csv").write_text("text,label\na,good\n")
    bad = purify(model, files, tmp_path / "o")
    bad[bad.index("--untrusted") + 1] = tmp_path / "labels.csv"
    assert "labels.csv, row 2: label 'good'" in failure(*bad)
    for command in (purify, detect):
        assert "output" in failure(*command(model, files, files))
    train = ["train", "--train", files / "train.csv", "--output", files]
    assert "not empty" in failure(*train)
    assert not (tmp_path / "o").exists()


def test_pickled_weights_are_refused(failure, model, victim, files):
    (model / "model.safetensors").unlink()
    torch.save(victim.state_dict(), model / "pytorch_model.bin")
    assert "does not unpickle" in failure(*evaluate(model, files))


@pytest.mark.parametrize(
    "words", [["poison"], ["evaluate", "--nonsense"], ["reproduce", "--epochs", "0"]]
)
def test_wrong_usage_exits_with_two(run, words):
    assert run(*words)[0] == 2


def test_every_command_has_the_common_options(run):
    for command in ("poison", "train", "detect", "purify", "evaluate", "reproduce"):
        status, stdout, _ = run(command, "--help")
        assert status == 0
        for option in ("--seed", "--quiet", "--json"):
            assert option in stdout, (command, option)


def test_reproduce_runs_the_cells_asked_for(result, failure, monkeypatch, tmp_path):
    asked = []

    def record(cell, folder, preset, rows_from, *_, **__):
        asked.append((cell.dataset, cell.attack, cell.seed, preset, rows_from))
        return folder / "x.json"

    monkeypatch.setattr(experiments, "run", record)
    found = result(
        "reproduce",
        "--dataset",
        "olid",
        "--seed",
        "0,2",
        "--defence",
        "paper",
        "--suspects",
        "oracle",
        "--output",
        tmp_path,
    )
    assert len(found["written"]) == len(asked) == 8
    assert asked[0] == ("olid", "badnets", 0, "paper", "oracle")
    assert {seed for _, _, seed, *_ in asked} == {0, 2}
    assert result("reproduce", "--output", tmp_path)["written"]
    assert "not in the grid" in failure("reproduce", "--dataset", "reviews")
    assert "--seed 'a'" in failure("reproduce", "--seed", "a")
    assert "preset 'best'" in failure("reproduce", "--defence", "best")


def test_the_job_array_of_the_book_covers_the_grid_once(result, failure, monkeypatch):
    page = (ROOT / "book" / "scaling_out.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", page, re.S)
    array = next(block for block in blocks if "SBATCH" in block)
    first, last = map(int, re.search(r"--array=(\d+)-(\d+)", array).groups())
    words = shlex.split(array.replace("\\\n", "").split("\nbedkd ")[1])
    asked = []

    def record(cell, *_, **__):
        asked.append(cell)
        return "x.json"

    monkeypatch.setattr(experiments, "run", record)
    for number in range(first, last + 1):
        part = f"{number}/{last}"
        result(*[w.replace("$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT", part) for w in words])
    assert first == 1
    assert len(asked) == len(set(asked)) == 3 * sum(map(len, experiments.GRID.values()))
    for wrong in ("0/2", "3/2", "2", "1/0"):
        assert f"--shard '{wrong}'" in failure("reproduce", "--shard", wrong)


def test_the_launch_commands_of_the_book_are_commands():
    page = (ROOT / "book" / "scaling_out.md").read_text(encoding="utf-8")
    launch = r"^(?:accelerate launch|torchrun) \S+ \d+ -m bedkd (\S+) \\\n(.*\\\n.*)$"
    found = re.findall(launch, page, re.M)
    assert [command for command, _ in found] == ["detect", "purify"]
    group = typer.main.get_command(cli.app)
    for command, options in found:
        known = {option for p in group.commands[command].params for option in p.opts}
        assert set(re.findall(r"--[a-z-]+", options)) <= known
    line = [sys.executable, "-m", "bedkd", "--help"]
    assert "purify" in subprocess.run(line, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "cell",
    [
        experiments.Cell("sst2", "badnets"),
        experiments.Cell(
            "agnews",
            "synbkd",
            seed=2,
            rate=0.05,
            setting="mixed",
            layers=3,
            pool=400,
            normalise=True,
            sizes=(("test", 300),),
            training=TrainingConfig(epochs=1, batch_size=16, lr=5e-5, max_length=64),
        ),
    ],
)
def test_the_command_in_a_result_runs_the_same_cell(cell, result, monkeypatch):
    asked = []

    def record(cell, folder, preset, rows_from, conditions, **_):
        asked.append((cell, preset, rows_from, conditions))
        return folder / "x.json"

    monkeypatch.setattr(experiments, "run", record)
    scarce = Conditions(trusted_rows=40, contaminated=0.05, mislabelled=0.1, max_suspects=16)
    for asking in (("found", Conditions()), ("oracle", Conditions()), ("found", scarce)):
        result(*experiments.command(cell, "paper", *asking).split()[1:])
        assert asked.pop() == (cell, "paper", *asking)


def test_data_list_and_check(result, failure, monkeypatch, tmp_path):
    monkeypatch.setenv("BEDKD_DATA_DIR", str(tmp_path))
    names = {record["name"] for record in result("data", "list")["datasets"]}
    assert {"sst2", "olid", "agnews", "reviews", "chat", "topics"} <= names
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  gone.csv\n")
    assert "the first is gone.csv (missing)" in failure("data", "check")
