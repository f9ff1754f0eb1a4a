"""Exercises of the chapter Making it fast."""

from __future__ import annotations

import numpy as np

from bedkd.teaching.exercises import Exercise, require


def positions(lengths: np.ndarray, batches: list[np.ndarray]) -> int:
    """How many token positions a model computes for padded batches.

    Args:
        lengths: number of tokens of each row, (N,).
        batches: for each batch the numbers of its rows.

    Returns:
        Positions of all batches, padding among them.
    """
    return sum(len(batch) * int(lengths[batch].max()) for batch in batches)


def _verify_positions(answer):
    lengths = np.array([3, 9, 4, 2])
    one, two = np.array([0, 1]), np.array([2, 3])
    require(
        answer(np.array([5, 5, 5]), [np.array([0, 1, 2])]) == 15,
        "negative control: rows of one length need no padding",
    )
    require(
        answer(lengths, [one]) != 12,
        "you count tokens; the short row is padded to the longest of its batch",
    )
    require(
        answer(lengths, [one, two]) != 36,
        "a batch is padded to its own longest row, not to the longest of all",
    )
    require(
        answer(lengths, [one, two]) == 26,
        "every row of a batch has as many positions as its longest",
    )
    alone = [np.array([i]) for i in range(4)]
    require(answer(lengths, alone) == 18, "batches of one row have no padding")
    require(answer(lengths, []) == 0, "no batches, no positions")


check_positions = Exercise(
    positions,
    _verify_positions,
    title="What padding costs",
    difficulty=1,
    importance=5,
    minutes=5,
    task="""\
A batch is a rectangle: as many rows as it has, each as long as the longest of them.

1. Count the positions of all rectangles.
2. A row's length is that of the set; a batch names its rows by their numbers.""",
    toy="positions(np.array([3, 9]), [np.array([0, 1])])",
    wrong=(
        (
            "len(batch) * int(lengths[batch].max())",
            "int(lengths[batch].sum())",
            "count tokens",
        ),
        ("lengths[batch].max()", "lengths.max()", "its own longest row"),
        ("len(batch) * ", "", "negative control"),
    ),
)


def speedup(parts: dict[str, float], part: str, factor: float) -> float:
    """How much faster the whole gets if one part gets faster.

    Args:
        parts: seconds by part; together they are the whole.
        part: the part that is made faster.
        factor: how many times as fast it gets.

    Returns:
        How many times as fast the whole gets.
    """
    whole = sum(parts.values())
    return whole / (whole - parts[part] + parts[part] / factor)


def _verify_speedup(answer):
    parts = {"scan": 60.0, "mapping": 30.0, "report": 10.0}
    require(
        np.isclose(answer(parts, "scan", 1.0), 1.0),
        "negative control: a part that stays as it is changes nothing",
    )
    require(
        not np.isclose(answer(parts, "scan", 2.0), 70 / 100),
        "you return the share of the seconds that is left, not how many times as fast",
    )
    require(
        np.isclose(answer({"all": 8.0}, "all", 4.0), 4.0),
        "if there is nothing else, the whole gets as much faster as the part",
    )
    require(
        np.isclose(answer(parts, "scan", 2.0), 100 / 70),
        "half of the seconds of that part are gone, and none of the others",
    )
    require(
        answer(parts, "report", 1e9) < 1.12,
        "a part of a tenth can be made as fast as you like: nine tenths are still there",
    )
    before = dict(parts)
    answer(parts, "mapping", 3.0)
    require(parts == before, "you changed the seconds that you were given")


check_speedup = Exercise(
    speedup,
    _verify_speedup,
    title="What the whole gains",
    difficulty=2,
    importance=5,
    minutes=10,
    task="""\
Before you write anything faster, work out what it could gain (Amdahl's law).

1. One part takes its seconds divided by `factor`; all others take what they took.
2. Return the old total over the new one: 2 means twice as fast.""",
    toy='speedup({"scan": 60.0, "rest": 40.0}, "scan", 2.0)',
    wrong=(
        ("whole / (whole", "(whole", "negative control"),
        (
            " - parts[part] + parts[part] / factor",
            " / factor",
            "half of the seconds",
        ),
        ("return whole /", "return 1 / whole *", "the share of the seconds"),
    ),
)


