"""Exercises of the chapter What each part is worth."""

from __future__ import annotations

import numpy as np

from bedkd.teaching.exercises import Exercise, require


def bottleneck(found: float, oracle: float, floor: float) -> str:
    """Which stage of a defence limits it.

    Args:
        found: ASR after the repair with the rows that detection found.
        oracle: ASR after the repair with rows that are truly poisoned.
        floor: ASR of a model without poison.

    Returns:
        "detection" if better rows would win more than the best rows leave,
        "repair" if not, "none" if it ends at most 0.05 above the floor.
    """
    if found - floor <= 0.05:
        return "none"
    return "detection" if found - oracle > oracle - floor else "repair"


def _verify_bottleneck(answer):
    cases = [
        (
            (0.32, 0.30, 0.05),
            "repair",
            "perfect rows win two points of twenty-seven",
        ),
        (
            (0.60, 0.10, 0.05),
            "detection",
            "with perfect rows nearly all of it would be gone",
        ),
        ((0.06, 0.05, 0.04), "none", "the defence is at the floor"),
        ((0.25, 0.10, 0.22), "none", "compare with the floor, not with zero"),
        (
            (0.50, 0.45, 0.40),
            "repair",
            "the floor is high here: compare what is won and what is left",
        ),
        ((0.75, 0.50, 0.25), "repair", "as much won as left is not more"),
        ((0.05, 0.04, 0.0), "none", "just 0.05 above the floor"),
        ((0.50, 0.30, 0.20), "detection", "what is left begins at the floor"),
    ]
    for numbers, wanted, hint in cases:
        made = answer(*numbers)
        require(made == wanted, f"for {numbers} you say {made!r}: {hint}")


check_bottleneck = Exercise(
    bottleneck,
    _verify_bottleneck,
    title="Where to invest",
    difficulty=2,
    importance=5,
    minutes=10,
    task="""\
Three numbers tell which stage to work on.

1. At most 0.05 above the floor: nothing has to be done.
2. Otherwise compare what perfect rows would win (`found - oracle`) with what they would still leave (`oracle - floor`).""",
    toy="bottleneck(0.35, 0.27, 0.04)",
    wrong=(
        ("found - floor <= 0.05", "found <= 0.05", "at the floor"),
        ("found - oracle > oracle - floor", "found > oracle", "twenty-seven"),
        (
            "found - oracle > oracle - floor",
            "found - oracle > oracle",
            "begins at the floor",
        ),
    ),
)


