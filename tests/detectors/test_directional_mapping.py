"""Stage 1: the directional mapping module."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from bedkd.detectors import DirectionalMapping
from bedkd.detectors.base import log_odds
from bedkd.detectors.directional_mapping import Mapped, Scores, compare, flip
from bedkd.errors import InputError
from bedkd.training.predict import Prediction, predict

MAPPING = DirectionalMapping(epochs=2, lr=2e-3, patience=None)


def test_flipping_swaps_two_classes_and_turns_more():
    assert flip(np.array([0, 1, 1]), 2).tolist() == [1, 0, 0]
    assert flip(np.array([0, 1, 2, 3]), 4).tolist() == [1, 2, 3, 0]
    for classes in (2, 3, 4):
        labels = np.arange(classes)
        assert (flip(labels, classes) != labels).all()


def prediction(*probabilities):
    return Prediction(np.log(np.array(probabilities)))


def test_scores_by_hand():
    teacher = prediction([0.1, 0.9], [0.8, 0.2], [0.3, 0.7])
    student = prediction([0.2, 0.8], [0.3, 0.7], [0.6, 0.4])
    scores = compare(teacher, student, np.array([1, 0, 0]))
    assert scores.p_given == pytest.approx([0.8, 0.3, 0.6])
    assert scores.distance == pytest.approx([0.1, 0.5, 0.3])
    assert scores.fits_label.tolist() == [True, True, False]


def test_distance_is_the_mean_over_classes():
    scores = compare(prediction([0.2, 0.3, 0.5]), prediction([0.5, 0.3, 0.2]), np.array([0]))
    assert scores.distance == pytest.approx([0.2])


@dataclass(frozen=True)
class Planted(DirectionalMapping):
    """The mapping module with a student whose scores are known."""

    mapped: Mapped | None = None

    def missing(self, case):
        return []

    def map(self, case, run=None):
        return self.mapped


def scores(p_given=None, distance=None, fits_label=None):
    count = len(p_given if p_given is not None else distance)
    zeros = np.zeros(count)
    return Scores(
        zeros if distance is None else np.array(distance),
        zeros if p_given is None else np.array(p_given),
        np.ones(count, bool) if fits_label is None else np.array(fits_label),
    )


def planted(untrusted, null, **settings):
    history = [{"epoch": 1}]
    return Planted(mapped=Mapped(None, history, null, untrusted), patience=None, **settings)


def test_flagged_are_rows_over_the_threshold_whose_label_the_model_predicts():
    fits = [True, True, True, False]
    rows, null = scores(distance=[0.05, 0.0999, 0.1, 0.01], fits_label=fits), scores([0.1] * 3)
    found = planted(rows, null, score="distance", gamma=0.1).detect(None)
    assert found.flagged.tolist() == [True, True, False, False]
    assert found.scores == pytest.approx([-0.05, -0.0999, -0.1, -0.01])
    assert found.repair_scores == pytest.approx([-0.05, -0.0999, -0.1, -np.inf])
    assert "min_detectable" not in found.details  # the threshold was fixed
    nought = scores(distance=[0.0] * 4, fits_label=fits)
    assert not planted(nought, null, score="distance", gamma=0.0).detect(None).flagged.any()
    rows = scores([0.9, 0.9, 0.2, 0.9], fits_label=fits)
    found = planted(rows, scores([0.1, 0.2, 0.3]), fdr=0.5).detect(None)
    assert found.flagged.tolist() == [True, True, False, False]
    assert found.threshold == 0.9
    assert found.repair_scores == pytest.approx([0.9, 0.9, 0.2, -np.inf])


def test_small_distances_are_suspicious_where_the_fdr_sets_the_threshold():
    rows, null = scores(distance=[0.01, 0.02, 0.5, 0.6]), scores(distance=[0.1, 0.4, 0.5])
    found = planted(rows, null, score="distance", fdr=0.5).detect(None)
    assert found.flagged.tolist() == [True, True, False, False]
    assert found.threshold == -0.02


def test_the_null_leaves_out_rows_that_the_model_gets_wrong():
    null = scores([0.1, 0.2, 0.99], fits_label=[True, True, False])
    found = planted(scores([0.9] * 4), null, fdr=0.34).detect(None)
    assert found.threshold == pytest.approx(0.9)
    assert found.p_value == pytest.approx(1 / 3)
    assert found.details["min_detectable"] == 16  # 4 of 4 rows pass, but a verdict needs 16


def test_the_threshold_leaves_out_rows_that_cannot_be_flagged():
    # Of 2 rows one is above all 9 of the null: 0.1 · 2 = 0.2; of all 4 rows it would be 0.4.
    rows = scores([0.9, 0.1, 0.1, 0.1], fits_label=[True, True, False, False])
    found = planted(rows, scores([0.5] * 9), fdr=0.21).detect(None)
    assert found.flagged.tolist() == [True, False, False, False]
    assert found.p_value == pytest.approx(0.2)


@pytest.mark.parametrize(("count", "verdict"), [(15, False), (16, True)])
def test_a_verdict_needs_enough_flagged_rows(count, verdict):
    rows = scores([0.9] * count + [0.1] * 20)
    found = planted(rows, scores([0.2] * 99)).detect(None)
    assert found.flagged.sum() == count
    assert found.is_backdoored == verdict


def test_evidence_says_nothing_of_flipped_rows(case):
    found, mapped = MAPPING.evidence(case)
    flipped = len(case.divided.flip)
    assert np.isnan(found.trusted[:flipped]).all()
    assert not found.null[:flipped].any()
    assert found.trusted[flipped:] == pytest.approx(log_odds(mapped.null.p_given))
    assert (found.null[flipped:] == mapped.null.fits_label).all()
    assert found.untrusted == pytest.approx(log_odds(mapped.untrusted.p_given))
    assert (found.eligible == mapped.untrusted.fits_label).all()
    # Trusted rows stand in the order of ``divided.all``.
    assert (found.null[flipped:] == case.fits_label[flipped:]).all()


def p_given(case, student, rows):
    found = predict(student, case.encoded(rows, "rows")).probabilities
    return found[np.arange(len(rows)), np.asarray(rows["label"])]


def test_fitting_unlearns_the_trusted_labels_and_leaves_the_model_alone(
    case, weights, same_weights
):
    case = replace(case, parts=replace(case.parts, flip=20))
    before = weights(case.model)
    student, history = replace(MAPPING, epochs=10).fit(case)
    assert same_weights(before, weights(case.model))
    assert not same_weights(before, weights(student))
    assert p_given(case, case.model, case.divided.flip).mean() > 0.9
    assert p_given(case, student, case.divided.flip).mean() < 0.7
    assert history[-1]["loss"] < history[0]["loss"]
    assert [record["epoch"] for record in history] == list(range(1, 11))


def test_same_seed_same_scores_other_seed_other_scores(case):
    one, again, other = (
        MAPPING.detect(replace(case, seed=seed)).evidence["mapping"] for seed in (0, 0, 1)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_scores_follow_their_rows(case):
    order = np.random.default_rng(0).permutation(len(case.untrusted))
    one = MAPPING.map(case).untrusted
    two = MAPPING.map(replace(case, untrusted=case.untrusted.select(order))).untrusted
    np.testing.assert_allclose(one.p_given[order], two.p_given, atol=1e-5)
    np.testing.assert_allclose(one.distance[order], two.distance, atol=1e-5)
    assert np.array_equal(one.fits_label[order], two.fits_label)


def test_fitting_stops_when_held_out_rows_gain_nothing(case):
    _, still = replace(MAPPING, epochs=9, lr=0.0, patience=2).fit(case)
    assert len(still) == 3
    _, full = replace(MAPPING, epochs=4, patience=4).fit(case)
    assert len(full) == 4


def test_the_epoch_kept_is_the_one_that_held_out_rows_believe_least(case):
    mapped = replace(MAPPING, epochs=8, lr=2e-2, patience=8).map(case)
    beliefs = [record["held_out_p_true"] for record in mapped.history]
    assert beliefs[-1] > min(beliefs)
    assert mapped.null.p_given.mean() == pytest.approx(min(beliefs))
    unseen = case.divided.all.select(range(len(case.divided.flip), len(case.divided.all)))
    np.testing.assert_allclose(
        p_given(case, mapped.student, unseen), mapped.null.p_given, atol=1e-6
    )


def test_poison_flags_play_no_part(case, task):
    assert "poisoned" in task.train.column_names
    bare = replace(case, untrusted=task.train.remove_columns("poisoned"))
    honest = task.train.remove_columns("poisoned").add_column("poisoned", [False] * len(task.train))
    found = [
        MAPPING.map(some).untrusted.p_given
        for some in (replace(case, untrusted=task.train), bare, replace(case, untrusted=honest))
    ]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score": "guess"}, "score='guess'.*given-label, distance"),
        ({"gamma": 0.1}, "needs score='distance'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        DirectionalMapping(**settings)
