"""The grid: cells, their keys, the cache of victims and resuming."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace

import numpy as np
import pytest

from bedkd import attacks, data, experiments, presets, report
from bedkd.attacks import rewriting
from bedkd.conditions import Conditions
from bedkd.detectors import BeDKDDetector, DirectionalMapping, Given
from bedkd.errors import InputError
from bedkd.experiments import Cell, detections, grid, runs, victims
from bedkd.training.fine_tune import TrainingConfig

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
    "lora": 16,
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


def test_the_precision_of_training_is_named_and_changes_the_key(request):
    key, line = CELL.key, experiments.command(CELL)
    request.getfixturevalue("bf16")
    assert CELL.key != key
    assert experiments.command(CELL) == f"ACCELERATE_MIXED_PRECISION=bf16 {line}"
    made = report.provenance(line, seed=0)
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
def stored(tmp_path, monkeypatch):
    """Write splits as files; the name that loads them is no other test's, for splits are cached."""

    def stored(**splits):
        for split, rows in splits.items():
            data.write(rows, tmp_path / f"{split}-clean.csv")
        monkeypatch.chdir(tmp_path.parent)
        return tmp_path.name

    return stored


@pytest.fixture
def real(monkeypatch, toy, stored):
    """A data set of the grid whose LLM rewrites cover two thirds of train and no test row."""
    splits = {"train": toy.rows(120, 1), "dev": toy.rows(40, 2), "test": toy.rows(60, 3)}
    name = stored(**splits)
    pairs = rewriting.Pairs([(t, f"so {t}") for t in splits["train"]["text"][:80]], "stand-in")
    attack = attacks.Rewrite("llm", pairs)
    monkeypatch.setattr(grid.rewriting, "find", lambda *_: attack)
    monkeypatch.setattr(grid.rewriting, "at_hand", lambda *_: True)
    monkeypatch.setitem(experiments.GRID, name, ("badnets", "llm"))
    return name, splits


@pytest.mark.parametrize("pool", [None, 40])
def test_the_reference_never_sees_a_row_held_out_for_testing(real, pool):
    name, splits = real
    cell = Cell(name, "llm", pool=pool)
    built = experiments.task(cell)
    held = {splits["train"]["text"][i] for i in built.manifest["held_out_train_rows"]}
    assert len(held) == 20  # a quarter of the 80 covered rows
    rows = experiments.reference_rows(cell.reference)
    assert not set(rows["text"]) & held
    assert not any(rows["poisoned"])
    assert set(rows["text"]) <= set(splits["train"]["text"])
    if pool:
        assert len(rows) == pool
    else:
        assert len(rows) < 120


@pytest.fixture
def cell(toy, bert, checkpoint, stored, tmp_path, monkeypatch):
    """A cell small enough to run: toy data, a tiny backbone, a cache of its own."""
    monkeypatch.setenv("BEDKD_CACHE", str(tmp_path / "cache"))
    name = stored(train=toy.rows(120, 1), dev=toy.rows(120, 2), test=toy.rows(200, 3))
    training = TrainingConfig(epochs=1, lr=3e-3, max_length=32)
    return Cell(name, "badnets", backbone=str(checkpoint(bert, "backbone")), training=training)


@pytest.mark.parametrize("folder", [False, True])
def test_a_reference_needs_no_rewritings_that_are_not_at_hand(folder, monkeypatch, tmp_path):
    """With a network SST-2 comes from the hub; its rewritings were released elsewhere, and a
    folder with other data need not hold them."""
    monkeypatch.delenv("BEDKD_DATA_DIR", raising=False)
    if folder:
        monkeypatch.setenv("BEDKD_DATA_DIR", str(tmp_path))
    rows = data.load("reviews", train=60, dev=20, test=40)
    monkeypatch.setattr("bedkd.experiments.victims.data.load", lambda *_, **__: rows)
    cell = Cell("sst2", "badnets", sizes=(("train", 60),))
    assert experiments.reference_rows(cell.reference)["text"][:] == rows["train"]["text"][:]
    with pytest.raises(InputError, match="no stored rewritings"):
        experiments.task(replace(cell, attack="synbkd"))


