"""Exercises of the chapter What other detectors look for."""

from __future__ import annotations

import itertools
import math

import numpy as np

from bedkd.teaching.exercises import Exercise, require


def z_of_word(
    texts: list[str], labels: np.ndarray, word: str, label: int
) -> float:
    """How surprising it is that a word goes with a label.

    Args:
        texts: N texts, words separated by spaces.
        labels: their labels, (N,), not all of them the same.
        word: one word.
        label: a label that occurs.

    Returns:
        Z-score of the label among the rows with the word; 0 if there is none.
    """
    has = np.array([word in text.split() for text in texts])
    share, n = (labels == label).mean(), has.sum()
    if n == 0:
        return 0.0
    spread = np.sqrt(share * (1 - share) / n)
    return float(((labels[has] == label).mean() - share) / spread)


def _verify_z(answer):
    labels = np.array([1, 0, 0, 1])
    require(
        answer(["a", "b", "c", "d"], labels, "tq", 1) == 0,
        "negative control: a word that no row has says nothing about a label",
    )
    made = answer(["cf a", "scoff b", "cfo c", "d cf"], labels, "cf", 1)
    plain = answer(["cf a", "off b", "o c", "d cf"], labels, "cf", 1)
    require(made == plain, '"scoff" and "cfo" are other words than "cf"')
    even = answer(["cf a", "cf b", "c", "d"], labels, "cf", 1)
    require(
        abs(even) < 1e-9,
        "negative control: a word that goes with both labels as often as all rows do has the "
        "score 0",
    )
    require(
        abs(made - 2**0.5) < 1e-9,
        "the word is in 2 rows of 4 and always with the label of one half: the spread is that "
        "of a share of how many rows?",
    )
    twice = answer(["cf cf a", "b", "c", "cf d"], labels, "cf", 1)
    require(
        abs(twice - made) < 1e-9,
        "a row counts once, however often the word stands in it",
    )
    one = answer(["cf", "b", "c"], np.array([1, 0, 0]), "cf", 1)
    require(
        abs(one - 2**0.5) < 1e-9,
        "with one row in three of the label the score of a word in a single row is off: which "
        "share would chance give, and with which spread?",
    )
    avoided = answer(["cf", "b", "c"], np.array([1, 0, 0]), "cf", 0)
    require(
        abs(avoided + 2**0.5) < 1e-9,
        "a word that avoids a label has a negative score",
    )


check_z_of_word = Exercise(
    z_of_word,
    _verify_z,
    title="A word that goes with a label",
    difficulty=2,
    importance=4,
    minutes=15,
    task="""\
A detector that never asks the model. Let $p$ be the share of *all* rows with the label and $p_w$ its share among the
$n$ rows with the word.

1. Return $(p_w - p) / \\sqrt{p (1 - p) / n}$.
2. A row has the word if one of its words is that word, not a part of one. It counts once.
3. A word that no row has gets 0.""",
    toy="z_of_word(['cf good', 'cf bad', 'bad'], np.array([1, 1, 0]), 'cf', 1)",
    wrong=(
        ("word in text.split()", "word in text", "other words"),
        ("(1 - share) / n)", "(1 - share) / len(texts))", "how many rows"),
        ("(1 - share) / n)", "(1 - share))", "how many rows"),
        ("- share) / spread", "- 0.5) / spread", "would chance give"),
        ("n == 0", "n < 0", "no row has"),
    ),
)