def exponent(sizes: list[float], seconds: list[float]) -> float:
    """The exponent with which seconds grow with size.

    Args:
        sizes: two or more sizes, above 0.
        seconds: what each of them took, above 0.

    Returns:
        Slope of the least-squares line through the logarithms: 1 where twice
        the size takes twice the time, 2 where it takes four times.
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _verify_exponent(answer):
    sizes = [10.0, 100.0, 1000.0]
    require(
        np.isclose(answer(sizes, [3.0, 3.0, 3.0]), 0.0),
        "negative control: what always takes as long does not grow",
    )
    require(
        np.isclose(answer(sizes, [0.2, 2.0, 20.0]), 1.0),
        "ten times the size, ten times the seconds: the exponent is 1, whatever a row costs",
    )
    require(
        np.isclose(answer([1.0, 2.0, 4.0], [5.0, 20.0, 80.0]), 2.0),
        "twice the size, four times the seconds: the exponent is 2",
    )
    require(
        np.isclose(answer([4.0, 1.0, 2.0], [80.0, 5.0, 20.0]), 2.0),
        "the order of the measurements must not matter",
    )
    noisy = answer([1.0, 10.0, 100.0], [1.0, 12.0, 90.0])
    require(
        np.isclose(noisy, np.log10(90.0) / 2),
        "the line goes through all points as well as it can",
    )


check_exponent = Exercise(
    exponent,
    _verify_exponent,
    title="How it grows",
    difficulty=2,
    importance=4,
    minutes=10,
    task="""\
One measurement says what something costs here. Several say what it will cost elsewhere.

1. Draw the least-squares line through the points (log size, log seconds).
2. Return its slope. The base of the logarithm does not matter, if it is the same for both.""",
    toy="exponent([1, 2, 4], [3.0, 6.0, 12.0])",
    wrong=(
        (
            "np.log(sizes), np.log(seconds)",
            "sizes, np.log(seconds)",
            "the exponent is 1",
        ),
        (
            "np.log(sizes), np.log(seconds)",
            "np.log(seconds), np.log(sizes)",
            "does not grow",
        ),
        ("1)[0]", "1)[1]", "does not grow"),
    ),
)


def epochs_trained(values: list[float], patience: int) -> tuple[int, int]:
    """When early stopping stops, and which epoch it keeps.

    Args:
        values: what is watched after each epoch, for all epochs that there
            could be; smaller is better.
        patience: stop after this number of epochs without a new smallest value.

    Returns:
        Number of epochs that are trained, and number of the epoch whose weights
        are kept, both counted from 1. Of equal values the first is kept.
    """
    best = 0
    for epoch, value in enumerate(values):
        if value < values[best]:
            best = epoch
        elif epoch - best >= patience:
            return epoch + 1, best + 1
    return len(values), best + 1


def _verify_epochs(answer):
    falling = [0.9, 0.8, 0.7, 0.6]
    require(
        tuple(answer(falling, 1)) == (4, 4),
        "negative control: what falls to the end is trained to the end",
    )
    rising = [0.5, 0.6, 0.7, 0.8, 0.9]
    require(
        tuple(answer(rising, 2)) == (3, 1),
        "with patience 2 the second epoch without a smaller value is the last",
    )
    late = [0.9, 0.5, 0.6, 0.4, 0.7, 0.7, 0.7, 0.1]
    require(
        tuple(answer(late, 3)) != (8, 8),
        "you looked at epochs that were never trained",
    )
    require(
        tuple(answer(late, 3)) == (7, 4),
        "a new smallest value gives all of the patience back",
    )
    require(
        tuple(answer([0.5, 0.5, 0.5], 2)) == (3, 1),
        "an equal value is not a smaller one",
    )


check_epochs_trained = Exercise(
    epochs_trained,
    _verify_epochs,
    title="The epochs that are not trained",
    difficulty=3,
    importance=4,
    minutes=15,
    task="""\
The cheapest step is the one that is not made.

1. After each epoch compare its value with the smallest so far.
2. Stop after `patience` epochs in a row without a new smallest value.
3. Return how many epochs were trained, and which one is kept.""",
    toy="epochs_trained([0.9, 0.5, 0.6, 0.7, 0.8], 2)",
    wrong=(
        (">= patience", "> patience", "is the last"),
        ("value < values[best]", "value <= values[best]", "equal value"),
        (
            "return epoch + 1, best + 1\n",
            "return epoch + 1, epoch + 1\n",
            "is the last",
        ),
    ),
)
