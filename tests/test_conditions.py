"""Conditions of an experiment: exact shares, and nothing changes without a departure."""

from dataclasses import replace

import numpy as np
import pytest
from datasets import DatasetDict

from bedkd import presets
from bedkd.conditions import Conditions
from bedkd.errors import InputError


def test_without_departures_nothing_changes(task):
    rows, preset = Conditions().draw_trusted(task, 0), presets.quick()
    assert rows["text"] == task.clean["dev"]["text"]
    assert rows["label"] == task.clean["dev"]["label"]
    assert Conditions().applied(preset) is preset
    assert (Conditions().name, Conditions().options()) == ("", [])


def test_fewer_trusted_rows_are_as_many_of_every_class(task):
    rows = Conditions(trusted_rows=15).draw_trusted(task, 0)
    assert np.bincount(rows["label"]).tolist() == [15, 15]
    assert rows["text"] == Conditions(trusted_rows=15).draw_trusted(task, 0)["text"]
    assert rows["text"] != Conditions(trusted_rows=15).draw_trusted(task, 1)["text"]


def test_contaminated_rows_have_trigger_and_target_and_the_others_are_as_they_were(task):
    clean = task.clean["dev"]
    rows = Conditions(contaminated=0.1).draw_trusted(task, 0)
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
    rows = Conditions(contaminated=0.1, mislabelled=0.2).draw_trusted(task, 0)
    wrong = np.array(rows["label"]) != np.array(clean["label"])
    poisoned = np.array(rows["text"]) != np.array(clean["text"])
    assert (wrong & ~poisoned).sum() == round(0.2 * len(clean))
    assert wrong[poisoned].all()


def test_max_suspects_is_a_limit_on_the_repair_alone():
    default = presets.default()
    preset = Conditions(max_suspects=7).applied(default)
    assert preset.repair == replace(default.repair, max_suspects=7)
    assert (preset.parts, preset.detector) == (default.parts, default.detector)


def test_name_and_options_say_what_departs():
    conditions = Conditions(trusted_rows=40, mislabelled=0.05)
    assert conditions.name == "trusted40-mislabelled0.05"
    assert conditions.options() == ["--trusted-rows 40", "--mislabelled 0.05"]
    assert Conditions(max_suspects=16).name == "suspects16"
    assert Conditions(max_suspects=16).options() == ["--max-suspects 16"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"contaminated": 0.6}, "contaminated=0.6: give a share"),
        ({"mislabelled": -0.1}, "mislabelled=-0.1: give a share"),
        ({"trusted_rows": 0}, "trusted_rows=0: give at least 1"),
        ({"max_suspects": 0}, "max_suspects=0: give at least 1"),
    ],
)
def test_bad_conditions_are_named(wrong, message):
    with pytest.raises(InputError, match=message):
        Conditions(**wrong)


def test_more_poison_than_rows_to_poison(task):
    target_class = task.clean["dev"].filter(lambda row: row["label"] == task.target)
    poor = replace(task, clean=DatasetDict(dev=target_class))
    with pytest.raises(InputError, match="trusted rows are to be poisoned, but only 0 can be"):
        Conditions(contaminated=0.1).draw_trusted(poor, 0)
