"""Stage 1: the directional mapping module."""

from dataclasses import replace

import numpy as np
import pytest

from bedkd import data, mapping
from bedkd.engine import Prediction
from bedkd.errors import InputError
from bedkd.mapping import (
    DirectionalMapping,
    MappingConfig,
    Scores,
    compare,
    least_detectable,
    threshold_from_null,
)

CONFIG = MappingConfig(epochs=2, lr=2e-3, max_length=32, patience=None)


def test_flipping_swaps_two_classes_and_turns_more():
    assert mapping.flip(np.array([0, 1, 1]), 2).tolist() == [1, 0, 0]
    assert mapping.flip(np.array([0, 1, 2, 3]), 4).tolist() == [1, 2, 3, 0]
    for classes in (2, 3, 4):
        labels = np.arange(classes)
        assert (mapping.flip(labels, classes) != labels).all()


def prediction(*probabilities):
    return Prediction(np.log(np.array(probabilities)))


def test_scores_by_hand():
    teacher = prediction([0.1, 0.9], [0.8, 0.2], [0.3, 0.7])
    student = prediction([0.2, 0.8], [0.3, 0.7], [0.6, 0.4])
    labels = np.array([1, 0, 0])
    for kind, suspicion in (
        ("given-label", [0.8, 0.3, 0.6]),
        ("distance", [-0.1, -0.5, -0.3]),
    ):
        scores = compare(teacher, student, labels, kind)
        assert scores.suspicion == pytest.approx(suspicion)
        assert scores.distance == pytest.approx([0.1, 0.5, 0.3])
        assert scores.agrees.tolist() == [True, True, False]


RNG = np.random.default_rng(0)


def test_threshold_by_hand():
    null = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    suspicion = np.array([0.95, 0.95, 0.95, 0.85, 0.15])
    # Expected false rows at 0.95: (0 + 1) / 10 · 5 = 0.5 of 3; at 0.85: (1 + 1) / 10 · 5 = 1 of 4.
    assert threshold_from_null(null, suspicion, 0.16) == np.inf
    assert threshold_from_null(null, suspicion, 0.17) == 0.95
    assert threshold_from_null(null, suspicion, 0.24) == 0.95
    assert threshold_from_null(null, suspicion, 0.25) == 0.85


@pytest.mark.parametrize(("trusted", "share"), [(299, 0.05), (40, 0.2)])
def test_fewer_rows_than_detectable_are_never_suspected(trusted, share):
    null = RNG.random(trusted)
    least = least_detectable(trusted, 2000, share)
    for count, seen in ((least - 1, False), (least, True)):
        rows = np.concatenate([np.zeros(2000 - count), np.full(count, 9.0)])
        assert np.isfinite(threshold_from_null(null, rows, share)) == seen


def test_clean_rows_alone_are_almost_never_suspected():
    acted = sum(
        np.isfinite(threshold_from_null(RNG.random(160), RNG.random(2000), 0.03))
        for _ in range(300)
    )
    assert acted <= 300 * 0.06  # the rule's guarantee is 0.03


def test_separated_rows_are_all_suspected_and_no_clean_one():
    null, clean = RNG.random(160) * 0.5, RNG.random(1600) * 0.5
    bad = 0.6 + RNG.random(400) * 0.4
    limit = threshold_from_null(null, np.concatenate([clean, bad]), 0.06)
    assert (bad >= limit).all()
    assert (clean >= limit).mean() < 0.02


def test_false_share_is_held_where_scores_overlap():
    shares = []
    for _ in range(60):
        null, clean, bad = RNG.normal(0, 1, 160), RNG.normal(0, 1, 800), RNG.normal(3, 1, 400)
        limit = threshold_from_null(null, np.concatenate([clean, bad]), 0.1)
        suspected = (clean >= limit).sum() + (bad >= limit).sum()
        shares.append((clean >= limit).sum() / max(suspected, 1))
    assert np.mean(shares) <= 0.1


def test_a_larger_share_never_suspects_less():
    null, rows = RNG.random(50), RNG.random(300) ** 0.5
    limits = [threshold_from_null(null, rows, share) for share in (0.01, 0.1, 0.3, 0.6, 1, 2)]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] == np.inf
    assert limits[-1] == rows.min()


def test_threshold_ignores_order_and_needs_a_null():
    null, rows = RNG.random(50), np.concatenate([RNG.random(200), np.full(100, 2.0)])
    limit = threshold_from_null(null, rows, 0.1)
    assert limit == threshold_from_null(null[::-1], RNG.permutation(rows), 0.1) < np.inf
    assert threshold_from_null(np.empty(0), rows, 0.1) == np.inf
    assert threshold_from_null(null, np.empty(0), 0.1) == np.inf


def fitted(config, null=None):
    return DirectionalMapping(config, None, None, None, null=null)


