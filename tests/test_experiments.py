"""The grid: cells, their keys, the cache of victims and resuming."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from datasets import DatasetDict

from bedkd import data, experiments
from bedkd.attacks import rewriting
from bedkd.conditions import Conditions
from bedkd.errors import InputError
from bedkd.experiments import Cell
from bedkd.training import TrainingConfig

OTHER = {
    "dataset": "chat",
    "attack": "addsent",
    "seed": 1,
    "rate": 0.1,
    "setting": "clean",
    "backbone": "me/mine",
    "layers": 2,
    "pool": 50,
    "normalise": True,
    "training": TrainingConfig(epochs=1),
    "sizes": (("train", 9),),
}
CELL = Cell("reviews", "badnets")


def test_every_field_of_a_cell_changes_its_key():
    assert set(OTHER) == {item.name for item in fields(Cell)}
    keys = {CELL.key} | {replace(CELL, **{name: value}).key for name, value in OTHER.items()}
    assert len(keys) == 1 + len(OTHER)
    assert Cell("reviews", "badnets").key == CELL.key


def test_a_victim_serves_any_number_of_test_rows():
    assert replace(CELL, sizes=(("test", 9),)).key == CELL.key
    both = replace(CELL, sizes=(("train", 9), ("test", 9)))
    assert both.key == replace(CELL, sizes=(("train", 9),)).key


@pytest.mark.parametrize("name", [item.name for item in fields(TrainingConfig)])
def test_every_training_setting_changes_the_key(name):
    changed = replace(TrainingConfig(), **{name: getattr(TrainingConfig(), name) * 2})
    assert replace(CELL, training=changed).key != CELL.key


def test_the_library_version_changes_the_key(monkeypatch):
    before = CELL.key
    monkeypatch.setattr(experiments.report, "version", lambda _: "99")
    assert CELL.key != before


def test_the_precision_of_training_is_named_and_changes_the_key(request):
    key, line = CELL.key, experiments.command(CELL)
    request.getfixturevalue("bf16")
    assert CELL.key != key
    assert experiments.command(CELL) == f"ACCELERATE_MIXED_PRECISION=bf16 {line}"
    made = experiments.report.provenance(line, seed=0)
    assert made["device"].endswith("trained in bf16")


def test_all_attacks_on_a_data_set_share_the_reference():
    references = {
        replace(CELL, attack=attack, rate=rate, setting=setting).reference
        for attack, rate, setting in (("badnets", 0.2, "dirty"), ("synbkd", 0.1, "clean"))
    }
    assert len(references) == 1
    assert replace(CELL, seed=1).reference not in references


def test_every_attack_has_a_trigger_on_embedded_tasks():
    assert {experiments.trigger("chat", name).name for name in experiments.ATTACKS} == set(
        experiments.ATTACKS
    )
    with pytest.raises(InputError, match=r"'magic'.*badnets.*llm"):
        experiments.trigger("chat", "magic")
    assert set(experiments.GRID) <= set(data.SOURCES)


@pytest.fixture
def real(monkeypatch, toy):
    """A stand-in for SST-2 whose LLM rewrites cover two thirds of train and no test row."""
    splits = DatasetDict(train=toy.rows(120, 1), dev=toy.rows(40, 2), test=toy.rows(60, 3))
    pairs = rewriting.Pairs([(t, f"so {t}") for t in splits["train"]["text"][:80]], "stand-in")
    monkeypatch.setattr(experiments, "_splits", lambda *_: splits)
    attack = experiments.attacks.Rewrite("llm", pairs)
    monkeypatch.setattr(experiments.rewriting, "find", lambda *_: attack)
    monkeypatch.setitem(experiments.GRID, "sst2", ("badnets", "llm"))
    return splits


@pytest.mark.parametrize("pool", [None, 40])
def test_the_reference_never_sees_a_row_held_out_for_testing(real, pool):
    cell = Cell("sst2", "llm", pool=pool)
    built = experiments.task(cell)
    held = {real["train"]["text"][i] for i in built.manifest["held_out_train_rows"]}
    assert len(held) == 20  # a quarter of the 80 covered rows
    rows = experiments.reference_rows(cell.reference)
    assert not set(rows["text"]) & held
    assert not any(rows["poisoned"])
    assert set(rows["text"]) <= set(real["train"]["text"])
    if pool:
        assert len(rows) == pool
    else:
        assert len(rows) < 120


@pytest.fixture
def cell(toy, bert, checkpoint, tmp_path, monkeypatch):
    """A cell small enough to run: toy data, a tiny backbone, a cache of its own."""
    monkeypatch.setenv("BEDKD_CACHE", str(tmp_path / "cache"))
    splits = DatasetDict(train=toy.rows(120, 1), dev=toy.rows(120, 2), test=toy.rows(200, 3))
    monkeypatch.setattr(experiments, "_splits", lambda *_: splits)
    training = TrainingConfig(epochs=1, lr=3e-3, max_length=32)
    return Cell("reviews", "badnets", backbone=str(checkpoint(bert, "backbone")), training=training)


def test_a_cell_is_measured_once_and_its_models_are_kept(cell, tmp_path, monkeypatch):
    path = experiments.run(cell, tmp_path / "results")
    assert path == tmp_path / "results" / "undefended" / f"{cell.name}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["undefended"]["asr"]["n"] > 0
    assert {"cacc", "asr", "asr_floor", "racc", "racc_ceiling"} <= set(record["undefended"])
    assert {"command", "seed", "versions", "device", "date"} <= set(record)
    assert record["command"].startswith("bedkd reproduce --dataset reviews --attack badnets")
    texts = json.dumps(record)
    assert "word1" not in texts  # no text of any row
    kept = sorted(folder.name for folder in (tmp_path / "cache" / "models").iterdir())
    assert kept == sorted(f"{c.name}-{c.key}" for c in (cell, cell.reference))

    def never(*_, **__):
        raise AssertionError("measured or trained again")

    monkeypatch.setattr(experiments, "fine_tune", never)
    assert np.isclose(experiments.measure(cell)["training_seconds"], record["training_seconds"])
    monkeypatch.setattr(experiments, "measure", never)
    before = path.stat().st_mtime_ns
    assert experiments.run(cell, tmp_path / "results") == path
    assert path.stat().st_mtime_ns == before


def test_a_result_of_another_cell_is_never_taken_for_this_one(cell, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "measure", lambda c, **_: {"cell": experiments.asdict(c)})
    experiments.run(cell, tmp_path)
    with pytest.raises(InputError, match="another folder"):
        experiments.run(replace(cell, pool=60), tmp_path)


def test_an_interrupted_victim_is_trained_again(cell, monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiments, "write_json", interrupted)
        with pytest.raises(KeyboardInterrupt):
            experiments.victim(cell)
    experiments.victim(cell)
    assert experiments.training_seconds(cell) > 0


def test_a_defended_cell_judges_what_purify_found(cell, tmp_path, monkeypatch, acting_config):
    monkeypatch.setitem(experiments.CONFIGS, "quick", lambda: acting_config)
    path = experiments.run(cell, tmp_path / "results", "quick")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert path.parent.name == "defended-quick"
    beside = tmp_path / "results" / "undefended" / path.name
    undefended = json.loads(beside.read_text(encoding="utf-8"))["undefended"]
    assert record["undefended"] == undefended
    for key in ("asr_floor", "racc_ceiling", "racc_ceiling_by_class", "cacc_reference"):
        assert record["defended"][key] == undefended[key]
    assert record["command"].endswith("--defence quick")
    assert record["detection"]["recall"]["n"] == 24
    assert record["punished_precision"]["n"] == 32
    assert record["report"]["changed"] is True
    assert {"cacc", "asr", "asr_floor", "racc", "racc_ceiling"} <= set(record["defended"])


@pytest.mark.parametrize("suspects", ["oracle", "random"])
def test_suspects_can_be_named_instead_of_found(
    cell, suspects, tmp_path, monkeypatch, acting_config
):
    few = replace(acting_config.distillation, suspects=20)
    monkeypatch.setitem(
        experiments.CONFIGS, "quick", lambda: replace(acting_config, distillation=few)
    )
    path = experiments.run(cell, tmp_path, "quick", suspects)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert path.parent.name == f"defended-quick-{suspects}"
    assert record["command"].endswith(f"--defence quick --suspects {suspects}")
    precision = record["punished_precision"]
    assert precision["n"] == 20
    assert (precision["value"] == 1) == (suspects == "oracle")


def test_an_honest_model_is_judged_too(cell, tmp_path, monkeypatch, tiny_config, acting_config):
    honest = replace(cell, attack="none")
    with pytest.raises(InputError, match="attack none: name a defence"):
        experiments.run(honest, tmp_path)
    monkeypatch.setitem(experiments.CONFIGS, "quick", lambda: tiny_config)
    monkeypatch.setitem(experiments.CONFIGS, "acting", lambda: acting_config)
    for config, changed in (("quick", False), ("acting", True)):
        path = experiments.run(honest, tmp_path, config)
        record = json.loads(path.read_text(encoding="utf-8"))
        assert path.parent.name == f"clean-{config}"
        assert record["report"]["changed"] is changed
        assert record["cacc_before"]["n"] == 200
        assert "--attack none" in record["command"]
    assert record["cacc_after"]["n"] == 200


def test_conditions_have_a_folder_and_a_command_of_their_own(
    cell, tmp_path, monkeypatch, acting_config
):
    monkeypatch.setitem(experiments.CONFIGS, "quick", lambda: acting_config)
    few = Conditions(suspects=20)
    path = experiments.run(cell, tmp_path, "quick", conditions=few)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (path.parent.name, path.name) == ("conditions-quick", f"{cell.name}-suspects20.json")
    assert record["conditions"] == few.to_dict()
    assert record["command"].endswith("--defence quick --suspect-rows 20")
    assert record["punished_precision"]["n"] == 20
    with pytest.raises(InputError, match="conditions suspects20: name the defence"):
        experiments.run(cell, tmp_path, conditions=few)


def test_suspects_are_checked_before_anything_is_trained(cell, tmp_path):
    with pytest.raises(InputError, match="suspects 'guessed': choose one of found, oracle"):
        experiments.run(cell, tmp_path / "results", "quick", "guessed")
    with pytest.raises(InputError, match="name the defence"):
        experiments.run(cell, tmp_path / "results", None, "oracle")
    assert not list((tmp_path / "results").rglob("*.json"))


def test_configurations_differ_in_what_their_names_say():
    default = experiments.CONFIGS["default"]()
    stage = {name: make().distillation for name, make in experiments.CONFIGS.items()}
    assert stage["transplants-alone"] == replace(default.distillation, punish="none")
    assert stage["relabel-alone"] == replace(default.distillation, transplant_every=None)
    assert stage["punish-alone"] == replace(stage["bounded"], transplant_every=None)
    assert stage["mapping-alone"] == stage["bounded"]
    alone = experiments.CONFIGS["mapping-alone"]()
    assert (alone.content, alone.surface) == (False, False)
    assert stage["all-cycles"] == replace(default.distillation, patience=None)
    lax = replace(default, sure_share=default.mapping.false_share)
    assert experiments.CONFIGS["all-suspects"]() == lax


def test_chapters_share_one_cell_a_profile():
    quick, full = experiments.chapter_cell("quick"), experiments.chapter_cell("full")
    assert (quick.dataset, full.dataset) == ("reviews", "sst2")
    assert experiments.chapter_config("quick") != experiments.chapter_config("full")