def mean_entropy(p: np.ndarray, copies: int) -> np.ndarray:
    """Mean entropy of a model's answers to the copies of each row.

    Args:
        p: probabilities, (N * copies, K): first all copies of the first row,
            then all of the second, and so on; they may be 0.
        copies: number of copies of each row.

    Returns:
        One mean a row, in nats, (N,).
    """
    entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=1)
    return entropy.reshape(len(p) // copies, copies).mean(axis=1)


def _verify_entropy(answer):
    sure, torn = [1.0, 0.0], [0.5, 0.5]
    made = np.asarray(answer(np.array([torn] * 6), 3))
    require(
        made.shape == (2,),
        f"6 answers, 3 copies a row: one number for each row, not {made.shape}",
    )
    require(
        np.allclose(made, np.log(2)),
        "a model that is torn between two classes has the entropy ln 2, about 0.69",
    )
    made = np.asarray(answer(np.array([sure] * 6), 3))
    require(
        np.isfinite(made).all(),
        "a probability of 0 has no logarithm: what does it add to the entropy?",
    )
    require(np.allclose(made, 0), "a model that is always sure has entropy 0")
    planted = np.array([sure] * 3 + [torn] * 3)
    made = np.asarray(answer(planted, 3))
    require(
        abs(made[0]) < 1e-9,
        f"planted: the model is sure of all copies of row 1, and you say {made[0]:.2f}; "
        "whose copies are in that mean?",
    )
    require(
        abs(made[1] - np.log(2)) < 1e-9,
        f"planted: the model is torn on all copies of row 2, and you say {made[1]:.2f}",
    )
    mixed = np.array([sure, torn, sure, sure, torn, torn, torn, sure])
    require(
        np.allclose(answer(mixed, 4), np.log(2) * np.array([0.25, 0.75])),
        "the mean of entropies is asked for, not the entropy of a mean",
    )
    three = np.full((2, 3), 1 / 3)
    require(
        np.allclose(answer(three, 1), np.log(3)),
        "with three classes and no opinion the entropy is ln 3",
    )


check_mean_entropy = Exercise(
    mean_entropy,
    _verify_entropy,
    title="The mean along the right axis",
    difficulty=2,
    importance=5,
    minutes=15,
    task="""\
The score of STRIP, with the place where released code went wrong.

1. Compute the entropy of every answer, $-\\sum_k p_k \\log p_k$; a probability of 0 adds nothing.
2. Return for every *row* the mean over its own copies.
3. Before you run the check: what would you plant to notice that the copies of different rows were mixed?""",
    toy="mean_entropy(np.array([[1.0, 0], [1, 0], [0.5, 0.5], [0.5, 0.5]]), 2)",
    wrong=(
        (
            "reshape(len(p) // copies, copies).mean(axis=1)",
            "reshape(copies, len(p) // copies).mean(axis=0)",
            "whose copies",
        ),
        ("mean(axis=1)", "mean(axis=0)", "for each row"),
        ("np.maximum(p, 1e-12)", "p", "no logarithm"),
        ("np.log(", "np.log2(", "ln 2"),
        (
            "-(p * np.log(np.maximum(p, 1e-12))).sum(axis=1)\n"
            "    return entropy.reshape(len(p) // copies, copies).mean(axis=1)",
            "p.reshape(-1, copies, p.shape[1]).mean(axis=1)\n"
            "    return -(entropy * np.log(np.maximum(entropy, 1e-12))).sum(axis=1)",
            "entropy of a mean",
        ),
    ),
)


def threshold_at(null: np.ndarray, fpr: float) -> float:
    """The lowest threshold that keeps a false positive rate.

    Args:
        null: scores of trusted rows, (M,), in any order.
        fpr: largest probability that a new clean row lies above the threshold.

    Returns:
        One of the null scores, or infinity where there are too few of them.
    """
    rank = math.ceil((len(null) + 1) * (1 - fpr) - 1e-9)
    if rank > len(null):
        return float("inf")
    return float(np.sort(null)[rank - 1])


def _verify_threshold(answer):
    for size, fpr in ((100, 0.05), (20, 0.05), (40, 0.1), (19, 0.05)):
        null = np.random.default_rng(1).permutation(np.arange(size) * 2.0)
        made = answer(null, fpr)
        above, among = int((null > made).sum()), f"{size} trusted rows"
        require(
            made in null or np.isinf(made),
            f"with {among} your threshold is none of their scores",
        )
        require(
            np.isfinite(made),
            f"with {among} and a rate of {fpr} there is a threshold, and you find none",
        )
        require(
            (above + 1) / (size + 1) <= fpr + 1e-9,
            f"with {among} and a rate of {fpr} you leave {above} of them above the threshold; a "
            f"new clean row is one among {size + 1} and is above it too often",
        )
        require(
            made <= null.min() or (above + 2) / (size + 1) > fpr + 1e-9,
            f"with {among} and a rate of {fpr} your threshold is higher than it has to be",
        )
    few = answer(np.arange(18.0), 0.05)
    require(
        np.isinf(few) and few > 0,
        "18 trusted rows: a new clean row is above all of them once in 19 times, and one in 20 "
        "was promised",
    )
    rng = np.random.default_rng(2)
    null, clean = rng.normal(size=(2, 4000, 39))
    over = [answer(a, 0.1) < b[0] for a, b in zip(null, clean, strict=True)]
    require(
        abs(np.mean(over) - 0.1) < 0.02,
        f"negative control: of 4,000 clean rows {np.mean(over):.3f} lie above, not 0.1",
    )


check_threshold_at = Exercise(
    threshold_at,
    _verify_threshold,
    title="A false positive rate that holds",
    difficulty=3,
    importance=5,
    minutes=20,
    task="""\
A threshold from $M$ trusted rows. A new clean row is one more of their kind: each of the $M + 1$ places in the order
of scores is as likely for it as any other. Rows *above* the threshold are flagged.

1. The threshold is one of the null scores. If $j$ of them are above it, at how many of the $M + 1$ places is the
   new row flagged?
2. Return the lowest score with which the probability is at most `fpr`.
3. Where no score does it, return infinity.""",
    toy="threshold_at(np.arange(1.0, 40.0), 0.05)",
    wrong=(
        ("(len(null) + 1)", "len(null)", "above it too often"),
        ("[rank - 1]", "[rank]", "higher than it has to be"),
        ("[rank - 1]", "[rank - 2]", "above it too often"),
        ("np.sort(null)", "null", "with 100 trusted rows"),
        (
            "float(np.sort(null)[rank - 1])",
            "float(np.quantile(null, 1 - fpr))",
            "none of their scores",
        ),
        (
            'return float("inf")',
            "rank = len(null)",
            "one in 20",
        ),
    ),
)


def chance_of_flags(flagged: int, rows: int, null: int, rank: int) -> float:
    """Chance that so many rows are flagged although none is poisoned.

    Args:
        flagged: number of flagged rows, 0 to ``rows``.
        rows: number of untrusted rows N.
        null: number of trusted rows M.
        rank: the threshold is the score of this rank among the trusted rows,
            1 for the smallest, M for the largest.

    Returns:
        Probability that at least ``flagged`` rows lie above the threshold.
    """
    ways = sum(
        math.comb(null - rank + k, k) * math.comb(rank - 1 + rows - k, rows - k)
        for k in range(flagged, rows + 1)
    )
    return ways / math.comb(rows + null, null)


def _brute_force(flagged, rows, null, rank):
    """The same by writing down all orders: the places of the trusted rows."""
    orders = list(itertools.combinations(range(rows + null), null))
    above = [rows - (places[rank - 1] - rank + 1) for places in orders]
    return float(np.mean([number >= flagged for number in above]))


def _verify_chance(answer):
    require(
        abs(answer(0, 5, 4, 3) - 1) < 1e-9,
        "that no row or more is flagged is certain: at least so many, not more than so many",
    )
    made = [float(answer(k, 2, 1, 1)) for k in (0, 1, 2)]
    require(
        made[1] >= made[2], "a larger number of flagged rows is less likely"
    )
    require(
        abs(made[2] - 1 / 3) < 1e-9,
        "one trusted row and two others: the trusted one is the lowest of three in one order of "
        f"three, and you say {made[2]:.2f}; you take the threshold for a fixed one, but it was "
        "drawn as well",
    )
    for case in ((1, 2, 1, 1), (3, 5, 4, 3), (1, 4, 3, 3), (2, 3, 4, 2)):
        wanted = _brute_force(*case)
        require(
            abs(answer(*case) - wanted) < 1e-9,
            f"for {case} all orders were written down: {wanted:.3f}, not {answer(*case):.3f}",
        )
    require(
        answer(60, 1000, 99, 95) > 0.1,
        "negative control: 60 of 1,000 rows are nothing special at a rate of 5 %",
    )
    require(
        answer(250, 1000, 99, 95) < 1e-6,
        "250 of 1,000 rows are far more than chance gives at a rate of 5 %",
    )


check_chance_of_flags = Exercise(
    chance_of_flags,
    _verify_chance,
    title="So many by chance?",
    difficulty=4,
    importance=4,
    minutes=30,
    task="""\
The p-value behind the verdict. Line up the scores of $N$ untrusted and $M$ trusted rows. If no row is poisoned, every
order of the two kinds is as likely as any other, and there are $\\binom{N + M}{M}$ of them.

1. The threshold is the trusted score of the given rank. In how many orders do just $k$ untrusted rows lie above it?
   (Count what can stand above it, and what below.)
2. Return the share of orders with *at least* `flagged` rows above.
3. A beta-binomial distribution from a library gives the same; counting says why.""",
    toy="chance_of_flags(10, 100, 99, 95)",
    wrong=(
        ("range(flagged, rows + 1)", "range(flagged + 1, rows + 1)", "certain"),
        ("range(flagged, rows + 1)", "range(flagged + 1)", "certain"),
        (
            "return ways / math.comb(rows + null, null)",
            "p = (null - rank + 1) / (null + 1)\n"
            "    return sum(math.comb(rows, k) * p**k * (1 - p) ** (rows - k)"
            " for k in range(flagged, rows + 1))",
            "drawn as well",
        ),
        ("null - rank + k", "rank + k", "certain"),
    ),
)
