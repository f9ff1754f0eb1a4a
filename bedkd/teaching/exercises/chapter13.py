"""Exercises of the chapter Debunk this defence."""

from __future__ import annotations

import itertools

import numpy as np

from bedkd.teaching.exercises import Exercise, require


def f1_beside_all(
    poisoned: np.ndarray, flagged: np.ndarray
) -> tuple[float, float]:
    """F1 of a detector, and F1 of flagging every row.

    Args:
        poisoned: which rows are poisoned, (N,) bool, at least one.
        flagged: which rows the detector flags, (N,) bool.

    Returns:
        F1 of the flags and F1 of flagging all rows.
    """
    hits, bad = (poisoned & flagged).sum(), poisoned.sum()
    all_rows = bad + len(poisoned)
    return float(2 * hits / (bad + flagged.sum())), float(2 * bad / all_rows)


def _verify_f1(answer):
    poisoned = np.array([True, True, False, False, False, False, False, False])
    right, of_all = answer(poisoned, poisoned)
    require(
        right == 1, "a detector that is right about every row has an F1 of 1"
    )
    require(
        abs(of_all - 0.4) < 1e-9,
        f"flagging all of 8 rows, 2 of them poisoned: recall 1, precision 1/4, and as F1 you "
        f"say {of_all:.2f}; which mean of the two is it?",
    )
    everything = answer(poisoned, np.ones(8, bool))
    require(
        everything[0] == everything[1],
        "negative control: a detector that flags all rows is level with flagging all rows",
    )
    none = answer(poisoned, np.zeros(8, bool))
    require(none[0] == 0, "no row flagged: nothing is found, F1 is 0")
    require(
        answer(poisoned, ~poisoned)[0] == 0,
        "a detector that flags just the clean rows has an F1 of 0",
    )
    one = np.array([True, False, False, False, False, True, True, False])
    require(
        abs(answer(poisoned, one)[0] - 0.4) < 1e-9,
        "precision 1/3, recall 1/2: F1 is their harmonic mean",
    )
    require(
        abs(answer(poisoned, one)[1] - 0.4) < 1e-9,
        "what flagging all rows gives does not depend on the detector",
    )
    many = answer(~poisoned, poisoned)[1]
    require(
        abs(many - 6 / 7) < 1e-9,
        "6 of 8 rows poisoned: flagging all rows looks very good, and you do not see it",
    )


check_f1_beside_all = Exercise(
    f1_beside_all,
    _verify_f1,
    title="F1 of no detector at all",
    difficulty=1,
    importance=4,
    minutes=10,
    task="""\
An F1 is worth something only above that of the silliest detector: flag everything.

1. F1 is the harmonic mean of precision (of the flagged rows, the share that is poisoned) and recall (of the poisoned
   rows, the share that is flagged), or twice the hits through the number of poisoned plus that of flagged rows.
2. Return that of the flags and that of flagging all rows.
3. A detector that finds nothing has an F1 of 0, also if it flags nothing.""",
    toy="f1_beside_all(np.array([True, False, False]), np.array([False, True, True]))",
    wrong=(
        (
            "float(2 * bad / all_rows)",
            "float((bad / len(poisoned) + 1) / 2)",
            "which mean",
        ),
        (
            "2 * hits / (bad + flagged.sum())",
            "(poisoned == flagged).mean()",
            "level with",
        ),
        ("2 * hits / (bad + flagged.sum())", "hits / bad", "level with"),
        (
            "2 * hits / (bad + flagged.sum())",
            "2 / (flagged.sum() / hits + bad / hits)",
            "F1 is 0",
        ),
    ),
)


def paired_difference(
    ours: dict[int, float], theirs: dict[int, float]
) -> tuple[float, float]:
    """Difference of two methods over the seeds that both were run with.

    Args:
        ours, theirs: a number for each seed; at least one seed in common.

    Returns:
        Mean of ours minus theirs, seed by seed, and the sample standard
        deviation of these differences; of a single one it is nan.
    """
    seeds = ours.keys() & theirs.keys()
    gaps = np.array([ours[seed] - theirs[seed] for seed in seeds])
    spread = np.nan if len(gaps) == 1 else gaps.std(ddof=1)
    return float(gaps.mean()), float(spread)


