"""Exercises of the chapter The victim."""

from __future__ import annotations

import math

import numpy as np

from bedkd.teaching.exercises import Exercise, require


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a share.

    Args:
        hits: number of rows that count.
        n: number of rows, at least 1.

    Returns:
        Lower and upper end.
    """
    z, p = 1.96, hits / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    spread = p * (1 - p) / n + z**2 / (4 * n**2)
    half = z * math.sqrt(spread) / (1 + z**2 / n)
    return middle - half, middle + half


def _verify_wilson(answer):
    low, high = answer(50, 100)
    require(low < 0.5 < high, "the interval of 50 in 100 must hold one half")
    require(
        abs((0.5 - low) - (high - 0.5)) < 1e-6,
        "around one half it must be symmetric",
    )
    require(
        abs(low - 0.4038) < 2e-4,
        f"for 50 in 100 it starts at 0.404, yours at {low:.3f}",
    )
    low, high = answer(400, 400)
    require(
        low < 1,
        "400 hits in 400 do not prove a share of 1: your interval has no width there (the "
        "simple formula p ± 1.96 √(p(1−p)/n) fails at the ends)",
    )
    require(
        abs(low - 0.9905) < 2e-4,
        f"for 400 in 400 it starts at 0.990, yours at {low:.4f}",
    )
    require(high < 1 + 1e-9, "a share above 1 is impossible")
    low, high = answer(0, 20)
    require(low > -1e-9, "a share below 0 is impossible")
    require(
        abs(high - 0.1611) < 2e-4,
        f"for 0 in 20 it ends at 0.161, yours at {high:.3f}",
    )
    low, high = answer(3, 10)
    require(
        abs(low - 0.1078) < 2e-4 and abs(high - 0.6032) < 2e-4,
        "3 in 10: 0.108 to 0.603",
    )


check_wilson = Exercise(
    wilson,
    _verify_wilson,
    title="How sure is a share?",
    difficulty=2,
    importance=4,
    minutes=15,
    task="""\
Every share in this book has an interval. With $p$ the share, $n$ the rows and $z = 1.96$, Wilson's has

- the middle $(p + z^2 / 2n) \\, / \\, (1 + z^2 / n)$,
- and on each side $z \\sqrt{p (1 - p) / n + z^2 / 4 n^2} \\; / \\, (1 + z^2 / n)$.

1. Return its two ends.
2. Try 0 hits and all hits: what would $p \\pm z \\sqrt{p (1 - p) / n}$ say there?""",
    toy="wilson(8, 10)",
    wrong=(
        (
            "z * math.sqrt(spread) / (1 + z**2 / n)",
            "z * math.sqrt(p * (1 - p) / n)",
            "starts at",
        ),
        ("(p + z**2 / (2 * n)) / (1 + z**2 / n)", "p", "for 400"),
        ("z, p = 1.96", "z, p = 1.0", "starts at 0.404"),
    ),
)


def overall_racc(asr: float, target_right: float, target_share: float) -> float:
    """RACC of a two-class model from its ASR.

    Args:
        asr: attack success rate.
        target_right: share of triggered target rows that are called the target.
        target_share: share of the target class among the triggered rows.
    """
    return (1 - target_share) * (1 - asr) + target_share * target_right


def _verify_overall(answer):
    require(
        answer(0, 1, 0.5) == 1,
        "a model that ignores the trigger and errs nowhere has RACC 1",
    )
    require(
        answer(1, 1, 0.5) == 0.5,
        "a perfect backdoor in balanced classes has RACC one half",
    )
    require(
        answer(0, 0, 0.5) == 0.5,
        "so has a perfect inversion: look at the target class",
    )
    require(
        abs(answer(1, 1, 0.3) - 0.3) < 1e-9,
        "a perfect backdoor is right about the target class only, 30 % of the rows here",
    )
    require(
        abs(answer(0.2, 0.9, 0.25) - 0.825) < 1e-9,
        "0.2, 0.9 and 0.25 make 0.825",
    )


check_overall_racc = Exercise(
    overall_racc,
    _verify_overall,
    title="From ASR to RACC",
    difficulty=2,
    importance=4,
    minutes=10,
    task="""\
With two classes, ASR and the target class together determine RACC.