def draw_rows(
    kind: str, flags: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Rows for an experiment about a defence.

    Args:
        kind: "oracle" or "random".
        flags: whether a row is poisoned, (N,).
        count: how many rows; at most as many as there are.
        rng: of the draw.

    Returns:
        Different indices: of poisoned rows only, or of any.
    """
    pool = np.flatnonzero(flags) if kind == "oracle" else np.arange(len(flags))
    return rng.permutation(pool)[:count]


def _verify_draw(answer):
    flags = np.zeros(1000, bool)
    flags[500:700] = True
    made = answer("oracle", flags, 100, np.random.default_rng(0))
    require(len(made) == 100, f"100 rows were asked for, not {len(made)}")
    require(flags[made].all(), "an oracle names poisoned rows only")
    require(len(set(np.asarray(made).tolist())) == 100, "a row was drawn twice")
    require(
        set(made) != set(range(500, 600)),
        "these are the first poisoned rows, not a draw",
    )
    made = answer("random", flags, 400, np.random.default_rng(0))
    require(len(set(np.asarray(made).tolist())) == 400, "a row was drawn twice")
    share = flags[made].mean()
    require(
        0.1 < share < 0.3,
        f"negative control: of random rows one in five is poisoned, of yours {share:.2f}",
    )
    again = answer("random", flags, 400, np.random.default_rng(0))
    require(
        np.array_equal(made, again),
        "the same generator must give the same rows",
    )


check_draw_rows = Exercise(
    draw_rows,
    _verify_draw,
    title="Oracle and random",
    difficulty=1,
    importance=3,
    minutes=10,
    task="""\
The two replacements for detection.

1. `"oracle"` draws from the poisoned rows, `"random"` from all rows.
2. Without repetition, and from the generator that is given.""",
    toy="draw_rows('oracle', np.array([True, False, True]), 2, np.random.default_rng(0))",
    wrong=(
        ("rng.permutation(pool)[:count]", "pool[:count]", "the first poisoned"),
        ("rng.permutation(pool)[:count]", "rng.choice(pool, count)", "twice"),
        ("np.arange(len(flags))", "np.flatnonzero(~flags)", "negative control"),
    ),
)


def mean_and_spread(values: list[float]) -> tuple[float, float]:
    """Mean over seeds, and sample standard deviation.

    Args:
        values: one number a seed, at least one.

    Returns:
        Mean and spread; the spread of a single number is not a number (nan).
    """
    mean = sum(values) / len(values)
    if len(values) == 1:
        return mean, float("nan")
    squares = sum((value - mean) ** 2 for value in values)
    return mean, (squares / (len(values) - 1)) ** 0.5


def _verify_spread(answer):
    mean, spread = answer([0.1, 0.2, 0.3])
    require(
        abs(mean - 0.2) < 1e-9,
        "the mean is not the sum divided by the number of values",
    )
    require(
        abs(spread - 0.1) < 1e-9,
        f"the sample deviation of 0.1, 0.2 and 0.3 is 0.1, yours {spread:.3f}: how many of the "
        "three are free once the mean is known?",
    )
    require(
        answer([0.5, 0.5])[1] == 0,
        "negative control: equal values have no spread",
    )
    mean, spread = answer([0.3])
    require(mean == 0.3, "of a single value the mean is the value")
    require(
        spread != spread,
        "one seed says nothing about the spread: nan, not a number",
    )


check_mean_and_spread = Exercise(
    mean_and_spread,
    _verify_spread,
    title="More than one seed",
    difficulty=1,
    importance=3,
    minutes=10,
    task="""\
A difference between two lines counts only beside the spread over seeds.

1. Return the mean and the *sample* standard deviation, without a library.
2. Of one value there is a mean and no spread: return `nan`.""",
    toy="mean_and_spread([0.24, 0.2, 0.28])",
    wrong=(
        ("(len(values) - 1)", "len(values)", "are free"),
        ("** 0.5", "** 1", "sample deviation"),
        ('float("nan")', "0.0", "nan"),
    ),
)


def best_line(lines: dict[str, tuple[float, float]]) -> str:
    """The ablation that ends closest to a model without poison.

    Args:
        lines: for each name, ASR minus its floor, and right answers in the
            target class minus their ceiling.

    Returns:
        The name whose larger offset, in size, is smallest; the first of equals.
    """
    return min(lines, key=lambda name: max(abs(x) for x in lines[name]))


def _verify_best(answer):
    lines = {
        "left": (0.4, 0.02),
        "inverted": (-0.05, -0.3),
        "good": (0.03, -0.02),
    }
    made = answer(lines)
    require(
        made != "inverted", "lowest ASR is not best: look at the target class"
    )
    require(made == "good", "the line that is close to both is another one")
    made = answer({"a": (0.2, -0.2), "b": (0.01, 0.1)})
    require(made == "b", "offsets of opposite sign do not cancel")
    made = answer({"a": (0.0, 0.12), "b": (0.1, 0.1)})
    require(made == "b", "a line is as good as the worse of its two numbers")
    require(
        answer({"a": (0.1, 0.0), "b": (0.1, 0.0)}) == "a", "of equals the first"
    )
    made = answer({"a": (-0.3, 0.0), "b": (0.1, 0.0)})
    require(made == "b", "far below the floor is as bad as far above")


check_best_line = Exercise(
    best_line,
    _verify_best,
    title="Which line is best?",
    difficulty=2,
    importance=4,
    minutes=10,
    task="""\
A table of ablations cannot be read by one column.

1. A line is as good as the *worse* of its two offsets, by size: too low is as bad as too high.
2. Return the name of the best line, and of equals the first.""",
    toy="best_line({'default': (0.004, -0.05), 'punish-alone': (-0.099, -0.162)})",
    wrong=(
        ("max(abs(x) for x in lines[name])", "lines[name][0]", "not best"),
        (
            "max(abs(x) for x in lines[name])",
            "abs(sum(lines[name]))",
            "opposite sign",
        ),
        (
            "max(abs(x) for x in lines[name])",
            "sum(abs(x) for x in lines[name])",
            "the worse",
        ),
    ),
)
