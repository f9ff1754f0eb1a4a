"""Drop and retrain: from the backbone, without the flagged rows."""

from dataclasses import replace

import numpy as np
import pytest

from bedkd.detectors import Detection, Given
from bedkd.errors import InputError
from bedkd.repairs import retraining
from bedkd.repairs.retraining import DropAndRetrain

REPAIR = DropAndRetrain(backbone="fresh", epochs=6, lr=3e-3, batch_size=16)


def test_without_the_poisoned_rows_there_is_no_backdoor(case, given, judge):
    made = REPAIR.repair(case, given)
    found = judge(made.model)
    assert judge(case.model).asr > 0.9
    assert found.asr < 0.1
    assert (found.cacc > 0.9, found.racc > 0.9) == (True, True)
    poisoned = np.flatnonzero(given.flagged)
    assert made.rows.tolist() == made.held_out.tolist() == poisoned.tolist()
    assert made.details == {"dropped": 64, "trained_on": 320 - 64 + 80}


def test_rows_that_were_missed_teach_it_again(case, given, judge, task):
    missed = Given(tuple(np.flatnonzero(given.flagged)[:20])).detect(case)
    assert judge(REPAIR.repair(case, missed).model).asr > 0.9


def test_it_starts_from_the_backbone_not_from_the_victim(case, given, weights, same_weights):
    """With a learning rate of 0 what comes out is what it started from."""
    start = weights(replace(REPAIR, epochs=1, lr=0.0).repair(case, given).model)
    assert same_weights(start, weights(retraining.before_training(case, "fresh")))
    assert not same_weights(start, weights(case.model))


def test_flagged_rows_are_dropped_without_a_verdict_and_if_they_must_not_be_taken(case, given):
    allowed = np.where(given.flagged, -np.inf, 0)
    found = Detection(given.scores, given.flagged, 1.0, False, repair_scores=allowed)
    made = replace(REPAIR, epochs=1).repair(case, found)
    assert made.details == {"dropped": 64, "trained_on": 320 - 64 + 80}
    assert made.rows.tolist() == []


def test_every_option_counts(every_option_counts, checkpoint, bert):
    short, folder = replace(REPAIR, epochs=1), str(checkpoint(bert))
    others = {"epochs": 2}, {"lr": None}, {"batch_size": 32}, {"backbone": folder, "lr": 1e-3}
    every_option_counts(short, *(replace(short, **other) for other in others))


def test_layers(case, given, checkpoint, bert):
    made = replace(REPAIR, backbone=str(checkpoint(bert)), layers=1, epochs=1).repair(case, given)
    assert made.model.config.num_hidden_layers == 1


def test_the_learning_rate_suits_the_backbone(case, given, monkeypatch):
    seen = []
    monkeypatch.setattr(retraining, "train", lambda *a: seen.append(a[3]) or [])
    for backbone in ("fresh", "minilm"):
        monkeypatch.setattr(retraining, "before_training", lambda case, *_: case.suspect)
        DropAndRetrain(backbone=backbone).repair(case, given)
    assert [c.lr for c in seen] == [2e-5, 2e-4]
    assert (seen[0].epochs, seen[0].batch_size) == (3, 32)


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"lr": -1.0}, {"batch_size": 0}])
def test_bad_options(bad):
    with pytest.raises(InputError, match=rf"{next(iter(bad))}=.*give at least"):
        DropAndRetrain(**bad)


def test_a_backbone_of_another_vocabulary(case, given):
    with pytest.raises(InputError, match=r"backbone='minilm': its vocabulary.*give backbone="):
        DropAndRetrain().repair(case, given)
