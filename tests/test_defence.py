"""The defence from end to end."""

import json
from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from bedkd import attacks, data, defence, witnesses
from bedkd.defence import BeDKDConfig, divide_trusted, purify
from bedkd.errors import InputError
from bedkd.mapping import MappingConfig, least_detectable
from bedkd.splices import SpliceConfig
from bedkd.training import fine_tune
from bedkd.witnesses import log_odds


def test_the_paper_configuration_is_the_published_recipe():
    config = BeDKDConfig.paper()
    stage1, stage2 = config.mapping, config.distillation
    assert (stage1.rows_per_class, stage1.epochs, stage1.temperature) == (80, 20, 1.5)
    assert (stage1.score, stage1.gamma, stage1.patience) == ("distance", 0.1, None)
    assert (stage2.rows_per_class, stage2.suspects, stage2.cycles) == (320, 32, 50)
    assert (stage2.temperature, stage2.schedule, stage2.punish) == (2.5, "alternate", "unbounded")
    assert stage2.transplant_every is None
    assert (stage2.stop_neutral, stage2.patience) == (None, None)
    for stage in (stage1, stage2):
        assert (stage.alpha, stage.lr, stage.batch_size) == (0.3, 3e-5, 16)


def test_quick_differs_from_the_default_in_sizes_only():
    quick, default = BeDKDConfig.quick(), BeDKDConfig()
    sizes = {"rows_per_class", "suspects", "cycles", "epochs", "patience", "watch"}
    for stage in ("mapping", "distillation"):
        one, two = vars(getattr(quick, stage)), vars(getattr(default, stage))
        assert {key for key in one if one[key] != two[key]} <= sizes


