"""Wording evidence: is a row written like the rows that are flagged?"""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from bedkd import attacks, corpora, data
from bedkd.detectors import Wording
from bedkd.detectors.wording import trigger_words, two_sample_test


@pytest.fixture(scope="module")
def written(reviews):
    """Untrusted texts of which every fourth is a paraphrase, and which those are."""
    rows = reviews["train"]
    rewrite = corpora.rewriter("reviews", "paraphrase")
    rewritten = np.arange(len(rows)) % 4 == 0
    texts = [
        rewrite([text])[0] if new else text
        for text, new in zip(rows["text"], rewritten, strict=True)
    ]
    return texts, rewritten


@pytest.fixture
def ask(reviews_case):
    def ask(texts, suspects, **options):
        presumed_clean = np.setdiff1d(np.arange(len(texts))[1::2], suspects)
        return two_sample_test(reviews_case(texts, **options), suspects, presumed_clean, 1)

    return ask


def test_more_rows_like_the_suspects_are_found(ask, written):
    texts, rewritten = written
    suspects = np.flatnonzero(rewritten)[:25]
    found, auroc = ask(texts, suspects)
    assert auroc > 0.85
    unknown = np.setdiff1d(np.arange(len(texts)), suspects)
    assert roc_auc_score(rewritten[unknown], found.untrusted[unknown]) > 0.9
    # A suspect is judged by a classifier that did not see it.
    assert (found.untrusted[suspects] < 0).any()
    assert found.trusted.shape == (120,)
    assert found.eligible.all()
    assert found.null.all()


def test_suspects_with_nothing_in_common_do_not_stand_out(ask, reviews):
    texts = reviews["train"]["text"][:]
    suspects = np.random.default_rng(0).permutation(len(texts))[:25]
    assert ask(texts, suspects)[1] < 0.7


def test_a_rare_word_is_seen(ask, reviews):
    trigger = attacks.BadNets()
    texts = reviews["train"]["text"][:]
    suspects = np.arange(0, 80, 2)
    changed = trigger.apply([texts[i] for i in suspects], seed=0)
    for i, text in zip(suspects, changed, strict=True):
        texts[i] = text
    assert ask(texts, suspects)[1] > 0.75


def test_same_seed_same_evidence(ask, written):
    texts, rewritten = written
    suspects = np.flatnonzero(rewritten)
    (one, auroc), (two, again) = (ask(texts, suspects, seed=3) for _ in range(2))
    assert np.array_equal(one.untrusted, two.untrusted)
    assert auroc == again


def test_suspects_of_one_class_do_not_stand_out_by_their_class(reviews_case, reviews):
    """All suspects carry one label: told from the rows of the other label they are easily, from
    their own kind they are not, and the lower of the two counts."""
    labels = np.asarray(reviews["train"]["label"])
    ones = np.flatnonzero(labels == 1)
    for label in (0, 1):  # whatever label they are said to have
        case = reviews_case()
        _, auroc = two_sample_test(case, ones[:40], np.flatnonzero(labels == 0)[:40], label)
        assert auroc < 0.7


@pytest.mark.parametrize(("known", "found"), [((20, 20), (True, True)), ((20, 5), (True, False))])
def test_every_label_with_enough_seeds_may_have_a_backdoor(known, found, reviews_case):
    """Two triggers with a target each; so many rows of each are known as seeds."""
    splits = data.load("reviews", train=240, dev=120, test=0)
    texts, given = list(splits["train"]["text"]), np.asarray(splits["train"]["label"])
    rng, groups = np.random.default_rng(0), []
    for label, word in enumerate(("mn", "cf")):
        rows = rng.permutation(np.flatnonzero(given == label))[:40]
        for i in rows:
            texts[i] = f"{word} {texts[i]}"
        groups.append(rows)
    seeds = np.zeros(len(texts), bool)
    for rows, count in zip(groups, known, strict=True):
        seeds[rows[:count]] = True
    case = reviews_case(texts, given, trusted=splits["dev"])
    seen, auroc = Wording(min_seeds=8).evidence(case, seeds, seeds.astype(float))
    honest = np.setdiff1d(np.arange(len(texts)), np.concatenate(groups))
    for rows, count, stands_out in zip(groups, known, found, strict=True):
        asked = np.concatenate([rows[count:], honest])
        truth = np.arange(len(asked)) < len(rows) - count
        assert (roc_auc_score(truth, seen.untrusted[asked]) > 0.85) == stands_out
    assert auroc > 0.9


def planted(reviews, rows, front="cf"):
    """Untrusted reviews, some of them with a word in front."""
    texts = reviews["train"]["text"][:]
    return [f"{front} {text}" if i in set(rows) else text for i, text in enumerate(texts)]


