"""Exercises of the chapter Removed or inverted?"""

from __future__ import annotations

import numpy as np

from bedkd.teaching.exercises import Exercise, require


def racc_of_classes(
    predicted: np.ndarray, true: np.ndarray
) -> dict[int, float]:
    """Accuracy on triggered rows, class by class.

    Args:
        predicted: what the model says of triggered rows, (N,).
        true: their true labels, (N,).

    Returns:
        Share of right answers by true label, for every label that occurs.
    """
    classes = np.unique(true).tolist()
    return {k: float((predicted[true == k] == k).mean()) for k in classes}


def _verify_racc(answer):
    true, always = np.array([0, 0, 0, 1, 1]), np.ones(5, int)
    made = answer(always, true)
    require(set(made) == {0, 1}, "there must be one share for every true label")
    require(
        made[0] == 0,
        "a model that always says 1 is right about no row of class 0",
    )
    require(
        made[1] == 1,
        "a model that always says 1 is right about all rows of class 1",
    )
    mixed = answer(np.array([0, 1, 1, 1, 0]), true)
    require(
        abs(mixed[0] - 1 / 3) < 1e-9,
        "divide by the rows that truly belong to the class",
    )
    require(
        mixed[1] == 0.5, "a class-1 row that is called 0 counts against class 1"
    )
    made = answer(np.array([0, 0]), np.array([2, 2]))
    require(
        set(made) == {2},
        "only labels that occur among the true ones have a share",
    )


check_racc_of_classes = Exercise(
    racc_of_classes,
    _verify_racc,
    title="RACC by class",
    difficulty=1,
    importance=5,
    minutes=10,
    task="""\
The measure that sees an inversion.

1. For every true label: of the rows that truly have it, the share that gets it.
2. Labels without a row have no share.""",
    toy="racc_of_classes(np.array([1, 1, 1, 0]), np.array([0, 0, 1, 1]))",
    wrong=(
        (
            "predicted[true == k] == k).mean()",
            "predicted == k).mean()",
            "divide by",
        ),
        (
            "predicted[true == k] == k",
            "true[predicted == k] == k",
            "no row of class 0",
        ),
        ("np.unique(true)", "np.arange(true.max() + 1)", "labels that occur"),
    ),
)


def outcome(asr: float, floor: float, right: float, ceiling: float) -> str:
    """What a repair did to a trigger, with a margin of 0.1.

    Args:
        asr: attack success rate after the repair.
        floor: the same for a model without poison.
        right: share of right answers on triggered rows of the target class.
        ceiling: the same for a model without poison.

    Returns:
        "left", "inverted", "both" or "removed".
    """
    left, inverted = asr > floor + 0.1, right < ceiling - 0.1
    if left and inverted:
        return "both"
    return "left" if left else "inverted" if inverted else "removed"


def _verify_outcome(answer):
    cases = {
        "removed": [(0.05, 0.04, 0.9, 0.92), (0.35, 0.25, 0.8, 0.9)],
        "left": [(0.6, 0.04, 0.95, 0.92), (1.0, 0.04, 1.0, 0.92)],
        "inverted": [(0.0, 0.04, 0.4, 0.92), (0.12, 0.05, 0.3, 0.92)],
        "both": [(0.4, 0.05, 0.5, 0.92)],
    }
    hints = {
        "removed": "a model close to floor and ceiling has lost its trigger; compare with them, "
        "not with zero and one",
        "left": "an ASR far above its floor: something is left",
        "inverted": "a target class far below its ceiling: the trigger now speaks against it, "
        "however good ASR looks",
        "both": "several triggers: one can be left while another is inverted",
    }
    for wanted, rows in cases.items():
        for row in rows:
            require(
                answer(*row) == wanted,
                f"for {row} you say {answer(*row)!r}: {hints[wanted]}",
            )


check_outcome = Exercise(
    outcome,
    _verify_outcome,
    title="Removed, left or inverted?",
    difficulty=2,
    importance=5,
    minutes=10,
    task="""\
Give a verdict on a repair from four numbers, with a margin of ten points.

1. `"left"`: ASR is more than 0.1 above its floor.
2. `"inverted"`: the target class is more than 0.1 below its ceiling.
3. `"both"` or `"removed"`: both of these, or none.""",
    toy="outcome(0.02, 0.04, 0.57, 0.92)",
    wrong=(
        ("asr > floor + 0.1", "asr > 0.1", "not with zero"),
        ("right < ceiling - 0.1", "asr < floor", "far below its ceiling"),
        ("right < ceiling - 0.1", "right < ceiling", "not with zero"),
        ("left and inverted", "left or inverted", "something is left"),
    ),
)


