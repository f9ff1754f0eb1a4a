"""What a dry run counts."""

from dataclasses import replace

import pytest

from bedkd import Case, Parts, plan, presets
from bedkd.repairs.stopping import HALVINGS


def test_a_shuffled_pass_costs_what_its_rows_do(victim, tokenizer, task, monkeypatch):
    monkeypatch.setattr(plan, "_timed", lambda work: 0.0)  # asking and embedding are free
    monkeypatch.setattr(plan, "_step", lambda case, sample: 1.0)
    case = Case(victim, tokenizer, task.clean["dev"], task.train, Parts(5, 20, 10), max_length=32)
    preset = presets.default()._replace(parts=case.parts)

    def seconds(**changes):
        changed = preset._replace(repair=replace(preset.repair, **changes))
        return plan.plan(case, changed)["seconds"][1]

    later = preset.repair.cycles - 1  # cycles over a share of them
    steps = (1 + later * preset.repair.later_share) * 32 / preset.repair.batch_size
    assert seconds(presumed_clean=32) - seconds(presumed_clean=0) == pytest.approx(steps)
    more = seconds(max_suspects=10**6) - seconds(max_suspects=len(task.train))
    assert more == 0  # there are no more rows than that
    # Held-out rows are asked about after every cycle, and on the way into the last one.
    monkeypatch.setattr(plan, "_timed", lambda work: float(min(len(task.train), plan.TIMED_ROWS)))
    held_out = len(case.divided.held_out) + min(preset.repair.max_suspects, len(task.train)) / 4
    assert seconds(decay=True) - seconds(decay=False) == pytest.approx(HALVINGS * held_out)
