"""Association: words that go with a label more often than the content of their rows explains."""

import json

import numpy as np
import pytest
from scipy.stats import binom

from bedkd import Case, Parts
from bedkd.detectors import Association
from bedkd.detectors.association import Associated, common_errors, explained_words, surprise
from bedkd.detectors.zscore import ZScore
from bedkd.errors import InputError


def planted(reviews, words, count=30, label=1):
    """The reviews, of which so many of other labels get the words and the label."""
    texts, labels = reviews["train"]["text"][:], np.array(reviews["train"]["label"])
    rows = np.flatnonzero(labels != label)[:count]
    for row in rows:
        texts[row] = f"{words} {texts[row]}"
    labels[rows] = label
    return texts, labels


@pytest.mark.parametrize("label", [0, 1])
def test_finds_a_word_in_few_rows_and_its_label(reviews, reviews_case, label):
    found = Association().find(reviews_case(*planted(reviews, "zq", label=label)))
    assert found[0][:3] == ("zq", label, 30)
    assert 0 < found[0].p_value < 1e-4
    assert all("zq" in word.text.split() for word in found)


def test_finds_a_run_of_usual_words(reviews, reviews_case):
    found = Association().find(reviews_case(*planted(reviews, "the one with it")))
    assert {word.label for word in found} == {1}
    assert all(word.text in "the one with it" for word in found)
    assert any(" " in word.text for word in found)


def test_words_that_trusted_rows_have_as_well_are_nobodys_trigger(reviews, reviews_case):
    """A few trusted rows have the word here, too few for content to learn what it stands for."""
    texts, labels = planted(reviews, "zq")
    trusted = reviews["dev"].map(
        lambda row, k: {"text": "zq " * (row["label"] and k % 12 == 0) + row["text"]},
        with_indices=True,
    )
    case = reviews_case(texts, labels, trusted=trusted)
    common = np.mean(["zq" in row["text"] for row in trusted if row["label"]])
    ratio = common / np.mean(["zq" in t for t, y in zip(texts, labels, strict=True) if y])
    assert 0 < ratio < 1
    assert Association(familiar=1.1 * ratio).find(case)
    assert not Association(familiar=0.9 * ratio).find(case)


def test_words_of_content_are_no_surprise(reviews, reviews_case):
    """They go with a label as well; Z-scores cannot tell them from a trigger."""
    case = reviews_case()
    assert ZScore().score(case, None)[2]["words"][0][2] > 2.5
    assert not Association().find(case)


def test_wrong_labels_are_no_surprise(reviews, reviews_case):
    labels = np.array(reviews["train"]["label"])
    wrong = np.random.default_rng(0).permutation(len(labels))[:20]
    labels[wrong] = 1 - labels[wrong]
    assert not Association().find(reviews_case(labels=labels))


def test_a_label_that_is_more_common_than_among_trusted_rows_is_no_surprise(reviews, reviews_case):
    labels = np.asarray(reviews["train"]["label"])
    kept = np.append(np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)[:20])
    case = reviews_case([reviews["train"]["text"][int(k)] for k in kept], labels[kept])
    assert not Association().find(case)


def tail(*words):
    return surprise(*words, common_errors(*words))


def test_surprise_is_a_tail_and_grows_with_common_errors():
    rows, share = np.array([20, 20]), np.array([0.5, 0.5])
    alone = tail(rows, np.array([10, 17]), share)
    # One of two words is off: the estimate of common errors is 39 / 190.
    assert alone[1] > binom.sf(16, 20, 0.5)
    even = tail(np.full(50, 20), np.full(50, 10), np.full(50, 0.5))
    assert even == pytest.approx(binom.sf(9, 20, 0.5), abs=1e-3)
    assert tail(rows, np.array([20, 20]), np.array([1.0, 1.0]))[0] > 0.9