def _verify_paired(answer):
    theirs = {0: 0.25, 1: 0.5, 2: 0.75}
    mean, spread = answer({0: 0.375, 1: 0.625, 2: 0.875}, theirs)
    require(
        mean == 0.125,
        "ours is higher by 1/8 with every seed; what is the sign, and what the mean?",
    )
    require(
        abs(spread) < 1e-9,
        "negative control: the difference is the same with every seed, so it has no spread, "
        "however much both methods vary",
    )
    mean, spread = answer({2: 0.875, 0: 0.375, 1: 0.625}, theirs)
    require(
        abs(mean - 0.125) < 1e-9 and abs(spread) < 1e-9,
        "the order in which seeds were run must not matter: which run belongs to which?",
    )
    mean, spread = answer({0: 0.375, 1: 0.625, 2: 0.875, 9: 0.0}, theirs)
    require(
        abs(mean - 0.125) < 1e-9,
        "a seed that only one method was run with cannot be compared",
    )
    mean, spread = answer({0: 0.25, 1: 0.75, 2: 1.25}, theirs)
    require(
        abs(spread - 0.25) < 1e-9,
        f"differences of 0, 1/4 and 1/2 have the sample deviation 1/4, yours {spread:.3f}: what "
        "do you divide by?",
    )
    mean, spread = answer({0: 0.25, 1: 0.75}, theirs)
    require(
        abs(spread - 0.125 * 2**0.5) < 1e-9,
        "two differences have a spread already",
    )
    mean, spread = answer({1: 0.625}, theirs)
    require(mean == 0.125, "of one difference the mean is that difference")
    require(
        spread != spread,
        "one seed says nothing about the spread: nan, not a number",
    )


check_paired_difference = Exercise(
    paired_difference,
    _verify_paired,
    title="Seed by seed",
    difficulty=2,
    importance=4,
    minutes=15,
    task="""\
Two methods that start from the same victims are compared victim by victim: a hard seed is hard for both.

1. Take the seeds that both were run with, and for each of them ours minus theirs.
2. Return the mean of these differences and their *sample* standard deviation.
3. Of a single difference the spread is `nan`.""",
    toy="paired_difference({0: 0.3, 1: 0.5}, {0: 0.2, 1: 0.3, 2: 0.9})",
    wrong=(
        ("ddof=1", "ddof=0", "divide by"),
        ("ours[seed] - theirs[seed]", "theirs[seed] - ours[seed]", "the sign"),
        (
            "[ours[seed] - theirs[seed] for seed in seeds]",
            "[a - b for a, b in zip(ours.values(), theirs.values())]",
            "belongs to which",
        ),
        (
            "gaps.std(ddof=1)",
            "np.hypot(*(np.std([*x.values()], ddof=1) for x in (ours, theirs)))",
            "however much",
        ),
        ("np.nan", "0.0", "nothing about the spread"),
    ),
)


def turned_round(runs: dict[str, dict[str, float]], margin: float) -> list[str]:
    """Runs whose ASR is too good to be true.

    Args:
        runs: for each run "asr" and "floor"; "right", the share of right
            answers on triggered rows of the target class, and "ceiling", the
            same for a model without poison.
        margin: how far below its ceiling the target class may be.

    Returns:
        Names of the runs that are turned round, lowest ASR first.
    """
    turned = [
        name
        for name, run in runs.items()
        if run["asr"] < run["floor"] and run["ceiling"] - run["right"] > margin
    ]
    return sorted(turned, key=lambda name: runs[name]["asr"])


def _verify_turned(answer):
    def run(asr, floor, right, ceiling):
        names = "asr", "floor", "right", "ceiling"
        return dict(zip(names, (asr, floor, right, ceiling), strict=True))

    def one(*numbers):
        return list(answer({"run": run(*numbers)}, 0.25))

    require(
        one(0.01, 0.09, 0.2, 0.9) == ["run"],
        "an ASR of 1 % beside a floor of 9 %, and 7 in 10 of the target class lost: that is "
        "turned round",
    )
    require(
        one(0.03, 0.09, 0.88, 0.9) == [],
        "negative control: ASR is a little below its floor and the target class is whole",
    )
    require(
        one(0.04, 0.02, 0.5, 0.9) == [],
        "negative control: a low ASR that is not below its floor is what an honest model has; the "
        "target class suffers from something else",
    )
    require(
        one(0.6, 0.09, 0.3, 0.9) == [],
        "a run with an ASR of 60 % is spoilt, but no good ASR has to be explained",
    )
    require(
        one(0.08, 0.3, 0.2, 0.9) == ["run"],
        "the floor of this victim is 30 %: an ASR of 8 % is far below what is honest",
    )
    require(
        one(0.01, 0.09, 0.2, 0.25) == [],
        "negative control: a model without poison is hardly better on the target class",
    )
    require(
        one(0.09, 0.09, 0.2, 0.9) == [], "at the floor is not below the floor"
    )
    require(
        one(0.01, 0.09, 0.5, 0.75) == [],
        "just as far below the ceiling as the margin allows is allowed",
    )
    found = answer(
        {
            "b": run(0.02, 0.09, 0.1, 0.9),
            "good": run(0.08, 0.09, 0.9, 0.9),
            "a": run(0.0, 0.09, 0.3, 0.9),
        },
        0.25,
    )
    require(
        list(found) == ["a", "b"],
        "of two runs that are turned round the one with the lowest ASR comes first",
    )


