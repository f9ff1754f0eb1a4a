"""The detector of the preset ``cycles`` at its real thresholds: a victim, an honest model,
imbalanced rows. Its rule is the one that can be written out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from datasets import DatasetDict, concatenate_datasets

from bedkd import Case, Parts, attacks
from bedkd.detectors import DirectionalMapping
from bedkd.presets import cycles
from bedkd.training.fine_tune import fine_tune

# A learning rate and a number of epochs for toy models, of whose words the encoder knows nothing.
DETECTOR = replace(cycles().detector, mapping=DirectionalMapping(epochs=6, lr=3e-3), content=None)
PARTS = Parts(flip=20, tune=40, held_out=30)


def imbalanced(rows, share):
    """Rows of which ``share`` have label 1."""
    ones, zeros = (rows.filter(lambda row, k=k: row["label"] == k) for k in (1, 0))
    return concatenate_datasets(
        [zeros, ones.select(range(round(len(zeros) * share / (1 - share))))]
    )


@pytest.fixture(scope="module")
def cases(toy, tokenizer):
    """What the defender holds of a victim, of an honest model beside the same kind of rows, and of
    a victim whose rows are nine of class 0 to one of class 1; with the poison flags."""
    splits = DatasetDict(train=toy.rows(800, 1), dev=toy.rows(180, 2), test=toy.rows(80, 3))
    trigger = attacks.BadNets(words=("cf",))
    training = replace(toy.training, epochs=8)

    def case(train, target, rate):
        given = DatasetDict(train=train, dev=splits["dev"], test=splits["test"])
        made = attacks.build_task(
            given,
            trigger,
            rate=rate,
            target=target,
            limits=attacks.Limits(None, 10),
        )
        model = toy.bert(tokenizer)
        fine_tune(model, tokenizer, made.train, training, seed=0)
        flags = np.asarray(made.train["poisoned"][:], bool)
        return Case(model, tokenizer, splits["dev"], made.train, PARTS, max_length=32), flags

    return {
        "victim": case(splits["train"], 1, 0.2),
        "honest": case(splits["train"], 1, 0.0),
        "imbalanced": case(imbalanced(splits["train"], 0.1), 1, 0.15),
        "imbalanced honest": case(imbalanced(splits["train"], 0.1), 1, 0.0),
    }


@pytest.fixture(scope="module")
def found(cases):
    return {name: DETECTOR.detect(case) for name, (case, _) in cases.items()}


def assert_found(detection, flags, recall):
    assert detection.is_backdoored
    assert flags[detection.flagged].mean() > 0.9
    assert detection.flagged[flags].mean() > recall
    assert detection.details["wording_auroc"] > 0.9
    assert "cf" in detection.details["trigger_words"]


def test_poisoned_rows_are_found_by_the_threshold_on_scores(cases, found):
    assert_found(found["victim"], cases["victim"][1], recall=0.9)
    assert found["victim"].details["examined"] == 0  # without the probe
    assert found["victim"].p_value < DETECTOR.seed_fdr


def test_poisoned_rows_are_found_where_a_class_is_rare(cases):
    case, flags = cases["imbalanced"]
    faster = replace(DETECTOR, mapping=replace(DETECTOR.mapping, lr=1e-2))
    assert_found(faster.detect(case), flags, recall=0.5)


@pytest.mark.parametrize("name", ["honest", "imbalanced honest"])
def test_an_honest_model_is_left_alone(found, name):
    assert not found[name].is_backdoored
    assert found[name].flagged.sum() < DETECTOR.min_flagged
    assert found[name].details["trigger_words"] == []


def flag_by_hand(null, scores, eligible, fdr):
    """Benjamini and Hochberg's rule, written out."""
    order = [i for i in np.argsort(-scores, kind="stable") if eligible[i]]
    p = [(1 + (null >= scores[i]).sum()) / (1 + len(null)) for i in order]
    passing = [k for k in range(len(order)) if p[k] * len(order) / (k + 1) <= fdr]
    threshold = scores[order[max(passing)]] if passing else np.inf
    return eligible & (scores >= threshold)


def test_flagged_rows_are_those_of_the_rule_on_rows_nobody_trained_on(cases, monkeypatch):
    """The arithmetic of ``detect`` on the victim: which rows say what clean rows look like, which
    may be flagged, and which the wording evidence learns from."""
    case = cases["victim"][0]
    flipped, pieces = 2 * PARTS.flip, {}
    for evidence in ("mapping", "wording"):
        method = type(getattr(DETECTOR, evidence)).evidence

        def kept(self, *given, name=evidence, method=method):
            result = method(self, *given)
            pieces.setdefault(name, []).append((given, result[0]))
            return result

        monkeypatch.setattr(type(getattr(DETECTOR, evidence)), "evidence", kept)
    detection = DETECTOR.detect(case)
    mapping = pieces["mapping"][0][1]
    null = np.flatnonzero(case.fits_label)
    null = null[null >= flipped]  # the mapping student was trained on the flipped rows
    first, second = pieces["wording"]
    seeds = flag_by_hand(
        mapping.trusted[null], mapping.untrusted, mapping.eligible, DETECTOR.seed_fdr
    )
    assert first[0][1].tolist() == seeds.tolist()
    assert first[0][2].tolist() == mapping.untrusted.tolist()
    total = mapping.untrusted + first[1].untrusted
    trusted = mapping.trusted + first[1].trusted
    seeds = flag_by_hand(trusted[null], total, mapping.eligible, DETECTOR.fdr)
    assert second[0][1].tolist() == seeds.tolist()
    assert second[0][2].tolist() == total.tolist()
    total = mapping.untrusted + second[1].untrusted
    trusted = mapping.trusted + second[1].trusted
    flagged = flag_by_hand(trusted[null], total, mapping.eligible, DETECTOR.fdr)
    assert detection.scores.tolist() == total.tolist()
    assert detection.flagged.tolist() == flagged.tolist()
    sure = flag_by_hand(trusted[null], total, mapping.eligible, DETECTOR.repair_fdr)
    left_out = flagged & ~sure if sure.any() else np.zeros(len(sure), bool)
    usable = np.isfinite(detection.repair_scores)
    assert usable.tolist() == (mapping.eligible & ~left_out).tolist()