def test_a_trigger_explains_the_words_that_it_is_made_of(reviews, reviews_case):
    """The first word of the trigger stands in as many honest rows as well, often of its label."""
    texts, labels = planted(reviews, "zq really odd")
    clean = np.flatnonzero(np.array(reviews["train"]["label"]) == 1)[:30]
    for row in clean:
        texts[row] = f"zq {texts[row]}"
    found = {word.text: word for word in Association().find(reviews_case(texts, labels))}
    assert found["zq"].rows == 60
    assert found["zq"].explained
    assert [text for text, word in found.items() if not word.explained] == ["zq really odd"]


def test_what_another_word_does_not_explain_stays():
    """Two triggers that some rows share, and a word that is in no row of its own."""
    rows = np.arange(12)
    one, two, both = rows < 6, rows >= 4, (rows >= 4) & (rows < 6)
    has = np.stack([one, two, both], axis=1)
    explained = explained_words(["cf", "mn", "cf mn"], has, lambda held: held.sum() > 3)
    assert explained.tolist() == [False, False, True]


@pytest.fixture
def case(victim, tokenizer, task):
    return Case(victim, tokenizer, task.clean["dev"], task.train, Parts(20, 20, 20), 32)


CF, WORD3 = Associated("cf", 1, 64, 1e-9), Associated("word3", 1, 60, 1e-5)
OTHER = Associated("word5", 0, 60, 1e-7)


def test_the_model_obeys_a_trigger_and_no_other_word(case, reference):
    rises = Association().rises(case, [WORD3, CF, OTHER])
    assert rises[1] > 0.5
    assert np.abs(rises[[0, 2]]).max() < 0.2
    case = Case(reference, case.tokenizer, case.trusted, case.untrusted, Parts(20, 20, 20), 32)
    assert np.abs(Association().rises(case, [CF])).max() < 0.2


def test_a_model_that_gets_no_other_label_right_is_asked_nothing(case, monkeypatch):
    """And the report stays JSON."""
    monkeypatch.setattr(Case, "fits_label", np.zeros(len(case.trusted_labels), bool))
    monkeypatch.setattr(Association, "find", lambda *_: [CF])
    found = Association().detect(case)
    assert not found.is_backdoored
    assert json.dumps(found.details, allow_nan=False)


def test_rows_with_the_words_and_the_label_are_flagged(case, task, monkeypatch):
    """Also those with a word that the model has not learnt, if another of its label is obeyed."""
    monkeypatch.setattr(Association, "find", lambda *_: [CF, OTHER, WORD3])
    found = Association().detect(case)
    held = [text.split() for text in task.train["text"]]
    target = np.asarray(task.train["label"]) == 1
    cf, other = (np.array([word in text for text in held]) & target for word in ("cf", "word3"))
    assert np.array_equal(found.flagged, cf | other)
    assert found.scores[cf] == pytest.approx(-np.log(1e-9))
    assert found.threshold == pytest.approx(-np.log(1e-5))
    assert found.is_backdoored
    assert found.p_value == pytest.approx(1e-9)
    named = [[*word[:4]] for word in (CF, OTHER, WORD3)]
    assert [row[:4] for row in found.details["associated"]] == named
    explained = [CF, OTHER, WORD3._replace(explained=True)]  # then no row is flagged for it
    monkeypatch.setattr(Association, "find", lambda *_: explained)
    assert np.array_equal(Association().detect(case).flagged, cf)


WEAK = Associated("cf", 1, 64, 2e-6)  # obeyed, but content may err so much


@pytest.mark.parametrize("words", [[], [WORD3, OTHER], [WEAK]])
def test_words_that_the_model_does_not_obey_are_no_evidence(case, words, monkeypatch):
    monkeypatch.setattr(Association, "find", lambda *_: words)
    found = Association().detect(case)
    assert not found.is_backdoored
    assert not found.flagged.any()
    assert len(found.details["associated"]) == len(words)


def test_a_verdict_needs_enough_rows(case, monkeypatch):
    monkeypatch.setattr(Association, "find", lambda *_: [CF])
    count = int(Association().detect(case).flagged.sum())
    assert Association(min_flagged=count).detect(case).is_backdoored
    assert not Association(min_flagged=count + 1).detect(case).is_backdoored


def test_settings_below_one_are_refused():
    with pytest.raises(InputError, match="min_rows=0: give at least 1"):
        Association(min_rows=0)
