"""Stage 2: adversarial knowledge distillation."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from datasets import concatenate_datasets

from bedkd import Case, Parts, Run, data, presets
from bedkd.case import TrustedParts
from bedkd.detectors import Detection, Given
from bedkd.errors import InputError
from bedkd.repairs import AdversarialDistillation, distillation
from bedkd.training.batches import EncodedTexts
from bedkd.training.loop import Trainer
from bedkd.training.predict import predict

# In cycles; the one pass of the default has tests of its own.
CYCLES = presets.cycles().repair
REPAIR = replace(CYCLES, cycles=2, lr=1e-3, punish="bounded")
SCORES = np.array([0.5, 0.9, 0.1, 0.8, 0.9, 0.7])
FLAGGED = np.array([True, True, True, False, True, True])


def drawn(sampling, count, seed=0, oversample=2.0, flagged=FLAGGED, found=True, scores=SCORES):
    repair = AdversarialDistillation(sampling=sampling, max_suspects=count, oversample=oversample)
    return repair.choose(Detection(scores, flagged, 0.0, found), seed).tolist()


def distil(victim, tokenizer, trusted, flagged, held_out, repair=REPAIR, *, seed=0, watch=None):
    """Repair with exactly these rows."""
    rows = concatenate_datasets([trusted, held_out])
    case = Case(victim, tokenizer, rows, flagged, Parts(1, 60, 1), max_length=32, seed=seed)
    parts = TrustedParts(trusted.select(range(1)), trusted, held_out, [])
    case.__dict__["divided"] = parts  # what the property would compute from the rows
    found = Given(tuple(range(len(flagged)))).detect(case)
    return repair.repair(case, found, Run(callback=watch))


def test_top_takes_the_highest_scores():
    assert drawn("top", 3) == [1, 4, 5]
    assert drawn("top", 99) == drawn("random", 99) == [1, 4, 5, 0, 2]


@pytest.mark.parametrize(
    ("oversample", "reached"), [(1, {1, 4}), (2, {0, 1, 4, 5}), (9, {0, 1, 2, 4, 5})]
)
def test_random_draws_broadly_from_the_highest_suspected_rows(oversample, reached):
    draws = [drawn("random", 2, seed, oversample) for seed in range(60)]
    assert {i for draw in draws for i in draw} == reached
    assert all(len(set(draw)) == 2 for draw in draws)
    assert all(SCORES[a] >= SCORES[b] for a, b in draws)
    assert drawn("random", 2, 7) == drawn("random", 2, 7)


def test_nothing_suspected_nothing_drawn():
    assert drawn("top", 3, flagged=np.zeros(6, bool)) == []


def test_rows_that_must_not_be_taken_are_not_and_without_a_verdict_the_highest_are():
    scores = np.where(np.arange(6) == 1, -np.inf, SCORES)
    assert drawn("top", 2, scores=scores) == [4, 5]
    assert drawn("random", 3, scores=scores, found=False) == [4, 3, 5]


@pytest.fixture
def parts(task):
    """Trusted rows, truly poisoned suspects and held-out rows."""
    trusted, held_out = data.balanced_split(task.clean["dev"], 60, seed=0)
    return trusted, task.train.filter(lambda row: row["poisoned"]), held_out


def share(model, tokenizer, rows, labels):
    return (
        predict(model, EncodedTexts(tokenizer, rows["text"][:])).labels == np.asarray(labels)
    ).mean()


def test_the_backdoor_is_removed_not_inverted_and_the_model_left_alone(
    victim, tokenizer, parts, task, weights, same_weights
):
    before = weights(victim)
    config = replace(REPAIR, cycles=6, lr=3e-3, stop_margin=None)
    student = distil(victim, tokenizer, *parts, config).model
    assert same_weights(before, weights(victim))
    assert share(victim, tokenizer, task.poisoned_test, 1) > 0.9
    assert share(student, tokenizer, task.poisoned_test, 1) < 0.3
    assert share(student, tokenizer, task.clean["test"], task.clean["test"]["label"]) > 0.9
    assert share(student, tokenizer, task.triggered, task.triggered["label"]) > 0.8


def test_unbounded_punishing_lowers_the_given_label(victim, tokenizer, parts, task):
    config = replace(
        REPAIR,
        schedule="alternate",
        punish="unbounded",
        transplant_every=None,
        stop_margin=None,
        lr=3e-3,
        cycles=3,
    )
    result = distil(victim, tokenizer, *parts, config)
    assert all(record["punish_loss"] < 0 for record in result.history)
    assert result.history[-1]["punish_loss"] < result.history[0]["punish_loss"]
    assert result.history[-1]["flagged_given_label"] < 0.5


def test_relabelling_teaches_flagged_rows_their_soft_labels(
    victim, tokenizer, parts, task, monkeypatch
):
    _, suspects, _ = parts
    config = replace(REPAIR, cycles=4, lr=3e-3, punish="relabel", punish_every=1, stop_margin=None)

    def relabelled(p):
        planted = np.tile([1 - p, p], (len(suspects), 1))
        monkeypatch.setattr(
            "bedkd.repairs.distillation.soft_labels", lambda _, __, rows: planted[rows]
        )
        return distil(victim, tokenizer, *parts, config)

    mild, hard = relabelled(0.9), relabelled(0.1)
    rows = EncodedTexts(tokenizer, suspects["text"][:])
    one, two = (predict(found.model, rows).probabilities[:, 1] for found in (mild, hard))
    assert one.mean() > two.mean() + 0.1
    assert share(hard.model, tokenizer, task.triggered, task.triggered["label"]) > 0.8
    # Expected is what content says of the flagged rows, not what trusted rows are called.
    assert [found.history[-1]["expected_rate"] for found in (mild, hard)] == [1, 0]


def test_what_content_supports_is_said_of_the_rows_held_out(victim, tokenizer, parts, monkeypatch):
    planted = np.eye(2)[np.arange(len(parts[1])) % 2]
    monkeypatch.setattr("bedkd.repairs.distillation.soft_labels", lambda _, __, rows: planted[rows])
    config = replace(REPAIR, cycles=1, punish="relabel", stop_margin=0.05)
    made = distil(victim, tokenizer, *parts, config)
    assert len(made.held_out)
    assert made.supported.tolist() == (made.held_out % 2).tolist()
    for other in (replace(config, stop_margin=None), replace(config, punish="none")):
        assert distil(victim, tokenizer, *parts, other).supported is None


def test_every_flagged_row_gets_its_own_new_label(victim, tokenizer, parts, monkeypatch):
    trusted, suspects, held_out = parts
    wanted = np.arange(len(suspects)) % 2
    config = replace(
        REPAIR, cycles=40, lr=5e-3, punish="relabel", punish_every=1, transplant_every=None,
        stop_margin=None,
    )  # fmt: skip
    few = data.balanced_split(trusted, 8, seed=0)[0]
    monkeypatch.setattr(
        "bedkd.repairs.distillation.soft_labels", lambda _, __, rows: np.eye(2)[wanted][rows]
    )
    student = distil(victim, tokenizer, few, suspects, held_out, config).model
    answers = predict(student, EncodedTexts(tokenizer, suspects["text"][:])).labels
    assert (answers == wanted).mean() > 0.7  # any other assignment gives about a half


def test_history_says_what_the_student_does(victim, tokenizer, parts):
    _, suspects, held_out = parts
    seen = []
    result = distil(
        victim,
        tokenizer,
        *parts,
        replace(REPAIR, stop_margin=None),
        watch=lambda model: seen.append(model.training) or {"watched": len(seen)},
    )
    last = result.history[-1]
    assert [record["cycle"] for record in result.history] == [1, 2]
    assert [record["watched"] for record in result.history] == [1, 2]
    assert seen == [False, False]
    assert last["held_out_accuracy"] == pytest.approx(
        share(result.model, tokenizer, held_out, held_out["label"])
    )
    assert last["flagged_given_label"] == pytest.approx(
        share(result.model, tokenizer, suspects, suspects["label"])
    )
    others = held_out.filter(lambda row: row["label"] != 1)
    assert last["expected_rate"] == pytest.approx(share(result.model, tokenizer, others, 1))
    assert {"trust_loss", "punish_loss", "transplant_loss"} <= set(last)


def test_same_seed_same_student_and_watching_changes_nothing(
    victim, tokenizer, parts, weights, same_weights
):
    def run(seed, watch=None):
        return weights(distil(victim, tokenizer, *parts, REPAIR, seed=seed, watch=watch).model)

    first = run(0)
    assert same_weights(first, run(0, watch=lambda model: {"x": 1}))
    assert not same_weights(first, run(1))


def test_stopping_when_suspects_look_neutral(victim, tokenizer, parts):
    lax, strict = (
        distil(victim, tokenizer, *parts, replace(REPAIR, cycles=4, stop_margin=margin)).history
        for margin in (2.0, -2.0)
    )
    assert (len(lax), len(strict)) == (2, 4)  # two cycles in a row


def test_a_student_that_levelled_off_has_mean_weights(victim, tokenizer, parts, weights):
    seen = []
    config = replace(REPAIR, cycles=9, patience=2, stop_margin=0.2, lr=1e-4)  # hardly learns
    result = distil(
        victim, tokenizer, *parts, config, watch=lambda model: seen.append(weights(model)) or {}
    )
    assert (result.details["stopped"], len(result.history)) == ("plateau", 4)
    for name, weight in result.model.named_parameters():
        mean = (seen[2][name] + seen[3][name]) / 2
        torch.testing.assert_close(weight.detach(), torch.from_numpy(mean))
    assert distil(victim, tokenizer, *parts, REPAIR).details["stopped"] == "max_cycles"


def test_suspects_that_decide_when_to_stop_are_never_trained_on(
    victim, tokenizer, parts, weights, same_weights
):
    """Wreck the reserved quarter: with the cycles fixed the student stays the same."""
    trusted, suspects, held_out = parts
    config = replace(REPAIR, cycles=1)
    order = np.random.default_rng(0).permutation(len(suspects))
    texts = list(suspects["text"])
    for i in order[: len(suspects) // 4]:
        texts[i] = "red green blue"
    wrecked = data.make(texts, suspects["label"], True)
    one = distil(victim, tokenizer, trusted, suspects, held_out, config)
    two = distil(victim, tokenizer, trusted, wrecked, held_out, config)
    assert same_weights(weights(one.model), weights(two.model))
    texts[order[-1]] = "red green blue"
    three = distil(
        victim, tokenizer, trusted, data.make(texts, suspects["label"], True), held_out, config
    )
    assert not same_weights(weights(one.model), weights(three.model))


def test_held_out_rows_are_never_trained_on(victim, tokenizer, parts, weights, same_weights, toy):
    trusted, suspects, _ = parts
    config = replace(REPAIR, cycles=1)
    one, two = (
        distil(victim, tokenizer, trusted, suspects, held_out, config)
        for held_out in (toy.rows(8, seed=8), toy.rows(12, seed=9))
    )
    assert same_weights(weights(one.model), weights(two.model))


def test_an_interruption_leaves_the_model_alone(victim, tokenizer, parts, weights, same_weights):
    before = weights(victim)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil(victim, tokenizer, *parts, REPAIR, watch=interrupt)
    assert same_weights(before, weights(victim))
    assert not victim.training


@dataclass(frozen=True)
class Rows:
    """What the choice of presumed clean rows looks at: 12 rows of two classes."""

    labels: np.ndarray
    draws: np.ndarray
    prior: tuple = (0.75, 0.25)
    num_labels: int = 2


def test_presumed_clean_rows_come_from_the_less_suspicious_half_as_common_as_trusted_ones():
    rows = Rows(np.array([0, 1] * 10), np.arange(20)[::-1] / 20)
    scores, flagged = np.arange(20.0), np.zeros(20, bool)
    flagged[8] = True
    closed = np.where(np.arange(20) == 6, -np.inf, scores)
    found = Detection(scores, flagged, 0.0, True, repair_scores=closed)

    def chosen(most):
        return distillation.presumed_clean(rows, found, most).tolist()

    assert chosen(4) == [0, 2, 4, 9]  # row 9 has the smaller draw of class 1
    assert chosen(2) == [2, 4]  # 1.5 and 0.5 rows: to the even number
    assert chosen(100) == [0, 1, 2, 3, 4, 5, 7, 9]
    assert chosen(0) == []


def test_presumed_clean_rows_are_trained_on_and_the_learning_rate_falls_in_every_cycle(
    victim, tokenizer, task, monkeypatch
):
    rates, step = [], Trainer._step

    def watched(self, *batch):
        rates.append(self.schedule.get_last_lr()[0])
        return step(self, *batch)

    monkeypatch.setattr(Trainer, "_step", watched)
    case = Case(victim, tokenizer, task.clean["dev"], task.train, Parts(5, 20, 10), max_length=32)
    found = Given(tuple(np.flatnonzero(task.train["poisoned"]))).detect(case)
    # A margin below zero is never kept: all cycles.
    shuffled = replace(REPAIR, schedule="shuffle", presumed_clean=30, decay=True, stop_margin=-1.0)
    shuffled = replace(shuffled, later_share=0.5)
    made = shuffled.repair(case, found)
    kinds = {key for key in made.history[0] if key.endswith("_loss")}
    assert kinds == {"trust_loss", "punish_loss", "presumed_loss", "transplant_loss"}
    assert (made.details["stopped"], len(made.history)) == ("max_cycles", 2)
    starts = np.flatnonzero(np.equal(rates, 0))
    assert len(starts) == 2
    first, second = np.split(rates, starts)[1:]
    assert len(second) != len(first)
    for cycle in (first, second):
        peak = int(np.argmax(cycle))
        assert 0 < peak <= max(round(0.1 * len(cycle)), 1)
        assert all(np.diff(cycle[peak:]) < 0)
        assert cycle[-1] < cycle[peak] / 3
    whole = replace(shuffled, later_share=1.0).repair(case, found)
    assert whole.history[0] == made.history[0]
    assert whole.history[1] != made.history[1]
    # One cycle at the rate is enough, because its learning rate fell to nothing.
    made = replace(shuffled, stop_margin=2.0).repair(case, found)
    assert (made.details["stopped"], len(made.history)) == ("converged", 1)
    assert len(made.held_out)


def test_into_a_second_pass_the_student_goes_no_further_than_it_must(
    victim, tokenizer, task, weights, monkeypatch
):
    case = Case(victim, tokenizer, task.clean["dev"], task.train, Parts(5, 20, 10), max_length=32)
    found = Given(tuple(np.flatnonzero(task.train["poisoned"]))).detect(case)
    shuffled = replace(REPAIR, schedule="shuffle", presumed_clean=30, decay=True, stop_margin=-1.0)
    shuffled = replace(shuffled, lr=6e-3)
    seen = []
    all_cycles = shuffled.repair(case, found, Run(callback=lambda m: seen.append(weights(m)) or {}))
    first, second = (r["flagged_given_label"] - r["expected_rate"] for r in all_cycles.history)
    assert first > second  # the second is what an aim in between asks for
    middle = replace(shuffled, stop_margin=(first + second) / 2)
    made = middle.repair(case, found)
    assert (made.details["stopped"], len(made.history)) == ("converged", 2)
    share = made.details["kept_share"]
    assert 0 < share < 1
    for name, found_now in weights(made.model).items():
        start, end = (one[name] for one in seen)
        np.testing.assert_allclose(found_now, start + share * (end - start), atol=1e-6)
    rows = case.encoded(case.untrusted.select(made.held_out), "held-out flagged rows")
    given = (predict(made.model, rows).labels == rows.labels).mean()
    assert given <= made.history[-1]["expected_rate"] + middle.stop_margin
    assert "kept_cycle" not in made.details
    # Nor where it would know held-out trusted rows worse than at the end of the pass.
    guard = len(case.divided.held_out)
    agreement = distillation._agreement

    def worse(student, rows):
        return agreement(student, rows) - (len(rows) == guard)

    monkeypatch.setattr(distillation, "_agreement", worse)
    assert len(made.held_out) != guard
    assert middle.repair(case, found).details["kept_share"] == 1


def test_a_repair_goes_on_between_two_passes_where_it_was_interrupted(
    victim, tokenizer, task, tmp_path, weights, same_weights
):
    found = Given(tuple(np.flatnonzero(task.train["poisoned"])))

    def repaired(run):
        case = Case(victim, tokenizer, task.clean["dev"], task.train, Parts(5, 20, 10), 32)
        return shuffled.repair(case, found.detect(case), run)

    shuffled = replace(REPAIR, schedule="shuffle", presumed_clean=30, decay=True, stop_margin=-1.0)
    whole = repaired(Run())
    calls = []

    def interrupt(_):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        repaired(Run(tmp_path, callback=interrupt))
    again = repaired(Run(tmp_path))
    assert again.history == whole.history
    assert same_weights(weights(again.model), weights(whole.model))


def test_suspected_words_are_planted_in_a_share_of_the_presumed_clean_rows(
    victim, tokenizer, task, monkeypatch
):
    made, schedule = [], distillation.Schedule

    def watched(**parts):
        made.append(schedule(**parts))
        return made[-1]

    monkeypatch.setattr(distillation, "Schedule", watched)
    case = Case(victim, tokenizer, task.clean["dev"], task.train, Parts(5, 20, 10), max_length=32)
    found = Given(tuple(np.flatnonzero(task.train["poisoned"]))).detect(case)
    known = dict(zip(case.untrusted["text"], case.untrusted["label"], strict=True))
    flagged = set(case.untrusted.select(np.flatnonzero(found.flagged))["text"])

    def work(share, words):
        detection = replace(found, details={"trigger_words": words})
        options = {"presumed_clean": 28, "planted": share, "cycles": 1}
        replace(REPAIR, schedule="shuffle", **options).repair(case, detection)
        plain, planted = made[-1].presumed, made[-1].planted
        return len(plain or ()), planted

    for share, count in ((0.25, 7), (1.0, 28)):
        plain, planted = work(share, ["cf", "mn"])
        assert (plain, len(planted.hosts), planted.words) == (28 - count, count, ["cf", "mn"])
        assert [known[text] for text in planted.hosts] == planted.labels.tolist()
        assert flagged.isdisjoint(planted.hosts)
    assert work(0.0, ["cf"]) == work(0.5, []) == (28, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"planted": 1.5}, "planted=1.5: give 0 to 1"),
        ({"later_share": 0.0}, "later_share=0.0: give more than 0"),
        ({"punish": "mildly"}, "punish='mildly'.*unbounded, bounded, relabel, none"),
        ({"schedule": "never"}, "schedule='never'"),
        ({"sampling": "best"}, "sampling='best'"),
        ({"oversample": 0.5}, "oversample=0.5"),
        ({"patience": 0}, "patience=0"),
        ({"schedule": "alternate"}, "transplants need schedule='interleave'"),
        ({"schedule": "interleave"}, "presumed_clean=1500: .*schedule='shuffle'"),
        ({"presumed_clean": -1}, "presumed_clean=-1"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        AdversarialDistillation(**options)


def test_transplants_are_held_to_what_the_suspect_model_says_of_their_hosts(
    victim, tokenizer, task, monkeypatch
):
    made = []

    class Kept(distillation.TransplantLoss):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(distillation, "TransplantLoss", Kept)
    trusted, flagged = task.clean["dev"].select(range(40)), task.train.select(range(20))
    held_out = task.clean["dev"].select(range(40, 80))
    repair = replace(REPAIR, cycles=1, temperature=3.0, alpha=0.25)
    distil(victim, tokenizer, trusted, flagged, held_out, repair)
    answers = predict(victim, EncodedTexts(tokenizer, trusted["text"][:], max_length=32))
    np.testing.assert_allclose(made[0].teacher_logits, answers.logits, atol=1e-5)
    assert (made[0].temperature, made[0].alpha) == (3.0, 0.25)


def test_where_labels_alone_count_the_teacher_is_not_asked(victim, tokenizer, task, monkeypatch):
    """And the student comes out as if it had been."""
    asked = []

    def watched(model, rows, hidden=False):
        asked.append(hidden)
        return predict(model, rows, hidden=hidden)

    monkeypatch.setattr(distillation, "predict", watched)
    trusted, flagged = task.clean["dev"].select(range(40)), task.train.select(range(20))
    rows = trusted, flagged, task.clean["dev"].select(range(40, 80))
    made = []
    for alpha in (1.0, 1.0 - 1e-9):
        asked.clear()
        repair = replace(REPAIR, cycles=1, alpha=alpha)
        model = distil(victim, tokenizer, *rows, repair).model
        assert any(asked) == (alpha < 1)
        texts = EncodedTexts(tokenizer, flagged["text"][:], max_length=32)
        made.append(predict(model, texts).logits)
    np.testing.assert_allclose(*made, atol=1e-2)


@pytest.mark.parametrize("frozen", [False, True])
def test_token_embeddings_are_left_as_they_are_where_asked(
    frozen, victim, tokenizer, task, monkeypatch
):
    kept = []

    class Watched(Trainer):
        def __init__(self, model, **settings):
            super().__init__(model, **settings)
            kept.extend(self.state_dict()["model"])

    monkeypatch.setattr(distillation, "Trainer", Watched)
    # A caller's model may be frozen as a whole.
    suspect = copy.deepcopy(victim).requires_grad_(False)
    case = Case(suspect, tokenizer, task.clean["dev"], task.train, Parts(5, 20, 10), 32)
    found = Given(tuple(np.flatnonzero(task.train["poisoned"]))).detect(case)
    made = replace(REPAIR, cycles=1, frozen_embeddings=frozen).repair(case, found)
    changed = {
        name
        for name, weight in made.model.state_dict().items()
        if not torch.equal(weight, suspect.state_dict()[name])
    }
    tokens = "bert.embeddings.word_embeddings.weight"
    assert (tokens in changed) == (tokens in kept) == (not frozen)  # kept: in checkpoints
    assert {"bert.embeddings.position_embeddings.weight", "classifier.weight"} <= changed
