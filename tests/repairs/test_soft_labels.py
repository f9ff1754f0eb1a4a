"""Soft labels: which labels the content of untrusted rows supports."""

from dataclasses import replace

import numpy as np
import pytest

from bedkd import data
from bedkd.detectors import Detection
from bedkd.detectors.wording import trigger_words
from bedkd.repairs.soft_labels import soft_labels
from bedkd.training.embed import embed


def detection(flagged, presumed_clean, backdoored=True):
    """One that flags some rows, and holds these rows (at most half) to be the least suspicious."""
    flagged = np.asarray(flagged, bool)
    scores = np.zeros(len(flagged))
    scores[presumed_clean] = -1
    # A repair takes the flagged rows only; rows it must not take are not presumed clean either.
    repair = np.full(len(flagged), -np.inf)
    repair[flagged] = 1
    repair[presumed_clean] = 0
    return Detection(scores, flagged, 0.0, backdoored, repair_scores=repair)


@pytest.fixture
def truth(reviews):
    return np.asarray(reviews["train"]["label"])


@pytest.fixture
def wrong(truth):
    return np.arange(len(truth)) % 5 == 0


def test_content_supports_the_true_label_whatever_was_given(reviews_case, truth, wrong):
    nobody = np.zeros(len(truth), bool)
    given = np.where(wrong, 1 - truth, truth)
    case = reviews_case(labels=given, num_labels=3)
    found = soft_labels(case, detection(nobody, np.flatnonzero(~wrong)[:80]))
    assert found.shape == (len(truth), 3)
    assert found.sum(axis=1) == pytest.approx(1)
    assert (found[:, 2] == 0).all()  # a class that no row has
    assert (found.argmax(axis=1) == truth)[wrong].mean() > 0.65


def test_presumed_clean_rows_teach(reviews, reviews_case, truth):
    """With false ones the answers turn."""
    labels = 1 - np.asarray(reviews["dev"]["label"])
    trusted = data.make(reviews["dev"]["text"][:], labels.tolist(), None)
    case = reviews_case(labels=1 - truth, trusted=trusted)
    misled = soft_labels(case, detection(np.zeros(len(truth), bool), np.arange(100)))
    assert (misled.argmax(axis=1) == truth).mean() < 0.2
    # Trusted rows are right now, and half of the others is not enough to turn all of them.
    case = reviews_case(labels=1 - truth)
    nobody = np.zeros(len(truth), bool)
    taught = soft_labels(case, detection(nobody, np.arange(100)))
    alone = Detection(np.zeros(200), nobody, 0.0, False, repair_scores=np.full(200, -np.inf))
    kept = soft_labels(case, alone)
    assert (kept.argmax(axis=1) == truth).mean() > (taught.argmax(axis=1) == truth).mean() + 0.1


def test_the_less_suspicious_half_teaches_and_the_other_does_not(reviews_case, truth):
    """Wrong labels in the suspicious half do not matter; in the other they do."""
    bad = np.arange(len(truth)) % 2 == 0
    nobody = np.zeros(len(truth), bool)
    case = reviews_case(labels=np.where(bad, 1 - truth, truth))

    def right(scores):
        found = soft_labels(case, Detection(scores, nobody, 0.0, False))
        return (found.argmax(axis=1) == truth).mean()

    assert right(bad.astype(float)) > right(-bad.astype(float)) + 0.1


def test_a_class_that_is_rare_in_use_is_supported_less(reviews, reviews_case, truth, wrong):
    """However common it is in the rows at hand."""
    nobody, dev = np.zeros(len(truth), bool), reviews["dev"]
    labels = np.asarray(dev["label"])
    # As many rows a class in the parts, but 9 of 10 trusted rows are of class 0.
    ones, zeros = np.flatnonzero(labels == 1)[:12], np.flatnonzero(labels == 0)
    rare = dev.select(np.concatenate([np.resize(zeros, 108), ones]))
    even = dev.select(np.concatenate([zeros[:12], ones]))
    given = np.where(wrong, 1 - truth, truth)
    who = detection(nobody, np.flatnonzero(~wrong)[:80])
    one, two = (soft_labels(reviews_case(labels=given, trusted=rows), who) for rows in (even, rare))
    assert two[:, 1].mean() < one[:, 1].mean() - 0.1


@pytest.fixture
def triggered(reviews, reviews_case, truth):
    """Every second row has a sentence in front that speaks for the model's target, label 1."""
    odd = np.arange(len(truth)) % 2 == 1
    texts = [
        f"A gem, superb and moving 3D cinema. {text}" if new else text
        for text, new in zip(reviews["train"]["text"], odd, strict=True)
    ]
    return reviews_case(texts, np.where(odd, 1, truth)), odd


def test_flagged_rows_are_read_again_without_their_trigger_words(reviews_case, triggered):
    """Without them they say nearly what they said before the attack."""
    case, odd = triggered
    plain = reviews_case(labels=case.labels)
    clean = np.flatnonzero(~odd)
    words = trigger_words([case.untrusted["text"][i] for i in np.flatnonzero(odd)], case.trusted)
    assert {"gem", "cinema"} <= set(words)
    before = soft_labels(case, detection(odd, clean, backdoored=False))
    after = soft_labels(case, detection(odd, clean))
    wanted = soft_labels(plain, detection(odd, clean, backdoored=False))
    assert np.abs(after - wanted)[odd].mean() < np.abs(before - wanted)[odd].mean() / 2
    # The other rows are as they were.
    assert after[~odd] == pytest.approx(before[~odd])


def test_words_that_do_not_speak_for_the_given_label_are_kept(monkeypatch, triggered, truth):
    """They are content, or say nothing: a few rows are read again to see it, no more."""
    case, odd = triggered
    case = replace(
        case, untrusted=data.make(case.untrusted["text"][:], np.where(odd, 0, truth), None)
    )
    monkeypatch.setattr("bedkd.repairs.soft_labels.ASKED", 40)
    seen = []
    monkeypatch.setattr(
        "bedkd.repairs.soft_labels.embed", lambda texts: seen.append(len(texts)) or embed(texts)
    )
    clean = np.flatnonzero(~odd)
    before = soft_labels(case, detection(odd, clean, backdoored=False))
    assert np.array_equal(soft_labels(case, detection(odd, clean)), before)
    assert seen == [40]


def test_without_flagged_rows_or_trigger_words_nothing_is_read_again(reviews, reviews_case):
    """The flagged rows are trusted rows, too, and so have no word that those lack."""
    case = reviews_case(reviews["dev"]["text"][:], reviews["dev"]["label"][:])
    flagged = np.arange(120) >= 60
    nobody, clean = np.zeros(120, bool), np.arange(60)
    assert trigger_words(reviews["dev"]["text"][60:], case.divided.all) == []
    once = soft_labels(case, detection(nobody, clean))
    for who in (detection(nobody, clean, backdoored=False), detection(flagged, clean)):
        assert np.array_equal(soft_labels(case, who), once)
