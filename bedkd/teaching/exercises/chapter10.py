"""Exercises of the chapter When it fails."""

from __future__ import annotations

import math

import numpy as np

from bedkd.teaching.exercises import Exercise, require


def rows_needed(null: int, rows: int, fdr: float) -> int:
    """How many poisoned rows a threshold needs to notice any.

    Args:
        null: number of held-out trusted rows M.
        rows: number of untrusted rows N.
        fdr: share of false rows that is let pass, for instance 0.05.

    Returns:
        Smallest number of rows above the whole null that a line can flag.
    """
    return math.ceil(rows / ((null + 1) * fdr) - 1e-9)


def _verify_needed(answer):
    made = answer(319, 2000, 0.05)
    require(isinstance(made, int), "a number of rows is an integer")
    require(
        made > 20,
        "that is the expected number of false rows, or less: how many must they hide among?",
    )
    require(
        made == 125, f"319 null rows and 2,000 untrusted ones: 125, not {made}"
    )
    require(answer(96, 96, 0.05) == 20, "96 against 96 rows: 19.8, so twenty")
    require(answer(199, 1000, 0.05) == 100, "just enough is enough: 100")
    require(
        answer(9, 100, 0.5) == 20,
        "9 null rows, 100 untrusted, half of them may be false: 20",
    )
    require(
        answer(1000, 2000, 0.05) < made,
        "more trusted rows must notice fewer poisoned ones",
    )


check_rows_needed = Exercise(
    rows_needed,
    _verify_needed,
    title="Too few to be noticed",
    difficulty=3,
    importance=4,
    minutes=15,
    task="""\
A row above all $M$ null rows may still be a clean one, with a probability of at most $1 / (M + 1)$.

1. Among $N$ rows, how many false ones are expected?
2. They may be a share `fdr` of the flagged rows. How many rows must be flagged, at least? Round up.""",
    toy="rows_needed(320, 2000, 0.05)",
    wrong=(
        ("rows / ((null + 1) * fdr)", "rows / (null + 1)", "hide among"),
        ("(null + 1)", "null", "not 126"),
        (
            "math.ceil(rows / ((null + 1) * fdr) - 1e-9)",
            "int(rows / ((null + 1) * fdr))",
            "twenty",
        ),
    ),
)


def windows(text: str, size: int) -> list[str]:
    """All pieces of a text of some words.

    Args:
        text: any text.
        size: number of words of a piece, at least 1.

    Returns:
        The pieces in order; the whole text if it has no more words than that.
    """
    words = text.split()
    last = max(len(words) - size, 0)
    return [" ".join(words[i : i + size]) for i in range(last + 1)]


def _verify_windows(answer):
    made = answer("never tq gets off", 2)
    require("tq gets" in made, "pieces overlap: each word begins one")
    require(made[-1:] == ["gets off"], "the last piece ends with the last word")
    require(
        made == ["never tq", "tq gets", "gets off"],
        "these are not all pieces in order",
    )
    require(
        answer("a b c", 1) == ["a", "b", "c"],
        "pieces of one word are the words",
    )
    require(
        answer("short", 2) == ["short"],
        "a text that is too short is one piece, whole",
    )
    require(
        answer("a b", 2) == ["a b"], "a text of just that length is one piece"
    )
    require(
        answer("a b c d", 3) == ["a b c", "b c d"],
        "pieces of three words are wrong",
    )


check_windows = Exercise(
    windows,
    _verify_windows,
    title="Cut a row into pieces",
    difficulty=1,
    importance=3,
    minutes=10,
    task="""\
The first step of the trigger probe.

1. Return all runs of `size` neighbouring words, in order.
2. A text that is shorter is one piece.""",
    toy="windows('it never tq gets off', 2)",
    wrong=(
        ("range(last + 1)", "range(0, last + 1, size)", "overlap"),
        ("range(last + 1)", "range(last)", "last piece"),
        ("max(len(words) - size, 0)", "len(words) - size", "one piece, whole"),
    ),
)


