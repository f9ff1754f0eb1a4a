"""CUBE: do the rows of a label fall into clusters?"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bedkd.detectors import Cube, cube
from bedkd.detectors.cube import excess
from bedkd.errors import InputError


def planted(monkeypatch, apart):
    """States of one heap a label, but of rows for which ``apart`` holds."""

    def of(case, texts, **options):
        rows = []
        for text in texts:
            rng = np.random.default_rng(sum(i * ord(c) for i, c in enumerate(text)))
            rows.append(rng.normal(size=12) + 30 * apart(text))
        return np.stack(rows)

    monkeypatch.setattr(cube, "states", of)


def has_cf(text):
    return "cf" in text.split()


def test_flags_the_smaller_clusters_of_a_label(case, monkeypatch):
    planted(monkeypatch, has_cf)
    bad = np.array([has_cf(text) for text in case.untrusted["text"]])
    found = Cube().detect(case)
    assert found.flagged[bad].mean() > 0.9
    assert not found.flagged[~bad].any()
    assert found.is_backdoored
    assert found.p_value < 1e-6
    assert roc_auc_score(bad, found.scores) == 1.0
    assert found.details["clusters"]["1"] == 2
    assert found.threshold == found.scores[found.flagged].min()


def test_two_kinds_of_clean_rows_are_flagged_but_no_backdoor(case, monkeypatch):
    """Trusted rows fall into both clusters as well."""
    planted(monkeypatch, lambda text: len(text) % 3 == 0)
    found = Cube().detect(case)
    assert found.flagged.sum() >= 16
    assert found.p_value > 0.01
    assert not found.is_backdoored


def test_one_heap_has_nothing_to_flag(case, monkeypatch):
    planted(monkeypatch, lambda text: False)
    found = Cube(min_cluster=40).detect(case)
    assert not found.flagged.any()
    assert found.threshold == np.inf
    assert found.p_value == 1


def test_excess_by_hand():
    # 2 of 4 rows outside, both ours of 2: 1 in (4 choose 2).
    ours = outside = np.array([True, True, False, False])
    assert excess(outside, ours) == pytest.approx(1 / 6)
    assert excess(~outside, ours) == 1


def test_every_option_changes_something(case, monkeypatch):
    planted(monkeypatch, has_cf)
    usual = Cube().detect(case)
    assert not np.allclose(Cube(components=2).detect(case).scores, usual.scores)
    assert not Cube(min_cluster=100).detect(case).flagged.any()
    assert not Cube(min_flagged=int(usual.flagged.sum()) + 1).detect(case).is_backdoored


def test_few_rows(case):
    few = type(case)(case.model, case.tokenizer, case.trusted, case.untrusted.select(range(3)))
    assert Cube().detect(few).verdict == "cannot tell"
    assert not Cube(min_flagged=1).detect(few).cannot_tell


def test_bad_options():
    for option in ({"components": 0}, {"min_cluster": 1}, {"min_flagged": 0}):
        with pytest.raises(InputError, match=f"{next(iter(option))}=.: give at least"):
            Cube(**option)