check_turned_round = Exercise(
    turned_round,
    _verify_turned,
    title="The best runs, looked at again",
    difficulty=2,
    importance=5,
    minutes=15,
    task="""\
A table that is sorted by ASR has its inversions at the top.

1. An ASR is too good to be true if it is below its floor *and* the target class is more than `margin` below its
   ceiling: the trigger was turned round.
2. Return the names of these runs, those with the lowest ASR first.""",
    toy="turned_round({'run': {'asr': 0.0, 'floor': 0.1, 'right': 0.2, 'ceiling': 0.9}}, 0.1)",
    wrong=(
        ('run["asr"] < run["floor"]', 'run["asr"] < 0.05', "not below"),
        (
            ' and run["ceiling"] - run["right"] > margin',
            "",
            "target class is whole",
        ),
        (
            'run["asr"] < run["floor"] and ',
            "",
            "something else",
        ),
        ('run["ceiling"] - run["right"]', '1 - run["right"]', "hardly better"),
        (
            'sorted(turned, key=lambda name: runs[name]["asr"])',
            "turned",
            "comes first",
        ),
    ),
)


def luck(values: list[float], n: int) -> float:
    """How much better the best of n runs looks than a run does on average.

    Args:
        values: ASR of runs that differ by their seed only; lower is better.
        n: number of runs among which the best is chosen, 1 to all.

    Returns:
        Mean of all values minus the mean of the lowest of n of them, over all
        choices of n runs.
    """
    best = [min(chosen) for chosen in itertools.combinations(values, n)]
    return float(np.mean(values) - np.mean(best))


def _verify_luck(answer):
    values = [0.5, 0.125, 0.25, 0.625]
    require(
        abs(answer(values, 1)) < 1e-9,
        "negative control: who runs once chooses nothing, and has no luck on average",
    )
    require(
        abs(answer([0.25] * 4, 3)) < 1e-9,
        "negative control: among equal runs there is nothing to choose",
    )
    require(
        answer(values, 4) > 0,
        "the lowest ASR looks better than the mean: luck is above 0",
    )
    require(
        abs(answer(values, 4) - 0.25) < 1e-9,
        "who may choose among all four runs shows the lowest of all",
    )
    require(
        answer(values, 2) < answer(values, 3) < answer(values, 4),
        "the more runs, the more luck",
    )
    made = answer(values, 2)
    require(
        abs(made - 7 / 48) < 1e-9,
        f"the six pairs of four runs have the lowest values 1/8 (three times), 1/4 (twice) and "
        f"1/2: a luck of 0.146, not {made:.3f}",
    )
    made = answer([0.25, 0.75, 0.75], 2)
    require(
        abs(made - 1 / 6) < 1e-9, "two runs with the same value are two runs"
    )


check_luck = Exercise(
    luck,
    _verify_luck,
    title="Best of n",
    difficulty=3,
    importance=4,
    minutes=15,
    task="""\
Nothing is better about the best of three seeds but its luck. How much luck is that?

1. Take every choice of `n` different runs. (`itertools.combinations` lists them.) Whoever made these runs reports the
   lowest value.
2. Return by how much the mean of what is reported is below the mean of all runs.
3. Before you run the check: what must it be for `n = 1`, and what for all runs?""",
    toy="luck([0.2, 0.4, 0.6], 2)",
    wrong=(
        (
            "[min(chosen) for chosen in itertools.combinations(values, n)]",
            "min(values)",
            "runs once",
        ),
        ("min(chosen)", "max(chosen)", "luck is above 0"),
        (
            "itertools.combinations(values, n)",
            "itertools.product(values, repeat=n)",
            "lowest of all",
        ),
        (
            "itertools.combinations(values, n)",
            "itertools.combinations(sorted(set(values)), min(n, len(set(values))))",
            "two runs",
        ),
        (
            "np.mean(values) - np.mean(best)",
            "np.mean(best) - np.mean(values)",
            "luck is above 0",
        ),
    ),
)