def test_a_cell_is_measured_once_and_its_models_are_kept(cell, tmp_path, monkeypatch):
    path = experiments.run(cell, tmp_path / "results")
    assert path == tmp_path / "results" / "undefended" / f"{cell.name}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["undefended"]["asr"]["n"] > 0
    assert {"cacc", "asr", "asr_floor", "racc", "racc_ceiling"} <= set(record["undefended"])
    assert {"command", "seed", "versions", "device", "date"} <= set(record)
    assert record["command"].startswith(
        f"bedkd reproduce --dataset {cell.dataset} --attack badnets"
    )
    texts = json.dumps(record)
    assert "word1" not in texts  # no text of any row
    kept = sorted(folder.name for folder in (tmp_path / "cache" / "models").iterdir())
    assert kept == sorted(victims.victim_folder(c).name for c in (cell, cell.reference))
    assert kept[0].startswith(f"{cell.name}-")

    def never(*_, **__):
        raise AssertionError("measured or trained again")

    monkeypatch.setattr(victims, "fine_tune", never)
    assert np.isclose(experiments.measure(cell)["training_seconds"], record["training_seconds"])
    monkeypatch.setattr(runs, "measure", never)
    before = path.stat().st_mtime_ns
    assert experiments.run(cell, tmp_path / "results") == path
    assert path.stat().st_mtime_ns == before


def test_a_result_of_another_cell_is_never_taken_for_this_one(cell, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "measure", lambda c, **_: {"cell": asdict(c)})
    experiments.run(cell, tmp_path)
    with pytest.raises(InputError, match="another folder"):
        experiments.run(replace(cell, pool=60), tmp_path)


def test_a_result_on_other_rows_is_never_taken_for_this_one(cell, tmp_path, monkeypatch):
    path = experiments.run(cell, tmp_path)
    record = json.loads(path.read_text())
    assert record["data"] == data.fingerprint_rows(experiments.task(cell).train)
    assert experiments.run(cell, tmp_path) == path
    path.write_text(json.dumps({**record, "data": "0" * 64}))
    with pytest.raises(InputError, match="was measured on other rows"):
        experiments.run(cell, tmp_path)


def test_a_defence_with_other_settings_is_never_taken_for_this_one(cell, tmp_path, acting):
    path = experiments.run(cell, tmp_path, "quick")
    assert experiments.run(cell, tmp_path, "quick") == path
    other = acting._replace(repair=replace(acting.repair, lr=1e-4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "quick", lambda: other)
        with pytest.raises(InputError, match=r"measured with other settings \(repair\)"):
            experiments.run(cell, tmp_path, "quick")


def test_a_victim_is_known_by_its_rows_its_backbone_and_the_code(
    cell, toy, tokenizer, checkpoint, stored, monkeypatch
):
    folders = [victims.victim_folder(cell)]
    assert victims.victim_folder(cell) == folders[0]
    with monkeypatch.context() as patch:
        patch.setattr(victims.report, "source_hash", lambda *_: "other code")
        folders.append(victims.victim_folder(cell))
    checkpoint(toy.bert(tokenizer, seed=9), "backbone")  # other weights under the same name
    folders.append(victims.victim_folder(cell))
    stored(train=toy.rows(120, 7), dev=toy.rows(120, 2), test=toy.rows(200, 3))
    victims.splits.cache_clear()
    folders.append(victims.victim_folder(cell))
    assert len(set(folders)) == 4
    assert len({folder.name[: len(cell.name)] for folder in folders}) == 1


def test_an_interrupted_victim_is_trained_again(cell, monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(victims, "write_json", interrupted)
        with pytest.raises(KeyboardInterrupt):
            experiments.victim(cell)
    experiments.victim(cell)
    assert victims.training_seconds(cell) > 0


def test_two_jobs_train_one_victim_once(cell, monkeypatch):
    trained, train = [], victims.fine_tune

    def slow(*args, **kwargs):
        trained.append(1)
        time.sleep(0.3)  # time enough for the other to come
        train(*args, **kwargs)

    monkeypatch.setattr(victims, "fine_tune", slow)
    with ThreadPoolExecutor(2) as jobs:
        for future in [jobs.submit(experiments.victim, cell) for _ in range(2)]:
            future.result()
    assert len(trained) == 1
    folder = victims.victim_folder(cell)
    assert not folder.with_name(folder.name + ".partial").exists()


@pytest.fixture
def acting(monkeypatch, acting_preset):
    """Makes the preset ``quick`` one that acts on the toy data."""
    monkeypatch.setitem(presets.PRESETS, "quick", lambda: acting_preset)
    return acting_preset


@pytest.mark.usefixtures("acting")
def test_a_defended_cell_judges_what_purify_found(cell, tmp_path):
    path = experiments.run(cell, tmp_path / "results", "quick")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert path.parent.name == "defended-quick"
    beside = tmp_path / "results" / "undefended" / path.name
    undefended = json.loads(beside.read_text(encoding="utf-8"))["undefended"]
    assert record["undefended"] == undefended
    for key in ("asr_floor", "racc_ceiling", "racc_ceiling_by_class", "cacc_reference"):
        assert record["defended"][key] == undefended[key]
    assert record["command"].endswith("--preset quick")
    assert (record["preset"], record["rows_from"]) == ("quick", "found")
    assert record["conditions"] == Conditions().to_dict()
    assert record["detection"]["recall"]["n"] == 24
    assert record["repair_precision"]["n"] == 32
    assert record["report"]["changed"] is True
    assert {"cacc", "asr", "asr_floor", "racc", "racc_ceiling"} <= set(record["defended"])


@pytest.mark.usefixtures("acting")
def test_two_repairs_share_one_detection(cell, tmp_path, monkeypatch):
    first = json.loads(experiments.run(cell, tmp_path / "one", "quick").read_text("utf-8"))
    monkeypatch.setattr(BeDKDDetector, "detect", lambda *_: pytest.fail("detected again"))
    embedded, purify = [], runs.purify

    def recorded(given, *args, **options):
        embedded.append("embeddings" in vars(given))
        return purify(given, *args, **options)

    monkeypatch.setattr(runs, "purify", recorded)
    again = json.loads(experiments.run(cell, tmp_path / "two", "quick").read_text("utf-8"))
    assert embedded == [True]  # they are the detection's cost, not the repair's
    for key in ("threshold", "flagged"):
        assert first["report"][key] == again["report"][key]
    assert first["report"]["seconds"]["detection"] == again["report"]["seconds"]["detection"] > 0
    assert first["peak_mb"]["detection"] == again["peak_mb"]["detection"]


def test_a_detection_that_another_process_makes_is_waited_for(cell):
    calls = []

    class Slow:
        def __repr__(self):
            return "Slow()"

        def detect(self, case, run):
            calls.append(1)
            time.sleep(0.3)
            return Given((0, 1)).detect(case)

    given = experiments.case(cell, presets.quick())
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: detections.detection(given, Slow()), range(2)))
    assert len(calls) == 1
    assert [int(detection.flagged.sum()) for detection, _ in found] == [2, 2]
    assert found[0][1] == found[1][1]


