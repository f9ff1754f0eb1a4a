"""When a repair stops."""

import pytest
import torch

from bedkd.repairs.stopping import Stopping, no_further


def ended(given, margin=0.05, patience=4, n_held_out=40, settled=False):
    """After how many of these cycles it ends, and why; a student of one weight counts them."""
    student = torch.nn.Linear(1, 1, bias=False)
    stopping = Stopping(margin, patience, n_held_out, settled)
    history = []
    for share in given:
        history.append({"flagged_given_label": share, "expected_rate": 0.15})
        torch.nn.init.constant_(student.weight, len(history))
        state = stopping.state_dict()  # as if it had been interrupted after every cycle
        stopping = Stopping(margin, patience, n_held_out, settled)
        stopping.load_state_dict(state)
        stopping.after_cycle(history, student)
        if stopping.reason:
            break
    final = stopping.final_weights()
    return len(history), stopping.reason, final["weight"].item() if final else None


@pytest.mark.parametrize(
    ("given", "reason"),
    [([0.1], None), ([0.9, 0.1], None), ([0.1, 0.9, 0.1], None), ([0.9, 0.2, 0.1], "converged")],
)
def test_one_cycle_at_the_expected_rate_is_not_enough(given, reason):
    assert ended(given)[:2] == (len(given), reason)


def test_one_cycle_is_enough_where_the_learning_rate_fell_to_nothing():
    assert ended([0.9, 0.3, 0.2, 0.1], settled=True)[:2] == (3, "converged")
    assert ended([0.9, 0.9, 0.3], settled=True)[1] is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [([0.9, 0.3], 2), ([0.3, 0.5], 1), ([0.3, 0.3], 1), ([0.9, 0.5, 0.6, 0.7], 2)],
)
def test_where_none_is_enough_the_cycle_nearest_to_the_expected_rate_is_kept(given, kept):
    """Expected is 0.15; the student's only weight is the number of the cycle."""
    assert ended(given, settled=True)[2] == kept
    assert ended(given, settled=True, n_held_out=4)[2] == kept
    assert ended(given)[2] is None
    assert ended([0.9] * 8, settled=True, patience=2)[1:] == (None, 1)  # no plateau


def test_a_student_goes_no_further_than_the_aim():
    student = torch.nn.Linear(2, 1, bias=False)
    before, after = ({"weight": torch.tensor([[5.0, value]])} for value in (1.0, 0.0))
    asked = []

    def up_to(most):
        asked.append(student.weight[0, 1].item())
        return asked[-1] <= most

    for most, share in ((0.75, 0.25), (0.8, 0.25), (0.74, 0.375), (0.1, 1.0), (0.95, 0.125)):
        assert no_further(student, before, after, lambda most=most: up_to(most)) == share
        assert student.weight[0].tolist() == [5.0, 1 - share]
    assert len(asked) == 15
    assert before["weight"].tolist() == [[5.0, 1.0]]


def test_of_cycles_that_settle_the_weights_around_the_last_are_kept():
    student = torch.nn.Linear(1, 1, bias=False)
    stopping, history = Stopping(0.05, 4, 40, settled=True), []
    for number, share in enumerate((0.9, 0.5, 0.22, 0.0), start=1):
        history.append({"flagged_given_label": share, "expected_rate": 0.15})
        torch.nn.init.constant_(student.weight, number)
        stopping.after_cycle(history, student)
    assert [weights["weight"].item() for weights in stopping.recent] == [3, 4]
    assert stopping.final_weights() == {}  # the student goes on from them


def test_it_ends_when_flagged_rows_come_no_further_down():
    # Means over two cycles: 0.75, 0.6, 0.5, 0.46, and of the pairs in between 0.65, 0.55, 0.49.
    given = [0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.48, 0.44, 0.3]
    assert ended(given, patience=2) == (8, "plateau", 7.5)
    assert ended(given, patience=2, margin=0.11)[:2] == (5, "plateau")
    assert ended(given, patience=5)[1] is None  # there are not twice five cycles
    assert ended(given, patience=None)[1] is None
    assert ended(given, patience=2, margin=None)[1] is None
    assert ended(given, n_held_out=19, patience=2)[1] is None  # one row is more than the margin