def test_trusted_rows_are_divided_without_overlap(toy, tiny_config):
    rows = toy.rows(240)
    *parts, notes = divide_trusted(rows, tiny_config, 0)
    assert [len(part) for part in parts] == [32, 48, 40]
    texts = [text for part in parts for text in part["text"]]
    assert len(set(texts)) == 120
    assert all(sum(part["label"]) == len(part) // 2 for part in parts)
    assert notes == []
    assert list(divide_trusted(rows, tiny_config, 0)[0]["text"]) == list(parts[0]["text"])
    assert list(divide_trusted(rows, tiny_config, 1)[0]["text"]) != list(parts[0]["text"])


@pytest.mark.parametrize("per_class", [6, 7, 10, 33, 411])
def test_few_trusted_rows_shrink_all_parts_and_are_said(toy, per_class):
    rows = data.make([str(i) for i in range(2 * per_class)], [0, 1] * per_class, False)
    *parts, notes = divide_trusted(rows, BeDKDConfig.paper(), 0)
    sizes = [len(part) // 2 for part in parts]
    assert min(sizes) >= 2
    assert sum(sizes) <= per_class
    assert len(notes) == 1
    assert str(per_class) in notes[0]


def test_too_few_trusted_rows_are_refused(toy):
    with pytest.raises(InputError, match="only 5 rows of label 0"):
        divide_trusted(toy.rows(10), BeDKDConfig(), 0)
    one_class = data.make([str(i) for i in range(20)], [0] * 20, False)
    with pytest.raises(InputError, match="fewer than two classes"):
        divide_trusted(one_class, BeDKDConfig(), 0)


@pytest.fixture
def run(victim, tokenizer, task, acting_config):
    def run(config=acting_config, untrusted=task.train, trusted=task.clean["dev"], **options):
        return purify(victim, tokenizer, trusted, untrusted, config, **options)

    return run


def bounded(config, **options):
    """The configuration with the punishment that needs no content witness."""
    stage = replace(config.distillation, punish="bounded")
    return replace(config, distillation=stage, **options)


def test_no_evidence_hands_back_the_very_same_model(
    run, victim, tiny_config, weights, same_weights
):
    before = weights(victim)
    result = run(tiny_config)
    assert result.model is victim
    assert same_weights(before, weights(victim))
    assert (result.changed, result.target_label) == (False, None)
    assert result.verdict == "no evidence of a backdoor"
    assert len(result.punished) == 0
    assert result.distillation_history == []
    assert result.examined == tiny_config.splices.rows
    result = run(replace(tiny_config, splices=None))
    assert result.examined == 0
    unseen = 2 * (24 + 20)  # trust and held-out rows; not all of them are called rightly
    assert result.least_detectable >= result.scores.agrees.sum() / ((unseen + 1) * 0.05)


def test_evidence_gives_a_new_model_and_leaves_the_old_one(
    run, victim, task, weights, same_weights
):
    before = weights(victim)
    result = run()
    assert same_weights(before, weights(victim))
    assert result.changed
    assert result.model is not victim
    assert not same_weights(before, weights(result.model))
    assert result.verdict == "backdoor suspected"
    assert set(result.punished) <= set(np.flatnonzero(result.suspected))
    assert len(result.punished) == 32
    labels = np.array(task.train["label"])[result.punished]
    assert result.target_label == np.bincount(labels).argmax()
    report = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert report["suspected"] == result.suspected.sum()
    assert report["config"]["distillation"]["suspects"] == 32


def test_force_repairs_without_evidence_and_says_so(run, tiny_config):
    result = run(bounded(tiny_config, content=False), force=True)
    assert result.changed
    assert result.verdict == "no evidence of a backdoor"
    assert any("forced" in warning for warning in result.warnings)
    scores = np.where(result.scores.agrees, result.suspicion, -np.inf)
    assert set(result.punished) == set(np.lexsort((np.arange(len(scores)), -scores))[:32])


def test_rows_named_by_the_caller_are_used_as_they_are(run, tiny_config):
    result = run(tiny_config, rows=[7, 3, 11])
    assert result.punished.tolist() == [7, 3, 11]
    assert result.changed
    assert result.verdict == "no evidence of a backdoor"
    assert any("3 rows that the caller named" in warning for warning in result.warnings)
    for bad in ([], [-1], [10**6], [4, 4]):
        with pytest.raises(InputError, match="rows: give distinct row numbers"):
            run(tiny_config, rows=bad)


def test_relabelling_uses_what_content_says_of_the_punished_rows(run, acting_config, monkeypatch):
    seen = {}
    detect, distil = defence.detect, defence.distil
    monkeypatch.setattr(defence, "detect", lambda *a, **k: seen.setdefault("d", detect(*a, **k)))
    monkeypatch.setattr(
        defence, "distil", lambda *a, **k: seen.update(aims=k["deserved"]) or distil(*a, **k)
    )
    result = run()
    assert np.array_equal(seen["aims"], seen["d"].deserved[result.punished])


def test_suspects_that_share_nothing_are_no_evidence(run, victim, acting_config):
    result = run(replace(acting_config, least_shared=1.1))
    assert result.suspected.sum() >= acting_config.least_suspects
    assert 0 < result.shared < 1.1
    assert result.model is victim


def test_splices_find_what_the_other_evidence_leaves_open(task, toy, tokenizer, tiny_config):
    # The toy model calls everything 0 that holds no word of class 1, so these words command, too.
    # With the target 0 only a trigger does.
    splits = DatasetDict(train=task.clean["train"], dev=task.clean["dev"])
    poisoned = attacks.build_task(splits, task.trigger, rate=0.2, target=0).train
    models = [toy.bert(tokenizer) for _ in range(2)]
    for model, rows in zip(models, (poisoned, splits["train"]), strict=True):
        fine_tune(model, tokenizer, rows, toy.training, seed=0)
    stage = replace(tiny_config.distillation, suspects=64)
    config = replace(tiny_config, distillation=stage, splices=SpliceConfig(rows=48))

    def judge(model, config):
        return purify(model, tokenizer, splits["dev"], poisoned, config)

    without = judge(models[0], replace(config, splices=None))
    assert (without.target_label, without.examined) == (None, 0)
    honest = judge(models[1], config)
    assert (honest.target_label, honest.examined) == (None, 48)
    result = judge(models[0], config)
    assert result.examined > 48
    assert honest.least_detectable == least_detectable(48, 48, 0.05) < without.least_detectable
    assert (result.verdict, result.target_label) == ("backdoor suspected", 0)
    flags = np.asarray(poisoned["poisoned"], bool)
    assert flags[result.suspected].mean() > 0.9
    assert flags[result.suspected].sum() > 0.5 * flags.sum()
    assert "cf" in result.marks


def test_without_witnesses_the_mapping_module_decides_alone(run, acting_config):
    result = run(bounded(acting_config, content=False, surface=False))
    assert np.array_equal(result.suspicion, result.scores.suspicion)
    assert result.shared is None
    assert result.changed


@pytest.mark.parametrize("witness", ["content", "surface"])
def test_each_witness_adds_to_the_evidence(run, acting_config, witness):
    alone = run(bounded(acting_config, content=False, surface=False))
    both = run(bounded(acting_config, **{"content": False, "surface": False, witness: True}))
    assert np.array_equal(both.scores.given, alone.scores.given)
    assert not np.allclose(both.suspicion, log_odds(alone.scores.given))
    assert (both.shared is None) == (witness == "content")


def test_rows_for_the_repair_are_drawn_by_the_trigger_evidence(run, acting_config, monkeypatch):
    real = defence.detect

    def detect(*args, **options):
        found = real(*args, **options)
        return replace(found, trigger=np.arange(len(found.trigger), dtype=float))

    monkeypatch.setattr(defence, "detect", detect)
    top = replace(acting_config.distillation, draw="top")
    result = run(replace(acting_config, distillation=top))
    assert result.punished.tolist() == np.flatnonzero(result.suspected)[::-1][:32].tolist()


def test_the_repair_is_drawn_from_the_surest_suspects(run, acting_config):
    many = replace(acting_config.distillation, suspects=10_000)

    def drawn(share):
        result = run(replace(acting_config, distillation=many, sure_share=share))
        return result, np.zeros(len(result.suspected), bool), result.punished

    result, sure, rows = drawn(0.7)
    sure[rows] = True
    others = result.suspected & ~sure
    assert sure.any()
    assert others.any()
    assert not (sure & ~result.suspected).any()
    assert result.suspicion[sure].min() > result.suspicion[others].max()
    result, _, rows = drawn(1e-9)  # no row is so sure
    assert set(rows) == set(np.flatnonzero(result.suspected))


@pytest.mark.parametrize("content", [False, True])
def test_trigger_evidence_is_all_evidence_but_content(run, acting_config, content, monkeypatch):
    seen = []
    real = defence.detect
    monkeypatch.setattr(defence, "detect", lambda *a, **k: seen.append(real(*a, **k)) or seen[0])
    run(bounded(acting_config, content=content))
    assert np.allclose(seen[0].trigger, seen[0].suspicion) != content


@pytest.mark.parametrize(("more", "stay"), [(-0.2, False), (0.01, False), (0.03, True)])
def test_marks_stay_in_where_they_are_content(run, acting_config, monkeypatch, more, stay):
    """Suspects that deserve their label more without their marks have lost content."""
    seen = []
    detect = defence.detect
    monkeypatch.setattr(defence, "detect", lambda *a, **k: seen.append(detect(*a, **k)) or seen[0])
    monkeypatch.setattr(witnesses, "unmarked", lambda said, *a, **k: None)

    def deserved(said, trusted, given, innocent, prior):
        own = 0.5 if said is not None else 0.5 + more
        return np.where(np.arange(2) == given[:, None], own, 1 - own)

    monkeypatch.setattr(witnesses, "deserved", deserved)
    run(acting_config)
    assert np.allclose(seen[0].deserved.max(axis=1), 0.5) == stay


def test_witnesses_need_the_score_they_add_to():
    with pytest.raises(InputError, match="witnesses add to the score 'given-label'"):
        BeDKDConfig(mapping=MappingConfig(score="distance"))


def test_relabelling_needs_the_content_witness():
    with pytest.raises(InputError, match="punish='relabel' asks the content witness"):
        BeDKDConfig(content=False)


def same_result(one, two, weights, same_weights):
    first, second = one.to_dict(), two.to_dict()
    assert first.pop("seconds").keys() == second.pop("seconds").keys()
    assert first == second
    assert np.array_equal(one.suspicion, two.suspicion)
    return same_weights(weights(one.model), weights(two.model))


def test_same_seed_same_result(run, weights, same_weights):
    first = run(seed=3)
    assert same_result(first, run(seed=3), weights, same_weights)
    assert not same_weights(weights(first.model), weights(run(seed=4).model))


def with_flags(rows, flags):
    return data.make(rows["text"], rows["label"], flags)


def test_poison_flags_and_other_columns_play_no_part(run, task, weights, same_weights):
    first = run()
    inverted = with_flags(task.train, [not flag for flag in task.train["poisoned"]])
    trusted = with_flags(task.clean["dev"], True)
    result = run(untrusted=inverted, trusted=trusted)
    assert same_result(first, result, weights, same_weights)
    bare = task.train.remove_columns("poisoned")
    assert same_result(first, run(untrusted=bare), weights, same_weights)


def test_nothing_ever_looks_at_the_flags(run, monkeypatch):
    read = Dataset.__getitem__
    seen = []

    def guarded(self, key):
        values = read(self, key)
        assert key != "poisoned"
        assert not isinstance(values, dict) or "poisoned" not in values
        seen.append(key)
        return values

    monkeypatch.setattr(Dataset, "__getitem__", guarded)
    assert run().changed
    assert {"text", "label"} <= set(map(str, seen))


def test_several_classes_and_a_decoder(toy, tokenizer, acting_config, weights, same_weights):
    trusted, untrusted = toy.rows(240, 2, classes=4), toy.rows(80, 1, classes=4)
    for build in (toy.bert, toy.llama):
        model = build(tokenizer, classes=4)
        before = weights(model)
        result = purify(model, tokenizer, trusted, untrusted, acting_config, force=True)
        assert result.changed
        assert result.model.config.num_labels == 4
        assert same_weights(before, weights(model))
        assert result.suspicion.shape == (80,)


def test_an_interruption_while_watching_leaves_the_model_alone(run, victim, weights, same_weights):
    before = weights(victim)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(watch=interrupt)
    assert same_weights(before, weights(victim))


def test_untrusted_rows_that_do_not_fit_are_named(run, toy):
    with pytest.raises(InputError, match="the untrusted set, row 2: label 2"):
        run(untrusted=toy.rows(40, classes=4))
    with pytest.raises(InputError, match="the untrusted set is empty"):
        run(untrusted=data.make([], [], False))


def test_trusted_rows_of_a_class_that_the_model_has_not_are_named(run, toy):
    rows = toy.rows(80, classes=2)
    strange = data.make(rows["text"], [y or -1 for y in rows["label"]], None)
    with pytest.raises(InputError, match="the trusted set, row 0: label -1"):
        run(trusted=strange)
