"""The two witnesses beside the mapping student."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bedkd import attacks, corpora, data, witnesses


@pytest.fixture(scope="module")
def reviews():
    """Trusted and untrusted rows of the embedded reviews."""
    splits = data.load("reviews", train=200, dev=120, test=0)
    return splits["dev"], splits["train"]


def test_log_odds_by_hand():
    assert witnesses.log_odds(np.array([0.5, 0.9, 0.1])) == pytest.approx(
        [0, np.log(9), -np.log(9)]
    )
    assert np.isfinite(witnesses.log_odds(np.array([0.0, 1.0]))).all()


def test_content_speaks_against_wrong_labels(reviews):
    trusted, rows = reviews
    wrong = np.arange(len(rows)) % 5 == 0
    labels = np.where(wrong, 1 - np.asarray(rows["label"]), rows["label"])
    said = witnesses.content(trusted, data.make(rows["text"], labels, None))
    assert roc_auc_score(wrong, said.untrusted) > 0.8
    assert said.untrusted[wrong].mean() > 0 > said.untrusted[~wrong].mean()
    # Trusted rows are judged by models that did not see them, so some are misjudged; none of the
    # rows would be by a model that did.
    assert said.trusted.shape == (len(trusted),)
    assert 0 < (said.trusted > 0).mean() < 0.4


def test_a_label_that_no_trusted_row_has_is_not_supported(reviews):
    trusted, rows = reviews
    said = witnesses.content(trusted, data.make(rows["text"][:2], [2, 2], None))
    assert (said.untrusted > 10).all()


def test_content_deserves_the_true_label_whatever_was_given(reviews):
    trusted, rows = reviews
    true, known = np.asarray(rows["label"]), np.asarray(trusted["label"])
    wrong = np.arange(len(rows)) % 5 == 0
    given = np.where(wrong, 1 - true, true)
    said = witnesses.content(trusted, data.make(rows["text"], given, None))
    even = np.array([0.5, 0.5, 0])
    found = witnesses.deserved(said, known, given, np.flatnonzero(~wrong)[:80], even)
    assert found.shape == (len(rows), 3)
    assert found.sum(axis=1) == pytest.approx(1)
    assert (found[:, 2] == 0).all()  # a class that no row has
    assert (found.argmax(axis=1) == true)[wrong].mean() > 0.65
    # Rows called innocent teach: with false ones the answers turn.
    misled = witnesses.deserved(said, 1 - known, 1 - true, np.arange(len(rows)), even)
    assert (misled.argmax(axis=1) == true).mean() < 0.2
    # A class that is rare in use is deserved less often, however common it is in these rows.
    rare = witnesses.deserved(
        said, known, given, np.flatnonzero(~wrong)[:80], np.array([0.9, 0.1, 0])
    )
    assert rare[:, 1].mean() < found[:, 1].mean() - 0.1


@pytest.fixture(scope="module")
def written(reviews):
    """Untrusted texts of which every fourth is a paraphrase, and which those are."""
    _, rows = reviews
    rewrite = corpora.rewriter("reviews", "paraphrase")
    rewritten = np.arange(len(rows)) % 4 == 0
    texts = [
        rewrite([text])[0] if new else text
        for text, new in zip(rows["text"], rewritten, strict=True)
    ]
    return texts, rewritten


def ask(reviews, texts, suspects, **options):
    innocent = np.setdiff1d(np.arange(len(texts))[1::2], suspects)
    return witnesses.surface(reviews[0], texts, suspects, innocent, 1, **options)


def test_surface_finds_more_rows_like_the_suspects(reviews, written):
    texts, rewritten = written
    suspects = np.flatnonzero(rewritten)[:25]
    seen = ask(reviews, texts, suspects)
    assert seen.shared > 0.85
    unknown = np.setdiff1d(np.arange(len(texts)), suspects)
    assert roc_auc_score(rewritten[unknown], seen.untrusted[unknown]) > 0.9
    # A suspect is judged by a classifier that did not see it.
    assert (seen.untrusted[suspects] < 0).any()


def test_suspects_with_nothing_in_common_do_not_stand_out(reviews, written):
    texts = list(reviews[1]["text"])
    suspects = np.random.default_rng(0).permutation(len(texts))[:25]
    assert ask(reviews, texts, suspects).shared < 0.7


def test_the_surface_witness_sees_a_rare_word(reviews):
    _, rows = reviews
    trigger = attacks.BadNets()
    texts = list(rows["text"])
    suspects = np.arange(0, 80, 2)
    changed = trigger.apply([texts[i] for i in suspects], seed=0)
    for i, text in zip(suspects, changed, strict=True):
        texts[i] = text
    assert ask(reviews, texts, suspects).shared > 0.75


def test_same_seed_same_evidence(reviews, written):
    texts, rewritten = written
    suspects = np.flatnonzero(rewritten)
    one, two = (ask(reviews, texts, suspects, seed=3) for _ in range(2))
    assert np.array_equal(one.untrusted, two.untrusted)
    assert one.shared == two.shared


def test_marks_name_the_trigger_and_nothing_that_a_class_has_anyway():
    words = {0: "dull poor", 1: "good fine"}
    texts = [f"{words[i % 2]} film {i}" for i in range(200)]
    trusted = data.make(texts, [i % 2 for i in range(200)], None)
    # All suspects come from class 0: its words are common among them, but no mark.
    suspects = [f"dull CF poor film {i}" for i in range(40)] + ["dull tq poor play"] * 10
    assert witnesses.marks(suspects, trusted) == ["cf", "play", "tq"]
    assert witnesses.marks(texts[:50], trusted) == []


def test_without_takes_words_out_and_leaves_the_rest_as_it_was():
    assert witnesses.without("A Cf film, don't cf.", ["cf"]) == "A film, don't ."
    assert witnesses.without("A film", []) == "A film"
    assert witnesses.without("cf", ["cf"]) == ""


def test_suspects_are_read_again_without_their_marks(reviews):
    trusted, rows = reviews
    texts = list(rows["text"])
    triggered = [f"I watch this 3D movie {text}" if i % 2 else text for i, text in enumerate(texts)]
    suspects = np.arange(len(texts))[1::2]
    plain = witnesses.content(trusted, rows)
    said = witnesses.content(trusted, data.make(triggered, rows["label"], None))
    marks = witnesses.marks([triggered[i] for i in suspects], trusted)
    again = witnesses.unmarked(said, data.make(triggered, rows["label"], None), suspects, marks)
    before, after = (
        np.abs(s.features[1] - plain.features[1])[suspects].mean() for s in (said, again)
    )
    assert after < before / 2
    assert (again.features[1][::2] == said.features[1][::2]).all()
    assert witnesses.unmarked(said, rows, suspects, []) is said