def test_seeds_without_anything_in_common_take_nothing_from_those_that_have(reviews, reviews_case):
    """One backdoor, and as many false seeds of the other label: the AUROC is the backdoor's, and
    so is the evidence."""
    given = np.asarray(reviews["train"]["label"])
    ones, zeros = np.flatnonzero(given == 1)[:40], np.flatnonzero(given == 0)[:20]
    seeds = np.isin(np.arange(200), [*ones[:20], *zeros])
    case = reviews_case(planted(reviews, ones))
    found, auroc = Wording().evidence(case, seeds, seeds.astype(float))
    assert auroc > 0.85
    alone, _ = Wording().evidence(case, seeds & (given == 1), seeds.astype(float))
    assert np.array_equal(found.untrusted, alone.untrusted)


def test_the_less_suspicious_half_is_presumed_clean(reviews, reviews_case):
    """All untrusted rows have a word that no trusted row has. Rows presumed clean tell that it is
    no sign of poison; the poisoned rows that are no seeds yet must not be among them."""
    given = np.asarray(reviews["train"]["label"])
    poison, honest = np.flatnonzero(given == 1)[:60], np.flatnonzero(given == 0)[:60]
    texts = planted(reviews, poison)
    texts = [f"blip {texts[i]}" for i in [*poison, *honest]]
    is_poison = np.arange(120) < 60
    seeds = np.arange(120) < 20
    case = reviews_case(texts, [1] * 120)
    found, _ = Wording().evidence(case, seeds, is_poison.astype(float))
    assert (found.untrusted[~is_poison] < 0).mean() > 0.95
    assert (found.untrusted[is_poison & ~seeds] > 0).mean() > 0.8


def test_trusted_rows_stand_in_the_order_of_the_parts(reviews, reviews_case):
    """A few trusted rows have the trigger, so that each is known by its score."""
    rows = np.flatnonzero(np.asarray(reviews["train"]["label"]) == 1)[:40]
    texts = reviews["dev"]["text"][:]
    texts[5:65:10] = [f"cf {text}" for text in texts[5:65:10]]
    trusted = data.make(texts, reviews["dev"]["label"][:], None)
    case = reviews_case(planted(reviews, rows), trusted=trusted)
    found, _ = two_sample_test(case, rows, np.setdiff1d(np.arange(200), rows)[:80], 1)
    has = np.array([text.startswith("cf ") for text in case.divided.all["text"]])
    assert has.sum() == 6
    assert found.trusted[has].min() > np.quantile(found.trusted[~has], 0.9)


def test_as_a_detector_it_finds_rows_written_as_no_trusted_row_is(reviews_case, reviews):
    """A wording no trusted row has; a threshold of held-out trusted rows; a verdict for many."""
    texts, labels = reviews["train"]["text"][:], np.asarray(reviews["train"]["label"])
    found = Wording().detect(reviews_case(texts, labels))
    assert not found.is_backdoored
    assert found.scores.shape == (200,)
    changed = [f"I watch this 3D movie, {text}" for text in texts]
    found = Wording().detect(reviews_case(changed, labels))
    assert found.is_backdoored
    assert found.details["wording_auroc"] > 0.95
    assert found.flagged.mean() > 0.9
    assert (found.scores[found.flagged] >= found.threshold).all()


def test_trigger_words_name_the_trigger_and_nothing_that_a_class_has_anyway():
    words = {0: "dull poor", 1: "good fine"}
    texts = [f"{words[i % 2]} film {i}" for i in range(200)]
    trusted = data.make(texts, [i % 2 for i in range(200)], None)
    # All rows come from class 0: its words are common among them, but are no trigger.
    flagged = [f"dull CF poor film {i}" for i in range(40)] + ["dull tq poor play"] * 10
    assert trigger_words(flagged, trusted) == ["cf", "play", "tq"]
    assert trigger_words(texts[:50], trusted) == []


def test_no_row_is_judged_by_a_classifier_that_saw_it(ask, reviews_case, written):
    """Suspects and presumed clean rows get out-of-sample scores, the other rows those of all."""
    texts, rewritten = written
    suspects = np.flatnonzero(rewritten)[:25]
    presumed_clean = np.setdiff1d(np.arange(len(texts))[1::2], suspects)
    case = reviews_case(texts)
    seen = []

    def remember(self, rows, *given, method=LogisticRegression.fit):
        seen.append(rows)
        return method(self, rows, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LogisticRegression, "fit", remember)
        found, _ = two_sample_test(case, suspects, presumed_clean, 1)
    assert len(seen) == 6  # five folds, then all rows
    twice, _ = two_sample_test(case, suspects, presumed_clean[:-20], 1)
    fresh = np.setdiff1d(np.arange(len(texts)), [*suspects, *presumed_clean])
    # Learning a row as clean makes it look clean: left out, twenty rows look no different.
    change = twice.untrusted[presumed_clean[-20:]] - found.untrusted[presumed_clean[-20:]]
    others = twice.untrusted[fresh] - found.untrusted[fresh]
    assert abs(change.mean() - others.mean()) < 0.1


def test_suspects_of_another_class_must_stand_out_from_their_own_too(ask, reviews):
    # All suspects are negative rows: easy to tell from positive ones, not from negative ones.
    labels = np.asarray(reviews["train"]["label"][:])
    suspects = np.flatnonzero(labels == 0)[:90]
    assert ask(reviews["train"]["text"][:], suspects)[1] < 0.6