@pytest.mark.usefixtures("acting")
def test_a_near_trigger_is_tried_on_victim_purified_and_reference_model(cell, tmp_path):
    found = json.loads(experiments.run(cell, tmp_path, "quick").read_text("utf-8"))["ftr"]
    assert found["trigger"]["words"] == ["kx", "wq", "zj", "vb"]
    others = sum(label != 1 for label in experiments.task(cell).clean["test"]["label"])
    for who in ("victim", "purified", "reference"):
        assert found[who]["n"] == others


class TestADetectorAlone:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        quick = DirectionalMapping(epochs=1, lr=2e-3)
        monkeypatch.setitem(detections.DETECTORS, "dmm", lambda: quick)

    def test_it_is_judged_once(self, cell, tmp_path, monkeypatch):
        path = experiments.judge_detector(cell, tmp_path, "dmm")
        found = json.loads(path.read_text("utf-8"))
        flags = np.array(experiments.task(cell).train["poisoned"])
        assert path.parent.name == "detected-dmm"
        assert found["command"].endswith("--detector dmm")
        assert found["report"]["rows"] == len(flags)
        assert found["detection"]["recall"]["n"] == flags.sum()
        assert found["costs"]["seconds"] > 0
        monkeypatch.setattr(DirectionalMapping, "detect", lambda *_: pytest.fail("asked again"))
        assert experiments.judge_detector(cell, tmp_path, "dmm") == path

    def test_other_settings_are_another_measurement(self, cell, tmp_path, monkeypatch):
        experiments.judge_detector(cell, tmp_path, "dmm")
        monkeypatch.setitem(detections.DETECTORS, "dmm", lambda: DirectionalMapping(epochs=2))
        with pytest.raises(InputError, match=r"other settings \(detector\)"):
            experiments.judge_detector(cell, tmp_path, "dmm")

    def test_a_costly_one_gets_a_sample(self, cell, tmp_path, monkeypatch):
        monkeypatch.setitem(detections.SAMPLED, "dmm", 60)
        found = json.loads(experiments.judge_detector(cell, tmp_path, "dmm").read_text("utf-8"))
        assert found["report"]["rows"] == 60
        assert found["detection"]["recall"]["n"] + found["detection"]["frr"]["n"] == 60

    def test_an_honest_model_has_no_poisoned_rows(self, cell, tmp_path):
        path = experiments.judge_detector(cell.reference, tmp_path, "dmm")
        found = json.loads(path.read_text("utf-8"))
        assert found["detection"]["recall"]["n"] == 0
        assert found["detection"]["auroc"] is None


