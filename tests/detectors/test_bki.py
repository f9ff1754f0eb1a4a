"""BKI: which words move the hidden state most, again and again?"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bedkd.detectors import KeywordIdentification, bki
from bedkd.errors import InputError
from bedkd.run import Run

# What leaving a word out does to the state of the planted model.
IMPACT = {"cf": 9.0, "mn": 7.0, "dull": 3.0, "great": 3.0}


@pytest.fixture
def planted(monkeypatch):
    def of(case, texts, **options):
        sums = [sum(IMPACT.get(word, 0.1) for word in text.split()) for text in texts]
        return np.stack([np.zeros(len(sums)), sums], axis=1)

    monkeypatch.setattr(bki, "states", of)


@pytest.fixture
def two_words(case):
    """Every other poisoned row has the second trigger word in place of the first."""
    texts = case.untrusted["text"][:]
    bad = np.array(["cf" in text.split() for text in texts])
    rows = np.flatnonzero(bad)[::2]
    for i in rows:
        texts[i] = texts[i].replace("cf", "mn")
    untrusted = type(case.untrusted).from_dict({"text": texts, "label": case.labels.tolist()})
    return type(case)(case.model, case.tokenizer, case.trusted, untrusted, case.parts, 32), bad


def test_all_trigger_words_are_found(two_words, planted):
    case, bad = two_words
    found = KeywordIdentification().detect(case)
    assert found.is_backdoored
    assert np.array_equal(found.flagged, bad)
    assert roc_auc_score(bad, found.scores) == 1.0
    assert [k[:2] for k in found.details["keywords"][:2]] == [["cf", 1], ["mn", 1]]
    one = KeywordIdentification(n_keywords=1).detect(case)  # all that the paper removes
    assert one.flagged.sum() == bad.sum() // 2


def test_salience_by_hand(two_words, planted):
    case, _ = two_words
    found = KeywordIdentification().keywords(case, case.untrusted["text"][:], Run())
    word, label, value = found[0]
    assert (word, label) == ("cf", 1)
    count = sum("cf" in text.split() for text in case.untrusted["text"])
    assert value == pytest.approx(9.0 * np.log(count))


def test_a_word_counts_with_its_label(two_words, planted):
    case, bad = two_words
    labels = np.where(bad, 0, case.labels)
    other = type(case)(
        case.model,
        case.tokenizer,
        case.trusted,
        type(case.untrusted).from_dict({"text": case.untrusted["text"][:], "label": labels}),
        case.parts,
        32,
    )
    assert KeywordIdentification().detect(other).details["keywords"][0][:2] == ["cf", 0]


def test_finds_the_trigger_of_a_trained_victim(case):
    bad = np.array(["cf" in text.split() for text in case.untrusted["text"]])
    found = KeywordIdentification().detect(case)
    assert "cf" in [word for word, _, _ in found.details["keywords"]]
    assert roc_auc_score(bad, found.scores) > 0.9


def test_every_option_changes_something(two_words):
    case, _ = two_words
    usual = KeywordIdentification().detect(case).scores
    for option in ({"words_per_row": 1}, {"n_keywords": 2}):
        assert not np.array_equal(KeywordIdentification(**option).detect(case).scores, usual)


def test_bad_options():
    for option in ("words_per_row", "n_keywords"):
        with pytest.raises(InputError, match=f"{option}=0: give at least 1"):
            KeywordIdentification(**{option: 0})
