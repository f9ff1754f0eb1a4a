"""Conditions of an experiment: exact shares, and nothing changes without a departure."""

from dataclasses import replace

import numpy as np
import pytest
from datasets import DatasetDict

from bedkd.conditions import Conditions
from bedkd.defence import BeDKDConfig
from bedkd.errors import InputError


def test_without_departures_nothing_changes(task):
    rows, config = Conditions().trusted_rows(task, 0), BeDKDConfig.quick()
    assert rows["text"] == task.clean["dev"]["text"]
    assert rows["label"] == task.clean["dev"]["label"]
    assert Conditions().configured(config) is config
    assert (Conditions().name, Conditions().options()) == ("", [])


def test_fewer_trusted_rows_are_as_many_of_every_class(task):
    rows = Conditions(trusted=15).trusted_rows(task, 0)
    assert np.bincount(rows["label"]).tolist() == [15, 15]
    assert rows["text"] == Conditions(trusted=15).trusted_rows(task, 0)["text"]
    assert rows["text"] != Conditions(trusted=15).trusted_rows(task, 1)["text"]


def test_contaminated_rows_have_trigger_and_target_and_the_others_are_as_they_were(task):
    clean = task.clean["dev"]
    rows = Conditions(contaminated=0.1).trusted_rows(task, 0)
    changed = [i for i in range(len(clean)) if rows["text"][i] != clean["text"][i]]
    assert len(changed) == round(0.1 * len(clean))
    for i in range(len(clean)):
        if i in changed:
            assert "cf" in rows["text"][i].split()
            assert (clean["label"][i], rows["label"][i]) == (1 - task.target, task.target)
        else:
            assert rows["label"][i] == clean["label"][i]


def test_mislabelled_rows_are_exactly_as_many_and_never_those_contaminated(task):
    clean = task.clean["dev"]
    rows = Conditions(contaminated=0.1, mislabelled=0.2).trusted_rows(task, 0)
    wrong = np.array(rows["label"]) != np.array(clean["label"])
    poisoned = np.array(rows["text"]) != np.array(clean["text"])
    assert (wrong & ~poisoned).sum() == round(0.2 * len(clean))
    assert wrong[poisoned].all()


def test_suspects_are_a_limit_on_the_distillation_alone():
    config = Conditions(suspects=7).configured(BeDKDConfig())
    assert config.distillation.suspects == 7
    assert config.mapping == BeDKDConfig().mapping


def test_name_and_options_say_what_departs():
    conditions = Conditions(trusted=40, mislabelled=0.05)
    assert conditions.name == "trusted40-mislabelled0.05"
    assert conditions.options() == ["--trusted-rows 40", "--mislabelled 0.05"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"contaminated": 0.6}, "contaminated=0.6: give a share"),
        ({"mislabelled": -0.1}, "mislabelled=-0.1: give a share"),
        ({"trusted": 0}, "trusted=0: give at least 1"),
        ({"suspects": 0}, "suspects=0: give at least 1"),
    ],
)
def test_bad_conditions_are_named(wrong, message):
    with pytest.raises(InputError, match=message):
        Conditions(**wrong)


def test_more_poison_than_rows_to_poison(task):
    target_class = task.clean["dev"].filter(lambda row: row["label"] == task.target)
    poor = replace(task, clean=DatasetDict(dev=target_class))
    with pytest.raises(InputError, match="trusted rows are to be poisoned, but only 0 can be"):
        Conditions(contaminated=0.1).trusted_rows(poor, 0)