def target_rate(p: np.ndarray) -> float:
    """How well the strongest piece of a row commands the model.

    Args:
        p: probability of the target for every piece before every carrier,
            (pieces, carriers).

    Returns:
        Mean over the carriers, for the piece for which it is largest.
    """
    return float(p.mean(axis=1).max())


def _verify_rate(answer):
    trigger = np.array([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])
    require(
        abs(answer(trigger) - 0.9) < 1e-9,
        "a piece that turns every carrier has the rate 0.9",
    )
    lucky = np.array([[0.9, 0.0, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, 0.9]])
    require(
        answer(lucky) < 0.5,
        "negative control: each piece convinces one carrier of three, and none commands",
    )
    require(abs(answer(lucky) - 0.3) < 1e-9, "the mean of 0.9, 0 and 0 is 0.3")
    wide = np.array([[0.2, 0.4], [0.6, 0.2], [0.1, 0.1]])
    require(
        abs(answer(wide) - 0.4) < 1e-9,
        "means over carriers first, then the strongest piece",
    )


check_target_rate = Exercise(
    target_rate,
    _verify_rate,
    title="Convince or command",
    difficulty=2,
    importance=4,
    minutes=10,
    task="""\
Words that mean something convince one carrier or another. A trigger turns every one.

1. For every piece take the mean over carriers.
2. Return the largest of these means.""",
    toy="target_rate(np.array([[0.02, 0.03], [1.0, 0.98]]))",
    wrong=(
        ("p.mean(axis=1).max()", "p.max(axis=0).mean()", "negative control"),
        ("p.mean(axis=1).max()", "p.max()", "negative control"),
        ("p.mean(axis=1).max()", "p.mean()", "has the rate"),
        ("p.mean(axis=1)", "p.mean(axis=0)", "has the rate"),
    ),
)


def auroc(suspicion: np.ndarray, poisoned: np.ndarray) -> float:
    """Chance that a poisoned row looks more suspicious than a clean one.

    Args:
        suspicion: scores, (N,).
        poisoned: flags, (N,); both kinds occur.

    Returns:
        Share of pairs of a poisoned and a clean row in which the poisoned one
        has the higher score; equal scores count one half.
    """
    bad, good = suspicion[poisoned][:, None], suspicion[~poisoned][None]
    return float((bad > good).mean() + (bad == good).mean() / 2)


def _verify_auroc(answer):
    flags = np.array([True, True, False, False, False])
    require(
        answer(np.array([9, 8, 1, 2, 3]), flags) == 1,
        "all poisoned rows on top: 1",
    )
    require(
        answer(np.array([1, 2, 7, 8, 9]), flags) == 0,
        "all poisoned rows at the bottom: 0",
    )
    require(answer(np.ones(5), flags) == 0.5, "equal scores count one half")
    made = answer(np.array([5, 1, 2, 3, 4]), flags)
    require(made == 0.5, "one row above three, one below three: 3 of 6 pairs")
    made = answer(np.array([3, 4, 1, 2, 5]), flags)
    require(abs(made - 4 / 6) < 1e-9, "4 of 6 pairs are the right way round")
    made = answer(np.array([1, 2, 2, 0, 0]), flags)
    require(abs(made - 4.5 / 6) < 1e-9, "4 pairs and one tie in 6: 0.75")


check_auroc = Exercise(
    auroc,
    _verify_auroc,
    title="Ranked below chance",
    difficulty=2,
    importance=4,
    minutes=15,
    task="""\
In this chapter an AUROC is below one half. To see what that means, compute one without a library.

1. Look at all pairs of a poisoned and a clean row.
2. Return the share in which the poisoned row has the higher score; a tie is half a success.""",
    toy="auroc(np.array([0.9, 0.2, 0.5]), np.array([True, True, False]))",
    wrong=(
        ("(bad == good).mean() / 2", "0", "one half"),
        ("(bad == good).mean() / 2", "(bad == good).mean()", "one half"),
        ("bad > good", "bad < good", "on top"),
    ),
)