def test_suspected_are_rows_over_the_threshold_that_the_teacher_agrees_with():
    agrees = np.array([True, True, True, False])
    distance = np.array([0.05, 0.0999, 0.1, 0.01])
    paper = MappingConfig(score="distance", gamma=0.1, patience=None)
    scores = Scores(distance, np.zeros(4), agrees, "distance")
    assert fitted(paper).suspected(scores).tolist() == [True, True, False, False]
    assert not fitted(replace(paper, gamma=0.0)).suspected(replace_distance(scores)).any()
    null = Scores(np.zeros(3), np.array([0.1, 0.2, 0.3]), np.ones(3, bool), "given-label")
    scores = Scores(distance, np.array([0.9, 0.9, 0.2, 0.9]), agrees, "given-label")
    found = fitted(MappingConfig(false_share=0.5), null).suspected(scores)
    assert found.tolist() == [True, True, False, False]


def replace_distance(scores):
    return replace(scores, distance=np.zeros(4))


def test_the_null_leaves_out_rows_that_the_teacher_gets_wrong():
    given = np.array([0.1, 0.2, 0.99])
    null = Scores(np.zeros(3), given, np.array([True, True, False]), "given-label")
    scores = Scores(np.zeros(4), np.full(4, 0.9), np.ones(4, bool), "given-label")
    assert fitted(MappingConfig(false_share=0.34), null).threshold(scores) == pytest.approx(0.9)


@pytest.fixture
def trusted(task):
    return data.balanced_split(task.clean["dev"], 20, seed=0)


def fit(victim, tokenizer, trusted, config=CONFIG, **options):
    rows, held_out = trusted
    return DirectionalMapping.fit(victim, tokenizer, rows, held_out, config, **options)


def test_fitting_unlearns_the_trusted_labels_and_leaves_the_model_alone(
    victim, tokenizer, trusted, weights, same_weights
):
    before = weights(victim)
    found = fit(victim, tokenizer, trusted, replace(CONFIG, epochs=10))
    assert same_weights(before, weights(victim))
    assert not same_weights(before, weights(found.student))
    given = found.score(trusted[0]).given
    assert given.mean() < 0.7  # the victim gives it almost 1
    assert found.history[-1]["loss"] < found.history[0]["loss"]
    assert [record["epoch"] for record in found.history] == list(range(1, 11))


def test_same_seed_same_scores_other_seed_other_scores(victim, tokenizer, trusted, task):
    one, again, other = (
        fit(victim, tokenizer, trusted, seed=seed).score(task.train).suspicion for seed in (0, 0, 1)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_scores_follow_their_rows(victim, tokenizer, trusted, task):
    found = fit(victim, tokenizer, trusted)
    order = np.random.default_rng(0).permutation(len(task.train))
    one, two = found.score(task.train), found.score(task.train.select(order))
    np.testing.assert_allclose(one.suspicion[order], two.suspicion, atol=1e-5)
    assert np.array_equal(one.agrees[order], two.agrees)


def test_fitting_stops_when_held_out_rows_gain_nothing(victim, tokenizer, trusted):
    still = fit(victim, tokenizer, trusted, replace(CONFIG, epochs=9, lr=0.0, patience=2))
    assert len(still.history) == 3
    full = fit(victim, tokenizer, trusted, replace(CONFIG, epochs=4, patience=4))
    assert len(full.history) == 4


def test_the_epoch_kept_is_the_one_that_held_out_rows_believe_least(victim, tokenizer, trusted):
    found = fit(victim, tokenizer, trusted, replace(CONFIG, epochs=8, lr=2e-2, patience=8))
    beliefs = [record["held_out_given"] for record in found.history]
    assert beliefs[-1] > min(beliefs)
    assert found.null.given.mean() == pytest.approx(min(beliefs))
    np.testing.assert_allclose(found.score(trusted[1]).given, found.null.given, atol=1e-6)


def test_poison_flags_play_no_part(victim, tokenizer, trusted, task):
    found = fit(victim, tokenizer, trusted)
    bare = task.train.remove_columns("poisoned")
    assert np.array_equal(found.score(task.train).given, found.score(bare).given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MappingConfig(score="guess"), "score='guess'.*given-label, distance"),
        (lambda: MappingConfig(gamma=0.1), "needs score='distance'"),
    ],
)
def test_bad_configurations_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_bad_input_is_refused(bert, tokenizer, toy):
    empty, rows = data.make([], [], False), toy.rows(8)
    with pytest.raises(InputError, match="patience needs held-out"):
        DirectionalMapping.fit(bert, tokenizer, rows)
    with pytest.raises(InputError, match="the trusted set is empty"):
        DirectionalMapping.fit(bert, tokenizer, empty, rows)
    with pytest.raises(InputError, match="held-out trusted set, row 2: label 2"):
        DirectionalMapping.fit(bert, tokenizer, rows, toy.rows(8, classes=4))
    found = DirectionalMapping.fit(bert, tokenizer, rows, None, CONFIG)
    with pytest.raises(InputError, match="gamma=None needs held-out"):
        found.threshold(found.score(rows))