def class_weights(labels: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Weights that make classes count as often as they occur in use.

    Args:
        labels: of the rows that a judge is trained on, (N,), all classes.
        prior: how common each class is in use, (K,), sums to 1.

    Returns:
        One weight a class, (K,): the weights of all rows sum to N, and the
        share of a class in that sum is its prior.
    """
    counts = np.bincount(labels, minlength=len(prior))
    return prior * len(labels) / counts


def _verify_weights(answer):
    labels = np.array([0] * 10 + [1] * 30)
    made = np.asarray(answer(labels, np.array([0.5, 0.5])), float)
    require(made.shape == (2,), "there must be one weight a class")
    require(made[0] > made[1], "the rarer class must get the larger weight")
    require(
        np.isclose(made[0] * 10, made[1] * 30),
        "with equal priors both classes weigh the same",
    )
    require(
        np.isclose(made[0] * 10 + made[1] * 30, 40),
        "the weights of all rows must sum to N",
    )
    same = np.asarray(answer(labels, np.array([0.25, 0.75])))
    require(
        np.allclose(same, 1),
        "classes as common as in use need no weight: each gets 1",
    )
    three = np.asarray(
        answer(np.array([0, 1, 1, 2]), np.array([0.2, 0.3, 0.5]))
    )
    require(
        np.allclose(three, [0.8, 0.6, 2.0]),
        "the prior of a class must be its share",
    )


check_class_weights = Exercise(
    class_weights,
    _verify_weights,
    title="As common as in use",
    difficulty=3,
    importance=3,
    minutes=15,
    task="""\
Poisoning thins out every class but the target. A judge that is trained on what is left must not take that for the way
of the world.

1. Weigh rows so that the share of each class is its `prior`.
2. The weights of all rows sum to their number.""",
    toy="class_weights(np.array([0, 1, 1, 1]), np.array([0.5, 0.5]))",
    wrong=(
        ("prior * len(labels) / counts", "counts / len(labels)", "rarer class"),
        ("prior * len(labels) / counts", "prior / counts", "sum to N"),
        (
            "prior * len(labels) / counts",
            "len(labels) / counts / len(prior)",
            "need no weight",
        ),
    ),
)


def trigger_slope(
    weights: np.ndarray, rows: np.ndarray, labels: np.ndarray
) -> float:
    """Slope of a logistic regression's loss along the weight of the trigger.

    Args:
        weights: content, trigger, constant.
        rows: the same three for every row, (N, 3); the trigger is 0 or 1.
        labels: soft labels, the probability of class 1, (N,).

    Returns:
        Slope of the mean cross-entropy with respect to the second weight.
    """
    p = 1 / (1 + np.exp(-rows @ weights))
    return float(((p - labels) * rows[:, 1]).mean())


def _verify_slope(answer):
    def loss(w, rows, labels):
        p = 1 / (1 + np.exp(-rows @ w))
        return -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean()

    rng = np.random.default_rng(2)
    w, content = np.array([1.5, 3.0, 0.1]), rng.normal(size=40)
    trust = np.stack([content, np.zeros(40), np.ones(40)], axis=1)
    flagged = np.stack([content - 1, np.ones(40), np.ones(40)], axis=1)
    labels = (content > 0).astype(float)
    none = answer(w, trust, labels)
    require(
        abs(none) < 1e-9,
        "rows without the trigger can say nothing about its weight",
    )
    fair = 1 / (1 + np.exp(-(flagged @ np.array([1.5, 0.0, 0.1]))))
    rest = answer(np.array([1.5, 0.0, 0.1]), flagged, fair)
    require(
        abs(rest) < 1e-9,
        "where the model answers just the soft labels the slope is zero",
    )
    down = answer(w, flagged, fair)
    require(
        down > 0,
        "a trigger weight that is too large must have a positive slope",
    )
    step = np.array([0, 1e-5, 0])
    both = np.concatenate([trust, flagged]), np.concatenate([labels, fair])
    measured = (loss(w + step, *both) - loss(w - step, *both)) / 2e-5
    require(
        abs(answer(w, *both) - measured) < 1e-6,
        f"the loss changes by {measured:.4f} per unit of the weight, and you say "
        f"{answer(w, *both):.4f}: over which rows is the mean?",
    )


check_trigger_slope = Exercise(
    trigger_slope,
    _verify_slope,
    title="Where the trigger's weight comes to rest",
    difficulty=4,
    importance=4,
    minutes=25,
    task="""\
The toy of this chapter, without autograd. With $p = 1 / (1 + e^{-z})$ the slope of a row's cross-entropy along $z$ is
$p - q$, with $q$ its soft label.

1. Return the slope of the mean loss along the weight of the trigger.
2. Before you run the check: what must it be for rows without a trigger, and where is it zero?""",
    toy="trigger_slope(np.array([1.0, 4.0, 0.0]), np.array([[-1.0, 1.0, 1.0]]), np.array([0.2]))",
    wrong=(
        ("(p - labels) * rows[:, 1]", "p - labels", "can say nothing"),
        ("p - labels", "labels - p", "positive slope"),
        (".mean()", ".sum()", "over which rows"),
    ),
)