@pytest.mark.parametrize("rows_from", ["oracle", "random"])
def test_rows_can_be_named_instead_of_found(cell, rows_from, tmp_path, monkeypatch, acting):
    few = acting._replace(repair=replace(acting.repair, max_suspects=20))
    monkeypatch.setitem(presets.PRESETS, "quick", lambda: few)
    path = experiments.run(cell, tmp_path, "quick", rows_from)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert path.parent.name == f"defended-quick-{rows_from}"
    assert record["command"].endswith(f"--preset quick --rows-from {rows_from}")
    assert record["rows_from"] == rows_from
    precision = record["repair_precision"]
    assert precision["n"] == 20
    assert (precision["value"] == 1) == (rows_from == "oracle")


@pytest.mark.parametrize("attack", ["badnets", "none"])
def test_the_case_of_a_cell_is_what_its_defender_holds(cell, attack, tiny_preset, toy):
    cell = replace(cell, attack=attack, seed=3)
    case = experiments.case(cell, tiny_preset)
    assert (case.max_length, case.seed, case.parts) == (32, 3, tiny_preset.parts)
    assert case.trusted["text"][:] == toy.rows(120, 2)["text"][:]
    trained_on = (
        experiments.reference_rows(cell) if attack == "none" else experiments.task(cell).train
    )
    assert case.untrusted["text"][:] == trained_on["text"][:]
    assert case.labels.tolist() == trained_on["label"][:]
    other = toy.rows(16, 9)
    case = experiments.case(cell, tiny_preset, trusted=other, untrusted=other)
    assert case.trusted["text"][:] == case.untrusted["text"][:] == other["text"][:]


def test_an_honest_model_is_judged_too(cell, tmp_path, monkeypatch, tiny_preset, acting_preset):
    honest = replace(cell, attack="none")
    with pytest.raises(InputError, match="attack none: name a preset"):
        experiments.run(honest, tmp_path)
    monkeypatch.setitem(presets.PRESETS, "quick", lambda: tiny_preset)
    monkeypatch.setitem(presets.PRESETS, "acting", lambda: acting_preset)
    for preset, changed in (("quick", False), ("acting", True)):
        path = experiments.run(honest, tmp_path, preset)
        record = json.loads(path.read_text(encoding="utf-8"))
        assert path.parent.name == f"clean-{preset}"
        assert record["report"]["changed"] is changed
        assert record["cacc_before"]["n"] == 200
        assert "--attack none" in record["command"]
    assert record["cacc_after"]["n"] == 200


@pytest.mark.usefixtures("acting")
def test_conditions_have_a_folder_and_a_command_of_their_own(cell, tmp_path):
    few = Conditions(max_suspects=20)
    path = experiments.run(cell, tmp_path, "quick", conditions=few)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (path.parent.name, path.name) == ("conditions-quick", f"{cell.name}-suspects20.json")
    assert record["conditions"] == few.to_dict()
    assert record["command"].endswith("--preset quick --max-suspects 20")
    assert record["repair_precision"]["n"] == 20
    with pytest.raises(InputError, match="conditions suspects20: name the preset"):
        experiments.run(cell, tmp_path, conditions=few)


def test_rows_from_is_checked_before_anything_is_trained(cell, tmp_path):
    with pytest.raises(InputError, match="rows-from 'guessed': choose one of found, oracle"):
        experiments.run(cell, tmp_path / "results", "quick", "guessed")
    with pytest.raises(InputError, match="rows-from oracle: name the preset"):
        experiments.run(cell, tmp_path / "results", None, "oracle")
    assert not list((tmp_path / "results").rglob("*.json"))


def test_presets_differ_in_what_their_names_say():
    made = {name: make() for name, make in presets.PRESETS.items()}
    whole = made["cycles"]
    stage = {name: preset.repair for name, preset in made.items()}
    assert stage["transplants-alone"] == replace(whole.repair, punish="none")
    assert stage["relabel-alone"] == replace(whole.repair, transplant_every=None)
    assert stage["bounded"] == replace(whole.repair, punish="bounded")
    assert stage["punish-alone"] == replace(stage["bounded"], transplant_every=None)
    assert stage["mapping-alone"] == stage["bounded"]
    assert made["mapping-alone"].detector == DirectionalMapping()
    assert stage["all-cycles"] == replace(whole.repair, patience=None)
    lax = replace(whole.detector, repair_fdr=whole.detector.fdr)
    assert made["all-suspects"] == whole._replace(detector=lax)
    repairs = ("bounded", "transplants-alone", "relabel-alone", "punish-alone", "all-cycles")
    for name in repairs:
        assert made[name][:2] == whole[:2]
    assert isinstance(whole.detector, BeDKDDetector)


def test_chapters_share_one_cell_a_profile():
    quick, full = experiments.chapter_cell("quick"), experiments.chapter_cell("full")
    assert (quick.dataset, full.dataset) == ("reviews", "sst2")
    assert experiments.chapter_preset("quick") == presets.quick()
    assert experiments.chapter_preset("full") == presets.default()
