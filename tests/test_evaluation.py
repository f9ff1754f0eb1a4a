"""CACC, ASR and RACC of a model beside a reference."""

import json

import numpy as np
import pytest

from bedkd import data
from bedkd.errors import InputError
from bedkd.evaluation import asr_by_word, check_target, evaluate

KEYS = {
    "max_length",
    "cut_share",
    "cacc",
    "asr",
    "racc",
    "racc_by_class",
    "cacc_reference",
    "asr_floor",
    "racc_ceiling",
    "racc_ceiling_by_class",
}


def test_a_backdoored_model_beside_its_reference(victim, reference, tokenizer, task):
    result = evaluate(
        victim,
        tokenizer,
        clean=task.clean["test"],
        poisoned=task.poisoned_test,
        triggered=task.triggered,
        reference=(reference, tokenizer),
    )
    assert set(result) == KEYS
    assert json.loads(json.dumps(result)) == result
    others = {"racc_by_class", "racc_ceiling_by_class", "max_length", "cut_share"}
    shares = [result[key] for key in KEYS - others]
    for share in [*shares, *result["racc_by_class"].values()]:
        assert set(share) == {"value", "low", "high", "n"}
        assert share["low"] <= share["value"] <= share["high"]
    assert result["cacc"]["n"] == result["racc"]["n"] == 80
    assert result["asr"]["n"] == result["asr_floor"]["n"] == 40  # non-target rows only
    assert {c: share["n"] for c, share in result["racc_by_class"].items()} == {"0": 40, "1": 40}
    assert result["asr"]["value"] > 0.9 > 0.2 > result["asr_floor"]["value"]
    assert result["racc"]["value"] < 0.6 < 0.9 < result["racc_ceiling"]["value"]
    assert result["racc_by_class"]["1"]["value"] > 0.9 > result["racc_by_class"]["0"]["value"]


def test_what_was_not_asked_for_is_none(victim, tokenizer, task):
    result = evaluate(victim, tokenizer, clean=task.clean["test"])
    assert set(result) == KEYS
    given = {key for key, value in result.items() if value is not None}
    assert given == {"cacc", "max_length", "cut_share"}


def test_order_of_rows_does_not_matter(victim, tokenizer, task):
    order = list(range(80))[::-1]
    one, two = (
        evaluate(victim, tokenizer, clean=rows, triggered=triggered)
        for rows, triggered in (
            (task.clean["test"], task.triggered),
            (task.clean["test"].select(order), task.triggered.select(order)),
        )
    )
    assert one == two


def test_bad_sets_are_named(victim, tokenizer, task, toy):
    clean, empty = task.clean["test"], data.make([], [], False)
    with pytest.raises(InputError, match="poisoned set holds several labels"):
        evaluate(victim, tokenizer, clean=clean, poisoned=task.triggered)
    for name in ("clean", "poisoned", "triggered"):
        with pytest.raises(InputError, match=f"the {name} set is empty"):
            evaluate(victim, tokenizer, **{"clean": clean, name: empty})
    with pytest.raises(InputError, match="the triggered set, row 2: label 2"):
        evaluate(victim, tokenizer, clean=clean, triggered=toy.rows(8, classes=4))


def test_asr_word_by_word(victim, tokenizer, task):
    rows = task.poisoned_test
    held = {w: sum(w in text.split() for text in rows["text"]) for w in task.trigger.words}
    found = asr_by_word(victim, tokenizer, rows, [*task.trigger.words, "absent"])
    assert {word: share["n"] for word, share in found.items()} == {
        word: count for word, count in held.items() if count
    }
    assert sum(share["n"] for share in found.values()) == len(rows)  # one word a row
    assert all(share["value"] > 0.8 for share in found.values())
    # A word with the same letters inside another word does not count.
    other = data.make(["the cfx movie", "a cf movie"], [1, 1], True)
    assert asr_by_word(victim, tokenizer, other, ["cf"])["cf"]["n"] == 1
    # A sentence counts where its words stand together.
    other = data.make(["I watch  this movie", "I watch a movie this"], [1, 1], True)
    assert asr_by_word(victim, tokenizer, other, ["watch this"])["watch this"]["n"] == 1


def test_poisoned_rows_with_their_true_labels_are_refused(victim, tokenizer, task):
    clean, triggered = task.clean["test"], task.triggered
    negatives = triggered.filter(lambda row: row["label"] == 0)  # what an ASR of 0 looks like
    with pytest.raises(InputError, match="row 0: label 0 is the row's true label"):
        evaluate(victim, tokenizer, clean=clean, poisoned=negatives, triggered=triggered)
    with pytest.raises(InputError, match="row 0: label 0, but the target is 1"):
        check_target(negatives, 1)
    check_target(task.poisoned_test, 1)
    found = evaluate(
        victim, tokenizer, clean=clean, poisoned=task.poisoned_test, triggered=triggered
    )
    assert found["asr"]["value"] > 0.9


def test_each_row_of_several_targets_is_judged_by_its_own(victim, tokenizer, task):
    """Swapped labels: the model's answer is the one that is wanted where it misreads a row."""
    triggered = task.triggered
    wanted = data.make(triggered["text"], [1 - label for label in triggered["label"]], True)
    judged = evaluate(
        victim, tokenizer, clean=task.clean["test"], poisoned=wanted, triggered=triggered
    )
    right = evaluate(victim, tokenizer, clean=triggered)
    assert judged["asr"]["value"] == pytest.approx(1 - right["cacc"]["value"])


def test_texts_are_read_as_far_as_the_model_reads(victim, tokenizer, task):
    clean = task.clean["test"]
    found = evaluate(victim, tokenizer, clean=clean)
    assert (found["max_length"], found["cut_share"]) == (32, 0.0)  # what it was trained with
    found = evaluate(victim, tokenizer, clean=clean, max_length=6)
    lengths = np.array([len(text.split()) + 2 for text in clean["text"]])
    assert found["cut_share"] == (lengths >= 6).mean() > 0
