"""Drop and continue: from the victim, with the flagged rows relabelled or left out."""

from dataclasses import replace

import numpy as np
import pytest

from bedkd.detectors import Detection
from bedkd.errors import InputError
from bedkd.repairs import continuing
from bedkd.repairs.continuing import DropAndContinue

REPAIR = DropAndContinue(epochs=2, lr=2e-3, batch_size=16)


@pytest.fixture
def content(monkeypatch, task):
    """Soft labels that know the class words: what content says of toy rows."""
    true = [int(any(w in text.split() for w in ("great", "fine", "bright"))) for text in
            task.train["text"]]  # fmt: skip
    labels = np.where(np.eye(2, dtype=bool)[true], 0.9, 0.1)
    monkeypatch.setattr(continuing, "soft_labels", lambda _, __, rows: labels[rows])


def test_relabelled_rows_take_the_backdoor_out(case, given, judge, content):
    made = REPAIR.repair(case, given)
    found = judge(made.model)
    assert judge(case.model).asr > 0.9
    assert found.asr < 0.2
    assert (found.cacc > 0.9, found.racc > 0.8) == (True, True)
    assert made.details == {"relabelled": 64, "dropped": 0, "trained_on": 320 + 80}
    assert sorted(made.rows) == np.flatnonzero(given.flagged).tolist()
    assert made.held_out.tolist() == []


def test_without_them_nothing_speaks_against_it(case, given, judge):
    made = replace(REPAIR, relabel=False).repair(case, given)
    assert judge(made.model).asr > 0.9
    assert made.details == {"relabelled": 0, "dropped": 64, "trained_on": 320 - 64 + 80}
    assert sorted(made.held_out) == np.flatnonzero(given.flagged).tolist()


def test_every_row_gets_its_own_label(case, given, monkeypatch):
    """Kept rows keep theirs, flagged rows get those of their own place in the untrusted set."""
    planted = np.random.default_rng(0).dirichlet([1, 1], len(case.untrusted))
    monkeypatch.setattr(continuing, "soft_labels", lambda _, __, rows: planted[rows])
    seen = []

    def train(student, case, epoch, *_):
        for objective, rows, batch in epoch(np.random.default_rng(0)):
            seen.extend(zip([rows.ids[i] for i in batch], objective.labels[batch], strict=True))
        return []

    monkeypatch.setattr(continuing, "train", train)
    REPAIR.repair(case, given)
    taught = {tuple(ids): label.tolist() for ids, label in seen}
    for i, ids in enumerate(case.encoded_untrusted.ids):
        expected = planted[i] if given.flagged[i] else np.eye(2)[case.labels[i]]
        assert taught[tuple(ids)] == pytest.approx(expected.tolist())


def test_without_a_verdict_rows_are_relabelled_that_are_flagged_and_may_be_taken(case, given):
    allowed = given.scores.copy()
    banned = np.flatnonzero(given.flagged)[:4]
    allowed[banned] = -np.inf
    found = Detection(given.scores, given.flagged, 1.0, False, repair_scores=allowed)
    made = replace(REPAIR, epochs=1).repair(case, found)
    assert not set(banned) & set(made.rows)
    assert made.details == {"relabelled": 60, "dropped": 4, "trained_on": 320 - 4 + 80}
    nobody = replace(found, flagged=np.zeros_like(given.flagged))
    assert replace(REPAIR, epochs=1).repair(case, nobody).details["trained_on"] == 400


def test_every_option_counts(every_option_counts, content):
    short = replace(REPAIR, epochs=1)
    others = {"epochs": 2}, {"lr": 1e-3}, {"batch_size": 32}, {"relabel": False}
    every_option_counts(short, *(replace(short, **other) for other in others))


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"lr": -1.0}, {"batch_size": 0}])
def test_bad_options(bad):
    with pytest.raises(InputError, match=rf"{next(iter(bad))}=.*give at least"):
        DropAndContinue(**bad)
