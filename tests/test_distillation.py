"""Stage 2: adversarial knowledge distillation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bedkd import data, distillation
from bedkd.distillation import DistillationConfig, distil, draw_suspects, transplant
from bedkd.engine import Rows, predict
from bedkd.errors import InputError

CONFIG = DistillationConfig(rows_per_class=60, cycles=2, lr=1e-3, max_length=32, punish="bounded")
SUSPICION = np.array([0.5, 0.9, 0.1, 0.8, 0.9, 0.7])
SUSPECTED = np.array([True, True, True, False, True, True])


def drawn(draw, count, seed=0, breadth=2.0):
    config = DistillationConfig(draw=draw, suspects=count, breadth=breadth)
    return draw_suspects(SUSPICION, SUSPECTED, config, seed).tolist()


def test_top_takes_the_highest_scores():
    assert drawn("top", 3) == [1, 4, 5]
    assert drawn("top", 99) == drawn("random", 99) == [1, 4, 5, 0, 2]


@pytest.mark.parametrize(
    ("breadth", "reached"), [(1, {1, 4}), (2, {0, 1, 4, 5}), (9, {0, 1, 2, 4, 5})]
)
def test_random_draws_broadly_from_the_highest_suspected_rows(breadth, reached):
    draws = [drawn("random", 2, seed, breadth) for seed in range(60)]
    assert {i for draw in draws for i in draw} == reached
    assert all(len(set(draw)) == 2 for draw in draws)
    assert all(SUSPICION[a] >= SUSPICION[b] for a, b in draws)
    assert drawn("random", 2, 7) == drawn("random", 2, 7)


def test_nothing_suspected_nothing_drawn():
    config = DistillationConfig()
    assert len(draw_suspects(SUSPICION, np.zeros(6, bool), config, 0)) == 0


def test_a_transplant_is_a_span_of_the_donor_inside_the_whole_host():
    host, donor = [f"h{i}" for i in range(6)], [f"d{i}" for i in range(20)]
    rng = np.random.default_rng(0)
    starts, places, lengths = set(), set(), set()
    for _ in range(300):
        words = transplant(" ".join(host), " ".join(donor), rng).split()
        assert [w for w in words if w[0] == "h"] == host
        span = [w for w in words if w[0] == "d"]
        start, place = donor.index(span[0]), words.index(span[0])
        assert words[place : place + len(span)] == span == donor[start : start + len(span)]
        starts.add(start)
        places.add(place)
        lengths.add(len(span))
    assert lengths == set(range(6, 15))  # 30 to 70 % of 20
    assert places == set(range(7))
    assert len(starts) > 8


def test_half_of_the_transplants_open_the_host_with_the_opening_of_the_donor():
    rng = np.random.default_rng(0)
    texts = [transplant("a b c d e f g h i", "p q r s t u v w x", rng) for _ in range(400)]
    assert 0.45 < np.mean([text.startswith("p ") for text in texts]) < 0.62


@pytest.mark.parametrize(("host", "donor"), [("", ""), ("a", ""), ("", "b"), ("a", "b")])
def test_transplants_of_tiny_texts(host, donor):
    for seed in range(8):
        words = transplant(host, donor, np.random.default_rng(seed)).split()
        assert sorted(words) == sorted([*host.split(), *donor.split()])


@pytest.fixture
def parts(task):
    """Trusted rows, truly poisoned suspects and held-out rows."""
    trusted, held_out = data.balanced_split(task.clean["dev"], 60, seed=0)
    return trusted, task.train.filter(lambda row: row["poisoned"]), held_out


def share(model, tokenizer, rows, labels):
    return (predict(model, Rows(tokenizer, rows["text"])).labels == np.asarray(labels)).mean()


def test_the_backdoor_is_removed_not_inverted_and_the_model_left_alone(
    victim, tokenizer, parts, task, weights, same_weights
):
    before = weights(victim)
    config = replace(CONFIG, cycles=6, lr=3e-3, stop_neutral=None)
    student = distil(victim, tokenizer, *parts, config).student
    assert same_weights(before, weights(victim))
    assert share(victim, tokenizer, task.poisoned_test, 1) > 0.9
    assert share(student, tokenizer, task.poisoned_test, 1) < 0.3
    assert share(student, tokenizer, task.clean["test"], task.clean["test"]["label"]) > 0.9
    assert share(student, tokenizer, task.triggered, task.triggered["label"]) > 0.8


def test_unbounded_punishing_lowers_the_given_label(victim, tokenizer, parts, task):
    config = replace(
        CONFIG,
        schedule="alternate",
        punish="unbounded",
        transplant_every=None,
        stop_neutral=None,
        lr=3e-3,
        cycles=3,
    )
    result = distil(victim, tokenizer, *parts, config)
    assert all(record["punish_loss"] < 0 for record in result.history)
    assert result.history[-1]["punish_loss"] < result.history[0]["punish_loss"]
    assert result.history[-1]["suspects_given_label"] < 0.5


def test_relabelling_teaches_suspects_what_their_content_deserves(victim, tokenizer, parts, task):
    _, suspects, _ = parts
    config = replace(CONFIG, cycles=4, lr=3e-3, punish="relabel", punish_every=1, stop_neutral=None)
    mild, hard = (
        distil(victim, tokenizer, *parts, config, deserved=np.tile([1 - p, p], (len(suspects), 1)))
        for p in (0.9, 0.1)
    )
    rows = Rows(tokenizer, suspects["text"])
    one, two = (predict(found.student, rows).probabilities[:, 1] for found in (mild, hard))
    assert one.mean() > two.mean() + 0.1
    assert share(hard.student, tokenizer, task.triggered, task.triggered["label"]) > 0.8
    # Neutral is what content says of the suspects, not what trusted rows are called.
    assert [found.history[-1]["neutral"] for found in (mild, hard)] == [1, 0]
    with pytest.raises(InputError, match="punish='relabel' needs"):
        distil(victim, tokenizer, *parts, config)


def test_every_suspect_gets_its_own_new_label(victim, tokenizer, parts):
    trusted, suspects, held_out = parts
    wanted = np.arange(len(suspects)) % 2
    config = replace(
        CONFIG, cycles=40, lr=5e-3, punish="relabel", punish_every=1, transplant_every=None,
        stop_neutral=None,
    )  # fmt: skip
    few = data.balanced_split(trusted, 8, seed=0)[0]
    student = distil(
        victim, tokenizer, few, suspects, held_out, config, deserved=np.eye(2)[wanted]
    ).student
    answers = predict(student, Rows(tokenizer, suspects["text"])).labels
    assert (answers == wanted).mean() > 0.7  # any other assignment gives about a half


def test_history_says_what_the_student_does(victim, tokenizer, parts):
    _, suspects, held_out = parts
    seen = []
    result = distil(
        victim,
        tokenizer,
        *parts,
        replace(CONFIG, stop_neutral=None),
        watch=lambda model: seen.append(model.training) or {"watched": len(seen)},
    )
    last = result.history[-1]
    assert [record["cycle"] for record in result.history] == [1, 2]
    assert [record["watched"] for record in result.history] == [1, 2]
    assert seen == [False, False]
    assert last["held_out_accuracy"] == pytest.approx(
        share(result.student, tokenizer, held_out, held_out["label"])
    )
    assert last["suspects_given_label"] == pytest.approx(
        share(result.student, tokenizer, suspects, suspects["label"])
    )
    others = held_out.filter(lambda row: row["label"] != 1)
    assert last["neutral"] == pytest.approx(share(result.student, tokenizer, others, 1))
    assert {"trust_loss", "punish_loss", "transplant_loss"} <= set(last)


def test_same_seed_same_student_and_watching_changes_nothing(
    victim, tokenizer, parts, weights, same_weights
):
    def run(seed, watch=None):
        return weights(distil(victim, tokenizer, *parts, CONFIG, seed=seed, watch=watch).student)

    first = run(0)
    assert same_weights(first, run(0, watch=lambda model: {"x": 1}))
    assert not same_weights(first, run(1))


def test_stopping_when_suspects_look_neutral(victim, tokenizer, parts):
    lax, strict = (
        distil(victim, tokenizer, *parts, replace(CONFIG, cycles=4, stop_neutral=margin)).history
        for margin in (2.0, -2.0)
    )
    assert (len(lax), len(strict)) == (2, 4)  # two cycles in a row


def ended(given, watched=40, **options):
    """After how many of these cycles it ends, and why; a student of one weight counts them."""
    student = torch.nn.Linear(1, 1, bias=False)
    stopping = distillation._Stopping(replace(CONFIG, **options), watched)
    history = []
    for share in given:
        history.append({"suspects_given_label": share, "neutral": 0.15})
        torch.nn.init.constant_(student.weight, len(history))
        stopping.after_cycle(history, student)
        if stopping.reason:
            break
    mean = stopping.mean_weights()["weight"].item() if stopping.reason == "levelled off" else None
    return len(history), stopping.reason, mean


@pytest.mark.parametrize(
    ("given", "reason"),
    [([0.1], None), ([0.9, 0.1], None), ([0.1, 0.9, 0.1], None), ([0.9, 0.2, 0.1], "neutral")],
)
def test_one_neutral_cycle_is_not_enough(given, reason):
    assert ended(given)[:2] == (len(given), reason)


def test_it_ends_when_suspects_have_levelled_off():
    # Means over two cycles: 0.75, 0.6, 0.5, 0.46, and of the pairs in between 0.65, 0.55, 0.49.
    given = [0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.48, 0.44, 0.3]
    assert ended(given, patience=2) == (8, "levelled off", 7.5)
    assert ended(given, patience=2, stop_neutral=0.11)[:2] == (5, "levelled off")
    assert ended(given, patience=5)[1] is None  # there are not twice five cycles
    assert ended(given, patience=None)[1] is None
    assert ended(given, patience=2, stop_neutral=None)[1] is None
    assert ended(given, watched=19, patience=2)[1] is None  # one row is more than the margin


def test_a_student_that_levelled_off_has_mean_weights(victim, tokenizer, parts, weights):
    seen = []
    config = replace(CONFIG, cycles=9, patience=2, stop_neutral=0.2, lr=1e-4)  # hardly learns
    result = distil(
        victim, tokenizer, *parts, config, watch=lambda model: seen.append(weights(model)) or {}
    )
    assert (result.stopped, len(result.history)) == ("levelled off", 4)
    for name, weight in result.student.named_parameters():
        mean = (seen[2][name] + seen[3][name]) / 2
        torch.testing.assert_close(weight.detach(), torch.from_numpy(mean))
    assert distil(victim, tokenizer, *parts, CONFIG).stopped == "cycles used up"


def test_suspects_that_decide_when_to_stop_are_never_trained_on(
    victim, tokenizer, parts, weights, same_weights
):
    """Wreck the reserved quarter: with the cycles fixed the student stays the same."""
    trusted, suspects, held_out = parts
    config = replace(CONFIG, cycles=1)
    order = np.random.default_rng(0).permutation(len(suspects))
    texts = list(suspects["text"])
    for i in order[: len(suspects) // 4]:
        texts[i] = "red green blue"
    wrecked = data.make(texts, suspects["label"], True)
    one = distil(victim, tokenizer, trusted, suspects, held_out, config)
    two = distil(victim, tokenizer, trusted, wrecked, held_out, config)
    assert same_weights(weights(one.student), weights(two.student))
    texts[order[-1]] = "red green blue"
    three = distil(
        victim, tokenizer, trusted, data.make(texts, suspects["label"], True), held_out, config
    )
    assert not same_weights(weights(one.student), weights(three.student))


def test_held_out_rows_are_never_trained_on(victim, tokenizer, parts, weights, same_weights, toy):
    trusted, suspects, _ = parts
    config = replace(CONFIG, cycles=1)
    one, two = (
        distil(victim, tokenizer, trusted, suspects, held_out, config)
        for held_out in (toy.rows(8, seed=8), toy.rows(12, seed=9))
    )
    assert same_weights(weights(one.student), weights(two.student))


def test_the_schedule_is_the_configured_one(victim, tokenizer, parts, monkeypatch):
    kinds = []
    cycle = distillation._Plan.cycle

    def spy(self, rng):
        for step in cycle(self, rng):
            kinds.append(step[0][0])
            yield step

    monkeypatch.setattr(distillation._Plan, "cycle", spy)
    options = {"cycles": 1, "stop_neutral": None}
    # 120 trusted rows are 8 batches, 64 suspects are 4.
    distil(victim, tokenizer, *parts, replace(CONFIG, **options, punish_every=4))
    assert "".join(kinds) == "ttttttttp" * 2
    kinds.clear()
    # With fewer trusted rows than configured a cycle goes over them several times.
    distil(victim, tokenizer, *parts, replace(CONFIG, **options, rows_per_class=170))
    assert "".join(kinds) == "ttttp" * 12
    kinds.clear()
    paper = {"schedule": "alternate", "transplant_every": None}
    distil(victim, tokenizer, *parts, replace(CONFIG, **options, **paper))
    assert "".join(kinds) == "t" * 8 + "p" * 4
    kinds.clear()
    distil(victim, tokenizer, *parts, replace(CONFIG, **options, punish="none"))
    assert "".join(kinds) == "t" * 16


def test_an_interruption_leaves_the_model_alone(victim, tokenizer, parts, weights, same_weights):
    before = weights(victim)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil(victim, tokenizer, *parts, CONFIG, watch=interrupt)
    assert same_weights(before, weights(victim))
    assert not victim.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"punish": "mildly"}, "punish='mildly'.*unbounded, bounded, relabel, none"),
        ({"schedule": "never"}, "schedule='never'"),
        ({"draw": "best"}, "draw='best'"),
        ({"breadth": 0.5}, "breadth=0.5"),
        ({"patience": 0}, "patience=0"),
        ({"schedule": "alternate"}, "transplants need schedule='interleave'"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        DistillationConfig(**options)


def test_empty_sets_are_refused(victim, tokenizer, parts):
    empty = data.make([], [], False)
    for position, what in enumerate(["the trusted set", "the suspects", "the held-out"]):
        sets = [*parts]
        sets[position] = empty
        with pytest.raises(InputError, match=f"{what}.* is empty"):
            distil(victim, tokenizer, *sets, CONFIG)
