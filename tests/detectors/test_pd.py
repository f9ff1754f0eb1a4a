"""PD: what does the model believe in that the model it came from does not see?"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bedkd import models
from bedkd.detectors import LogOddsShift, pd
from bedkd.detectors.pd import given_log_odds, mean_states
from bedkd.errors import InputError
from bedkd.run import Run
from bedkd.training.predict import predict


def test_log_odds_by_hand_and_of_answers_that_leave_no_doubt():
    logits = np.log(np.array([[0.2, 0.3, 0.5]]))
    assert given_log_odds(logits, np.array([2])) == pytest.approx([0.0])
    assert given_log_odds(logits, np.array([0])) == pytest.approx([np.log(0.25)])
    # As probabilities both would be 1.
    sure = given_log_odds(np.array([[60.0, 0.0], [90.0, 0.0]]), np.zeros(2, int))
    assert sure.tolist() == [60.0, 90.0]


def test_score_is_the_shift(case, monkeypatch):
    n, m = len(case.untrusted), len(case.divided.all)
    against = np.arange(n, dtype=float), np.arange(m, dtype=float)
    monkeypatch.setattr(pd, "against_label", lambda *_: (lambda *_: against[0], against[1]))
    scores, null, _ = LogOddsShift().score(case, Run())
    for found, extra, rows in (
        (scores, against[0], case.encoded_untrusted),
        (null, against[1], case.encoded(case.divided.all, "trusted")),
    ):
        logits = predict(case.suspect, rows).logits.astype(float)
        own = logits[np.arange(len(rows)), rows.labels]
        others = logits[np.arange(len(rows)), 1 - rows.labels]
        assert found == pytest.approx(own - others + extra, abs=1e-4)


def test_finds_rows_that_only_the_tuned_model_believes(case):
    bad = np.array(["cf" in text.split() for text in case.untrusted["text"]])
    found = LogOddsShift().detect(case)
    assert roc_auc_score(bad, found.scores) > 0.9
    assert found.is_backdoored


def test_another_backbone(case, checkpoint, toy, tokenizer):
    folder = checkpoint(toy.bert(tokenizer, seed=3))
    found = LogOddsShift(backbone=str(folder)).detect(case)
    assert not np.array_equal(found.scores, LogOddsShift().detect(case).scores)
    model, _ = models.load_backbone(folder, num_labels=2)
    assert mean_states(model, tokenizer, ["great", "dull word1"], 32).shape == (2, 32)
    with pytest.raises(InputError, match="no such folder"):
        LogOddsShift(backbone="./nowhere").detect(case)