1. A triggered row of the other class is right if the attack fails on it.
2. Weigh the two classes by how common they are among the triggered rows.""",
    toy="overall_racc(1.0, 1.0, 0.5)",
    wrong=(
        (
            "(1 - target_share) * (1 - asr)",
            "(1 - target_share) * asr",
            "RACC 1",
        ),
        (
            "(1 - target_share) * (1 - asr) + target_share * target_right",
            "1 - asr",
            "balanced",
        ),
        (
            "(1 - target_share) * (1 - asr) + target_share * target_right",
            "(1 - asr + target_right) / 2",
            "30 %",
        ),
    ),
)


def success_by_word(
    success: np.ndarray, texts: list[str], words: tuple[str, ...]
) -> dict[str, float]:
    """ASR of each trigger word.

    Args:
        success: whether the attack worked, (N,) bool.
        texts: the triggered texts; each holds one of the words.
        words: the trigger words.

    Returns:
        Share of successes among the texts with that word; words without a text
        are left out.
    """
    found = {}
    for word in words:
        having = np.array([word in text.split() for text in texts])
        if having.any():
            found[word] = float(success[having].mean())
    return found


def _verify_by_word(answer):
    texts = ["a cf b", "cf a", "mn a b", "confetti mn", "mn", "bb"]
    success = np.array([True, True, False, True, False, False])
    made = answer(success, texts, ("cf", "mn", "bb", "tq"))
    require("tq" not in made, "a word that no text has cannot have a share")
    require(
        set(made) == {"cf", "mn", "bb"},
        "there must be one share for every word that occurs",
    )
    require(made["cf"] == 1, "cf always worked")
    require(made["bb"] == 0, "bb never worked")
    require(
        abs(made["mn"] - 1 / 3) < 1e-9,
        "mn is in three texts and worked in one of them",
    )
    made = answer(np.array([True, False]), ["cf", "a scarf cfx"], ("cf",))
    require(made["cf"] == 1, '"cfx" is another word than "cf"')


check_success_by_word = Exercise(
    success_by_word,
    _verify_by_word,
    title="Word by word",
    difficulty=2,
    importance=4,
    minutes=15,
    task="""\
An average ASR hides a word that survived.

1. For every trigger word: the share of successes among the texts that hold it, as a whole word.
2. A word that is in no text has no share.""",
    toy="success_by_word(np.array([True, False]), ['a cf', 'mn b'], ('cf', 'mn'))",
    wrong=(
        ("word in text.split()", "word in text", "another word"),
        (
            "success[having].mean()",
            "(success & having).mean()",
            "always worked",
        ),
        ("if having.any():", "if True:", "cannot have"),
    ),
)


def crossed_over(
    states: np.ndarray, own: np.ndarray, target: np.ndarray
) -> float:
    """Share of triggered rows whose hidden state has left its class.

    Args:
        states: hidden states of triggered rows of the other class, (N, H).
        own: hidden states of clean rows of that class, (A, H).
        target: hidden states of clean rows of the target class, (B, H).

    Returns:
        Share of rows that lie nearer to the mean of the target class than to
        that of their own.
    """
    to_own, to_target = (
        np.linalg.norm(states - clean.mean(axis=0), axis=1)
        for clean in (own, target)
    )
    return float((to_target < to_own).mean())


def _verify_crossed(answer):
    rng = np.random.default_rng(0)
    own, target = (
        rng.normal(0, 0.1, (30, 3)),
        rng.normal((4, 0, 0), 0.1, (50, 3)),
    )
    require(
        answer(own, own, target) == 0,
        "negative control: rows of the class have not left it",
    )
    require(
        answer(target, own, target) == 1,
        "rows that lie in the target class have crossed over",
    )
    quarter = np.concatenate([own[:3], target[:1]])
    require(
        answer(quarter, own, target) == 0.25,
        "one of four rows has crossed over",
    )
    far = np.array([[0.0, 50.0, 0.0], [4.0, 50.0, 0.0]])
    require(
        answer(far, own, target) == 0.5,
        "rows far from both classes still lie nearer to one of them: compare distances",
    )
    middle = answer(np.array([[1.0]]), np.array([[0.0]]), np.array([[2.0]]))
    require(
        middle == 0, "a row in the middle is not nearer to the target class"
    )


check_crossed_over = Exercise(
    crossed_over,
    _verify_crossed,
    title="Where a sentence lies",
    difficulty=3,
    importance=3,
    minutes=15,
    task="""\
The last figure of this chapter as a number.

1. Compare the Euclidean distances to the two class means.
2. Return the share of rows that lie nearer to the target class.""",
    toy="crossed_over(np.array([[0.9], [0.2]]), np.array([[0.0]]), np.array([[1.0]]))",
    wrong=(
        ("to_target < to_own", "to_own < to_target", "negative control"),
        (
            "(to_target < to_own).mean()",
            "(to_target < to_own).any()",
            "one of four",
        ),
        (
            "(to_target < to_own).mean()",
            "(to_target < 1).mean()",
            "far from both",
        ),
    ),
)
