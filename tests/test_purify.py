"""The defence from end to end."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from transformers import pipeline

from bedkd import Case, Parts, Run, attacks, data, purify
from bedkd.detectors import DirectionalMapping, Given, TriggerProbe, min_detectable
from bedkd.errors import InputError
from bedkd.purify import detect
from bedkd.repairs import FineTuning
from bedkd.training.fine_tune import fine_tune
from bedkd.training.objectives import DistillationLoss


@pytest.fixture
def run(victim, tokenizer, task, acting_preset):
    """Purify the toy victim with a preset; evidence flags nearly everything by default."""

    def run(
        preset=acting_preset,
        untrusted=task.train,
        trusted=task.clean["dev"],
        seed=0,
        callback=None,
        **options,
    ):
        case = Case(victim, tokenizer, trusted, untrusted, preset.parts, max_length=32, seed=seed)
        return purify(case, preset.detector, preset.repair, run=Run(callback=callback), **options)

    return run


def bounded(preset, **options):
    """The preset with the punishment that needs no soft labels, and other settings of its
    detector."""
    detector = replace(preset.detector, **options)
    return preset._replace(detector=detector, repair=replace(preset.repair, punish="bounded"))


def repaired_with(preset, **options):
    return preset._replace(repair=replace(preset.repair, **options))


def test_no_evidence_hands_back_the_very_same_model(
    run, victim, tiny_preset, weights, same_weights
):
    before = weights(victim)
    result = run(tiny_preset)
    assert result.model is victim
    assert same_weights(before, weights(victim))
    assert (result.changed, result.target_label, result.repaired) == (False, None, None)
    assert result.verdict == "no evidence of a backdoor"
    details = result.detection.details
    assert details["examined"] == tiny_preset.detector.probe.rows
    result = run(bounded(tiny_preset, probe=None))
    assert result.detection.details["examined"] == 0
    unseen = 2 * (24 + 20)  # trust and held-out rows; not all of them are classified correctly
    fits = np.isfinite(result.detection.repair_scores).sum()
    least = result.detection.details["min_detectable"]
    assert fits / ((unseen + 1) * 0.05) <= least < 1.2 * fits / ((unseen + 1) * 0.05)


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
    rows = result.repaired.rows
    assert set(rows) <= set(np.flatnonzero(result.detection.flagged))
    assert len(rows) == 32
    labels = np.array(task.train["label"])[rows]
    assert result.target_label == np.bincount(labels).argmax()
    report = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert report["flagged"] == result.detection.flagged.sum()
    assert report["settings"]["repair"]["max_suspects"] == 32
    assert 0 < report["p_value"] <= 1


def test_a_loss_that_was_not_finite_is_said(run, acting_preset, monkeypatch):
    """In the second step of the mapping student, and of the repair."""
    called, loss = Counter(), DistillationLoss.__call__

    def broken(self, model, batch):
        called[id(self)] += 1
        return loss(self, model, batch) * (float("inf") if called[id(self)] == 2 else 1)

    monkeypatch.setattr(DistillationLoss, "__call__", broken)
    result = run(bounded(acting_preset, content=None))
    assert len(called) == 2
    mapping, repair = (
        next(
            w for w in result.warnings if w.startswith(f"a loss of {what} was not finite (pass 1)")
        )
        for what in ("the directional mapping", "the repair")
    )
    assert f"{acting_preset.detector.mapping.lr / 2:.2g} in the end" in mapping
    assert f"{acting_preset.repair.lr / 2:.2g} in the end" in repair
    assert result.changed


def test_force_repairs_without_evidence_and_says_so(run, tiny_preset):
    result = run(bounded(tiny_preset, content=None), force=True)
    assert result.changed
    assert result.verdict == "no evidence of a backdoor"
    assert any("forced" in warning for warning in result.warnings)
    scores = result.detection.repair_scores
    assert set(result.repaired.rows) == set(np.lexsort((np.arange(len(scores)), -scores))[:32])


def test_rows_named_by_the_caller_are_used_as_they_are(run, tiny_preset):
    result = run(tiny_preset._replace(detector=Given((7, 3, 11))))
    assert sorted(result.repaired.rows) == [3, 7, 11]
    assert result.changed
    for bad in ((), (-1,), (10**6,), (4, 4)):
        with pytest.raises(InputError, match="rows: give distinct row numbers"):
            run(tiny_preset._replace(detector=Given(bad)))


def test_rows_that_share_no_wording_are_no_evidence(run, victim, acting_preset):
    strict = replace(acting_preset.detector, min_wording_auroc=1.1)
    result = run(acting_preset._replace(detector=strict))
    assert result.detection.flagged.sum() >= acting_preset.detector.min_flagged
    assert 0 < result.detection.details["wording_auroc"] < 1.1
    assert result.model is victim


def test_the_probe_finds_what_the_other_evidence_leaves_open(task, toy, tokenizer, tiny_preset):
    # The toy model calls everything 0 that holds no word of class 1, so these words command, too.
    # With the target 0 only a trigger does.
    splits = DatasetDict(train=task.clean["train"], dev=task.clean["dev"])
    poisoned = attacks.build_task(splits, task.trigger, rate=0.2, target=0).train
    models = [toy.bert(tokenizer) for _ in range(2)]
    for model, rows in zip(models, (poisoned, splits["train"]), strict=True):
        fine_tune(model, tokenizer, rows, toy.training, seed=0)
    probe = TriggerProbe(rows=48, max_flagged=64)
    preset = repaired_with(tiny_preset, max_suspects=64)
    probing = preset._replace(detector=replace(preset.detector, probe=probe))

    def judge(model, preset):
        case = Case(model, tokenizer, splits["dev"], poisoned, preset.parts, max_length=32)
        return purify(case, preset.detector, preset.repair)

    without = judge(models[0], bounded(preset, probe=None))
    details = without.detection.details
    assert (without.target_label, details["examined"]) == (None, 0)
    honest = judge(models[1], probing)
    assert (honest.target_label, honest.detection.details["examined"]) == (None, 48)
    result = judge(models[0], probing)
    found = result.detection
    assert found.details["examined"] > 48
    least = honest.detection.details["min_detectable"]
    assert least == max(min_detectable(48, 48, 0.05), 16) < details["min_detectable"]
    assert (result.verdict, result.target_label) == ("backdoor suspected", 0)
    flags = np.asarray(poisoned["poisoned"], bool)
    assert flags[found.flagged].mean() > 0.9
    assert flags[found.flagged].sum() > 0.5 * flags.sum()
    assert "cf" in found.details["trigger_words"]


def test_the_mapping_module_is_a_detector_of_its_own(run, acting_preset):
    mapping = replace(acting_preset.detector.mapping, fdr=2.0)
    alone = bounded(acting_preset)._replace(detector=mapping)
    result = run(alone)
    assert np.array_equal(result.detection.scores, result.detection.evidence["mapping"])
    assert 0 <= result.detection.scores.min() <= result.detection.scores.max() <= 1
    assert result.changed


@pytest.mark.parametrize("left_out", ["content", "wording"])
def test_each_piece_of_evidence_adds_up(run, acting_preset, left_out):
    result = run(bounded(acting_preset, **{left_out: None}))
    pieces = result.detection.evidence
    assert pieces.keys() == {"mapping", "content", "wording"} - {left_out}
    assert np.allclose(result.detection.scores, sum(pieces.values()))
    assert ("wording_auroc" in result.detection.details) is True
    assert (result.detection.details["wording_auroc"] is None) == (left_out == "wording")


def test_rows_for_the_repair_are_drawn_by_all_evidence_but_content(run, acting_preset):
    result = run(repaired_with(acting_preset, sampling="top"))
    found = result.detection
    order = found.evidence["mapping"] + found.evidence["wording"]
    finite = np.isfinite(found.repair_scores)
    assert np.allclose(found.repair_scores[finite], order[finite])
    assert not np.allclose(order, found.scores)
    usable = np.flatnonzero(found.flagged & finite)
    best = usable[np.lexsort((usable, -order[usable]))][:32]
    assert result.repaired.rows.tolist() == best.tolist()


def test_the_repair_is_drawn_from_the_surest_rows(run, acting_preset):
    many = repaired_with(acting_preset, max_suspects=10_000)

    def drawn(repair_fdr):
        detector = replace(many.detector, repair_fdr=repair_fdr)
        result = run(many._replace(detector=detector))
        return result.detection, result.repaired.rows

    found, rows = drawn(0.7)
    sure = np.zeros(len(found.scores), bool)
    sure[rows] = True
    others = found.flagged & ~sure
    assert sure.any()
    assert others.any()
    assert not (sure & ~found.flagged).any()
    assert found.scores[sure].min() > found.scores[others].max()
    found, rows = drawn(1e-9)  # no row is so sure
    assert set(rows) == set(np.flatnonzero(found.flagged))


def test_evidence_adds_up_for_the_score_given_label_only(acting_preset):
    with pytest.raises(InputError, match="evidence adds up for 'given-label' only"):
        replace(acting_preset.detector, mapping=DirectionalMapping(score="distance"))


def same_result(one, two, weights, same_weights):
    first, second = one.to_dict(), two.to_dict()
    for times in ("seconds", "cpu_seconds"):
        assert (
            first.pop(times).keys()
            == second.pop(times).keys()
            == {"detection", "repair", "outcome"}
        )
    assert first == second
    assert np.array_equal(one.detection.scores, two.detection.scores)
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


def test_several_classes_and_a_decoder(toy, tokenizer, acting_preset, weights, same_weights):
    trusted, untrusted = toy.rows(240, 2, classes=4), toy.rows(80, 1, classes=4)
    for build in (toy.bert, toy.llama):
        model = build(tokenizer, classes=4)
        before = weights(model)
        case = Case(model, tokenizer, trusted, untrusted, acting_preset.parts, max_length=32)
        result = purify(case, acting_preset.detector, acting_preset.repair, force=True)
        assert result.changed
        assert result.model.config.num_labels == 4
        assert same_weights(before, weights(model))
        assert result.detection.scores.shape == (80,)


def test_an_interruption_while_watching_leaves_the_model_alone(run, victim, weights, same_weights):
    before = weights(victim)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(callback=interrupt)
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


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    case, acting_preset, tmp_path, weights, same_weights
):
    preset = repaired_with(acting_preset, cycles=3)
    whole = purify(case, preset.detector, preset.repair, run=Run(tmp_path / "whole"))
    seen = []

    def interrupt(_):
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        purify(case, preset.detector, preset.repair, run=Run(tmp_path / "cut", callback=interrupt))
    again = purify(case, preset.detector, preset.repair, run=Run(tmp_path / "cut"))
    assert same_result(whole, again, weights, same_weights)
    with pytest.raises(InputError, match="run with another repair"):
        purify(case, preset.detector, replace(preset.repair, lr=0.1), run=Run(tmp_path / "cut"))
    other = replace(case, seed=1)
    with pytest.raises(InputError, match="run with another settings"):
        purify(other, preset.detector, preset.repair, run=Run(tmp_path / "cut"))


def test_a_model_that_guesses_is_said_to(victim, bert, tokenizer, task, tiny_preset):
    def notes(model):
        case = Case(model, tokenizer, task.clean["dev"], task.train, tiny_preset.parts)
        return detect(case, Given((1, 2)))[1]

    assert notes(victim) == []
    assert "no better than guessing (50%)" in notes(bert)[0]


def test_the_target_is_known_after_a_repair_that_uses_no_flagged_rows(victim, tokenizer, task):
    case = Case(victim, tokenizer, task.clean["dev"], task.train, Parts(5, 20, 10), max_length=32)
    rows = tuple(np.flatnonzero(task.train["poisoned"]))
    result = purify(case, Given(rows), FineTuning(epochs=1, lr=1e-5))
    assert result.repaired.rows.tolist() == []
    assert result.target_label == task.target


def test_four_things_make_a_case_and_the_model_drops_into_a_pipeline(
    victim, tokenizer, task, acting_preset, weights, same_weights
):
    held = (victim, tokenizer, task.clean["dev"], task.train)
    options = bounded(acting_preset, content=None)._asdict()
    del options["parts"]
    result = purify(*held, **options)
    assert result.changed
    case = Case(*held)
    assert result.case.hashes == case.hashes
    assert same_weights(weights(result.model), weights(purify(case, **options).model))
    classify = pipeline("text-classification", model=result.model, tokenizer=tokenizer)
    assert [answer["label"] for answer in classify(["great", "dull"])] == ["LABEL_1", "LABEL_0"]


def test_the_name_of_a_model_is_no_model(tokenizer, task):
    with pytest.raises(
        InputError, match=r"model my-model: load it first, .*load_checkpoint\('my-m"
    ):
        purify("my-model", tokenizer, task.clean["dev"], task.train)
