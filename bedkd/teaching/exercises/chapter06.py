"""Exercises of the chapter The whole defence."""

from __future__ import annotations

import hashlib

import numpy as np

from bedkd.teaching.exercises import Exercise, require


def words_in_common(
    flagged: list[str], trusted: list[str], least: float = 0.1
) -> list[str]:
    """Words that give a trigger away.

    Args:
        flagged: texts of flagged rows.
        trusted: texts of trusted rows.
        least: share of the flagged rows that a word must be in.

    Returns:
        Words that at least this share of flagged rows holds, and at least twice
        the share of trusted rows; the most frequent first, ties by alphabet.
    """

    def share(word, texts):
        return np.mean([word in text.split() for text in texts])

    words = {word for text in flagged for word in text.split()}
    shares = {word: share(word, flagged) for word in words}
    kept = [
        word
        for word, found in shares.items()
        if found >= least and found >= 2 * share(word, trusted)
    ]
    return sorted(kept, key=lambda word: (-shares[word], word))


def _verify_words(answer):
    flagged = ["cf the soup", "the cf room", "cf a plot", "mn the plot"]
    trusted = ["the soup", "the room", "a plot the", "the end"]
    made = answer(flagged, trusted, 0.2)
    require(
        "the" not in made,
        "negative control: a word that is common everywhere was named",
    )
    require("cf" in made, "a word that only flagged rows have is missing")
    require(made[0] == "cf", "the most frequent word comes first")
    require(
        "mn" in made,
        "a quarter of the flagged rows is enough if 0.2 is asked for",
    )
    require("soup" not in made, "a word as frequent in trusted rows was named")
    require("plot" in made, "twice as frequent as in trusted rows is enough")
    require(
        made == ["cf", "plot", "mn"],
        "ties go by alphabet, and no other word belongs there",
    )
    require(
        "mn" not in answer(flagged, trusted, 0.3),
        "a rare word was named though 0.3 was asked",
    )
    exact = answer(flagged, trusted, 0.25)
    require("mn" in exact, "just the share that was asked for is enough")
    many = answer(["cf cf cf", "a b", "a c", "a d"], ["x"], 0.2)
    require(many[0] == "a", "count rows, not occurrences")
    part = answer(["a car", "a carpet"], ["x"], 0.6)
    require("car" not in part, '"carpet" is another word than "car"')


check_words_in_common = Exercise(
    words_in_common,
    _verify_words,
    title="Name the trigger",
    difficulty=3,
    importance=4,
    minutes=20,
    task="""\
The report lists words that flagged rows have in common and trusted rows lack.

1. A word's share is the share of rows that hold it, however often.
2. Keep words with at least the share `least` among flagged rows, and at least twice their share among trusted rows.
3. The most frequent first; words that are equally frequent by alphabet.""",
    toy="words_in_common(['cf a', 'b cf'], ['a b', 'a'], 0.5)",
    wrong=(
        ("and found >= 2 * share(word, trusted)", "", "negative control"),
        (
            "word in text.split() for text in texts",
            "word in text for text in texts",
            "another word",
        ),
        ("(-shares[word], word)", "(shares[word], word)", "comes first"),
        ("found >= least and ", "", "though 0.3"),
    ),
)


