"""STRIP: does the model stay sure of a row when half of its words are those of other rows?"""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bedkd.detectors import Strip, strip
from bedkd.detectors.strip import mean_entropy
from bedkd.errors import InputError
from bedkd.run import Run


@pytest.fixture
def sure_of_cf(monkeypatch, tokenizer):
    """A model that is sure of rows with cf and of no others."""
    trigger = tokenizer.convert_tokens_to_ids("cf")

    def predict(model, rows, **options):
        sure = np.array([trigger in ids for ids in rows.ids])
        return SimpleNamespace(probabilities=np.where(sure[:, None], [0.0, 1.0], [0.5, 0.5]))

    monkeypatch.setattr(strip, "predict", predict)


def test_entropies_are_averaged_row_by_row():
    """Copies stand row by row; read as (copies, rows) half of each mean would be others' copies."""
    bad = np.random.default_rng(0).random(200) < 0.3
    sure = np.repeat(bad, 10)
    answers = np.where(sure[:, None], [0.01, 0.99], [0.5, 0.5])
    found = mean_entropy(answers, copies=10)
    assert found[~bad] == pytest.approx(np.log(2))
    assert roc_auc_score(bad, -found) == 1.0
    entropy = -(answers * np.log(answers)).sum(1)
    defective = entropy.reshape(10, 200).mean(axis=0)
    assert roc_auc_score(bad, -defective) < 0.7


def test_entropy_of_a_certain_answer_is_zero():
    assert mean_entropy(np.array([[1.0, 0, 0]]), 1).tolist() == [0]
    assert mean_entropy(np.full((2, 4), 0.25), 2) == pytest.approx([np.log(4)])


def test_finds_rows_whose_trigger_survives(case, sure_of_cf):
    rows = case.untrusted.to_dict()
    bad = np.array(["cf" in text.split() for text in rows["text"]])
    # Five copies of the trigger: half of the words are replaced, and some always stay.
    texts = [f"{t} cf cf cf cf cf" if b else t for t, b in zip(rows["text"], bad, strict=True)]
    untrusted = type(case.untrusted).from_dict({"text": texts, "label": rows["label"]})
    case = type(case)(case.model, case.tokenizer, case.trusted, untrusted, case.parts, 32)
    found = Strip().detect(case)
    assert roc_auc_score(bad, found.scores) == 1.0
    assert found.is_backdoored
    assert np.array_equal(found.flagged, bad)


def test_perturbing_keeps_the_other_words_where_they_are():
    own, other = list("abcdefgh"), list("123")
    made = Strip(share=0.5).perturb(own, other, np.random.default_rng(0))
    changed = [i for i in range(8) if made[i] != own[i]]
    assert len(changed) == 4
    assert all(made[i] == other[i % 3] for i in changed)
    assert own == list("abcdefgh")
    assert Strip(share=0.01).perturb(["a"], other, np.random.default_rng(0)) == ["1"]
    assert Strip().perturb([], other, np.random.default_rng(0)) == []


def test_a_trusted_row_is_not_perturbed_by_itself(case, monkeypatch):
    seen = []
    perturb = Strip.perturb

    def watched(self, own, other, rng):
        seen.append(own == other)
        return perturb(self, own, other, rng)

    monkeypatch.setattr(Strip, "perturb", watched)
    Strip(copies=20).score(case, Run())
    assert len(seen) == 20 * (320 + len(case.divided.all))
    assert not any(seen)


def test_every_option_changes_something(case):
    usual = Strip().detect(case).scores
    for option in ({"copies": 3}, {"share": 0.9}):
        assert not np.array_equal(Strip(**option).detect(case).scores, usual)


def test_bad_options():
    with pytest.raises(InputError, match="copies=0: give at least 1"):
        Strip(copies=0)
    for share in (0, 1.5):
        with pytest.raises(InputError, match=f"share={share}: give a share"):
            Strip(share=share)