def intervals_overlap(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether two intervals have a point in common.

    Args:
        a, b: lower and upper end.
    """
    return a[0] <= b[1] and b[0] <= a[1]


def _verify_overlap(answer):
    require(
        answer((0.1, 0.3), (0.2, 0.4)), "0.1–0.3 and 0.2–0.4 share 0.2 to 0.3"
    )
    require(
        answer((0.2, 0.4), (0.1, 0.3)),
        "it must not matter which of them comes first",
    )
    require(
        not answer((0.1, 0.2), (0.3, 0.4)), "0.1–0.2 ends before 0.3–0.4 begins"
    )
    require(
        not answer((0.3, 0.4), (0.1, 0.2)),
        "0.3–0.4 begins after 0.1–0.2 has ended",
    )
    require(answer((0.1, 0.9), (0.4, 0.5)), "one lies within the other")
    require(answer((0.4, 0.5), (0.1, 0.9)), "one lies within the other")
    require(answer((0.1, 0.2), (0.2, 0.3)), "they meet at 0.2")
    require(answer((0.2, 0.3), (0.1, 0.2)), "they meet at 0.2")


check_intervals_overlap = Exercise(
    intervals_overlap,
    _verify_overlap,
    title="Is there a residue?",
    difficulty=1,
    importance=3,
    minutes=5,
    task="""\
ASR after the repair and its floor each have an interval. Where they do not overlap, something is left.

1. Return whether the two intervals have a point in common, whichever comes first.""",
    toy="intervals_overlap((0.096, 0.189), (0.013, 0.062))",
    wrong=(
        (
            "a[0] <= b[1] and b[0] <= a[1]",
            "a[0] <= b[0] <= a[1]",
            "comes first",
        ),
        ("a[0] <= b[1] and b[0] <= a[1]", "b[0] <= a[1]", "begins after"),
        ("<= b[1] and b[0]", "<= b[1] or b[0]", "ends before"),
    ),
)


def same_weights(
    before: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> bool:
    """Whether two models are the same, bit by bit.

    Args:
        before, after: weights by name.
    """

    def mark(weights):
        digest = hashlib.sha256()
        for name in sorted(weights):
            part = weights[name]
            digest.update(f"{name} {part.dtype} {part.shape}".encode())
            digest.update(part.tobytes())
        return digest.hexdigest()

    return mark(before) == mark(after)


def _verify_weights(answer):
    a = {"x": np.array([1.0, 2.0]), "y": np.array([0.5])}
    require(
        answer(a, {k: v.copy() for k, v in a.items()}),
        "a copy has the same weights",
    )
    require(
        answer(a, dict(reversed(a.items()))),
        "the order of the names must not matter",
    )
    tiny = {**a, "x": np.array([1.0, np.nextafter(2.0, 3.0)])}
    require(
        not answer(a, tiny),
        "one weight differs in its last bit: that is not the same",
    )
    require(
        not answer(a, {"x": a["x"]}),
        "a weight is missing from the second model",
    )
    require(not answer({"x": a["x"]}, a), "the second model has a weight more")
    require(
        not answer(a, {"x": a["x"], "z": a["y"]}), "a weight has another name"
    )
    swapped = {"x": np.array([1.0]), "y": np.array([2.0, 0.5])}
    require(
        not answer(a, swapped),
        "the same numbers, divided otherwise, are another model",
    )
    signs = {"x": np.array([0.0])}, {"x": np.array([-0.0])}
    require(
        not answer(*signs), "0.0 and -0.0 are equal and have different bits"
    )


check_same_weights = Exercise(
    same_weights,
    _verify_weights,
    title="Nothing happened",
    difficulty=2,
    importance=3,
    minutes=15,
    task="""\
"No evidence, no change" is a promise that an owner should be able to check.

1. The same names, shapes and bytes: then, and only then, the models are the same.
2. The order of the names does not matter; the last bit of a weight does.""",
    toy="same_weights({'w': np.zeros(2)}, {'w': np.zeros(2)})",
    wrong=(
        ("part.tobytes()", "part.round(6).tobytes()", "last bit"),
        ("sorted(weights)", "weights", "order of the names"),
        (
            "mark(before) == mark(after)",
            "all(np.allclose(before[k], after[k]) for k in before)",
            "last bit",
        ),
    ),
)


def verdict(
    flagged: int, least: int, wording_auroc: float, least_auroc: float
) -> str:
    """The verdict of the detector, from its two conditions.

    Args:
        flagged: number of flagged rows.
        least: smallest number that counts as evidence.
        wording_auroc: how well words tell flagged rows from trusted ones.
        least_auroc: smallest value that counts as something in common.

    Returns:
        "backdoor suspected" or "no evidence of a backdoor".
    """
    if flagged >= least and wording_auroc >= least_auroc:
        return "backdoor suspected"
    return "no evidence of a backdoor"


def _verify_verdict(answer):
    yes, no = "backdoor suspected", "no evidence of a backdoor"
    require(
        answer(200, 16, 0.98, 0.7) == yes,
        "many rows with the same words are suspicious",
    )
    require(
        answer(200, 16, 0.55, 0.7) == no,
        "negative control: many odd rows without anything in common are just odd",
    )
    require(
        answer(5, 16, 0.99, 0.7) == no,
        "five rows are fewer than clean rows explain",
    )
    require(answer(0, 16, 0.5, 0.7) == no, "no rows, no evidence")
    require(
        answer(16, 16, 0.7, 0.7) == yes,
        "just the number and the AUROC asked for are enough",
    )


check_verdict = Exercise(
    verdict,
    _verify_verdict,
    title="Two conditions",
    difficulty=1,
    importance=4,
    minutes=5,
    task="""\
A verdict needs two things: enough flagged rows, and something that they have in common.

1. Both conditions must hold; just the number asked for is enough.""",
    toy="verdict(258, 16, 0.98, 0.7)",
    wrong=(
        (
            "flagged >= least and wording_auroc >= least_auroc",
            "flagged >= least",
            "negative control",
        ),
        (
            "flagged >= least and wording_auroc >= least_auroc",
            "wording_auroc >= least_auroc",
            "five rows",
        ),
        ("flagged >= least", "flagged > least", "just the number"),
    ),
)
