"""Exercises of the chapter Directional mapping."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bedkd.teaching.exercises import Exercise, require


def flip_labels(labels: np.ndarray, num_labels: int) -> np.ndarray:
    """A wrong label for every row: the next one, after the last the first.

    Args:
        labels: true labels, (N,).
        num_labels: number of classes K.

    Returns:
        Flipped labels, (N,).
    """
    return (labels + 1) % num_labels


def _verify_flip(answer):
    given = np.array([0, 1, 1, 0])
    made = np.asarray(answer(given.copy(), 2))
    require(
        made.shape == given.shape,
        "there must be one flipped label for every label",
    )
    require(
        (made != given).all(),
        "with two classes some rows kept their true label",
    )
    three = np.array([0, 1, 2, 2])
    made = np.asarray(answer(three.copy(), 3))
    require(
        (made < 3).all() and (made >= 0).all(),
        "with three classes a label does not exist",
    )
    require(
        (made != three).all(),
        "with three classes some rows kept their true label",
    )
    require(
        made.tolist() == [1, 2, 0, 0], "the flipped label is not the next one"
    )
    kept = given.copy()
    answer(given, 2)
    require(
        (given == kept).all(),
        "your function changes the array that it was given",
    )


check_flip_labels = Exercise(
    flip_labels,
    _verify_flip,
    title="Flip labels",
    difficulty=1,
    importance=3,
    minutes=5,
    task="""\
The mapping student learns wrong labels. With two classes there is one wrong label for each row; with more
you have to choose.

1. Give each row the next label, and the last class the first one.
2. Work for any number of classes.
3. Leave the array that you were given as it is.""",
    toy="flip_labels(np.array([0, 1, 2]), 3)",
    wrong=(
        ("(labels + 1) % num_labels", "1 - labels", "does not exist"),
        ("(labels + 1) % num_labels", "labels + 1", "does not exist"),
        (
            "(labels + 1) % num_labels",
            "(labels - 1) % num_labels",
            "not the next",
        ),
    ),
)


def masked_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of two hidden states over real tokens.

    Args:
        student, teacher: hidden states, (B, T, H).
        mask: 1 for real tokens, 0 for padding, (B, T).

    Returns:
        One number.
    """
    squared = (student - teacher).pow(2).mean(dim=-1)
    return (squared * mask).sum() / mask.sum()


def _verify_mse(answer):
    draw = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 2, 5, 4, generator=draw)
    full = torch.ones(2, 5)
    made = torch.as_tensor(answer(a, b, full))
    require(made.numel() == 1, "the loss must be one number")
    require(
        answer(a, a, full).abs() < 1e-9, "equal states must have the loss 0"
    )
    require(made > 0, "different states must have a positive loss")
    require(
        torch.isclose(made, F.mse_loss(a, b)),
        "without padding the loss is not the mean over all tokens and all their numbers",
    )
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    noisy = a.clone()
    noisy[1, 2:] = 100
    require(
        torch.isclose(answer(a, b, mask), answer(noisy, b, mask)),
        "your loss counts padding: it changed when only padded positions did",
    )
    longer = [F.pad(x, (0, 0, 0, 3)) for x in (a, b)]
    require(
        torch.isclose(answer(a, b, mask), answer(*longer, F.pad(mask, (0, 3)))),
        "the loss of row 2 changed when its neighbour grew: what do you divide by?",
    )
    real = mask.bool()
    require(
        torch.isclose(answer(a, b, mask), F.mse_loss(a[real], b[real])),
        "every real token should weigh the same, in short rows and in long ones",
    )


check_masked_mse = Exercise(
    masked_mse,
    _verify_mse,
    title="A loss that does not see padding",
    difficulty=2,
    importance=5,
    minutes=15,
    task="""\
Rows of a batch are padded to the length of the longest. The loss on hidden states must not notice.

1. Compare the states of real tokens only.
2. The result is the mean over all numbers that were compared, so that it does not depend on how much padding there
   is.""",
    toy="masked_mse(torch.ones(1, 3, 2), torch.zeros(1, 3, 2), torch.tensor([[1, 1, 0]]))",
    wrong=(
        (
            "(squared * mask).sum() / mask.sum()",
            "squared.mean()",
            "counts padding",
        ),
        (
            "(squared * mask).sum() / mask.sum()",
            "(squared * mask).mean()",
            "divide by",
        ),
        (".mean(dim=-1)", ".sum(dim=-1)", "is not the mean"),
        (
            "(squared * mask).sum() / mask.sum()",
            "((squared * mask).sum(1) / mask.sum(1)).mean()",
            "weigh the same",
        ),
    ),
)


def given_label_score(logits: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Suspicion of each row: the probability of the label it was given.

    Args:
        logits: what the student says, (N, K).
        given: labels that the rows were given, (N,).

    Returns:
        Probabilities, (N,); large values are suspicious.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    return p[np.arange(len(given)), given]


def _verify_score(answer):
    logits = np.array([[4.0, 0.0], [0.0, 4.0], [0.0, 4.0], [1.0, 1.0]])
    given = np.array([0, 1, 0, 1])
    made = np.asarray(answer(logits, given))
    require(
        made.shape == (4,),
        f"there must be one number a row, not an array {made.shape}",
    )
    require(
        (made >= 0).all() and (made <= 1).all(), "these are no probabilities"
    )
    require(
        made[0] > 0.9,
        "a row whose label the student believes is not suspicious to you",
    )
    require(
        made[2] < 0.1,
        "row 3 has the label that the student does not believe, and you believe it",
    )
    require(
        abs(made[3] - 0.5) < 1e-6,
        "a student without an opinion gives each of 2 classes 0.5",
    )
    require(
        abs(made[0] - 0.982) < 1e-3,
        "the probability of a logit of 4 against 0 is another one",
    )
    big = np.array([[1000.0, 0.0], [0.0, 1000.0]])
    made = np.asarray(answer(big, np.array([0, 0])))
    require(
        np.isfinite(made).all(),
        "large logits overflow: what may you subtract before exp?",
    )
    three = np.asarray(answer(np.zeros((2, 3)), np.array([0, 2])))
    require(
        np.allclose(three, 1 / 3),
        "with three classes and no opinion it should be one third",
    )


check_given_label_score = Exercise(
    given_label_score,
    _verify_score,
    title="Ask the student for the given label",
    difficulty=2,
    importance=4,
    minutes=10,
    task="""\
The score of this chapter, from logits.

1. Turn logits into probabilities; large logits must not overflow.
2. Return for every row the probability of the label that *it was given*, not of the likeliest.""",
    toy="given_label_score(np.array([[0.0, 2.0], [0.0, 2.0]]), np.array([1, 0]))",
    wrong=(
        ("p[np.arange(len(given)), given]", "p.max(axis=1)", "row 3"),
        ("p[np.arange(len(given)), given]", "p[:, given]", "one number a row"),
        ("p[np.arange(len(given)), given]", "p[:, 1]", "not suspicious to you"),
        ("logits - logits.max(axis=1, keepdims=True)", "logits", "overflow"),
    ),
)


def lowest_line(null: np.ndarray, scores: np.ndarray, fdr: float) -> float:
    """The lowest threshold at which few flagged rows are expected to be false.

    Args:
        null: scores of clean held-out rows, (M,).
        scores: scores of the untrusted rows, (N,).
        fdr: largest share of false rows among the flagged ones.

    Returns:
        The threshold, one of the scores, or infinity where no line will do.
    """
    for line in np.sort(scores):
        share = (1 + (null >= line).sum()) / (len(null) + 1)
        if share * len(scores) <= fdr * (scores >= line).sum():
            return float(line)
    return float("inf")


def _verify_line(answer):
    null, bad = np.linspace(0, 0.4, 200), np.linspace(0.8, 1.0, 100)
    scores = np.append(np.linspace(0, 0.4, 300), bad)
    few = answer(np.linspace(0, 0.4, 20), scores, 0.03)
    require(
        np.isinf(few) and few > 0,
        "20 null rows cannot promise 3 false rows in 100; what is the share of a row that lies "
        "above all of them?",
    )
    made = answer(null, scores, 0.03)
    require(made <= 0.81, "the line is higher than it has to be")
    require(made > 0.4, "your line flags clean rows that the null knows")
    require(
        abs(made - 0.8) < 1e-9,
        "with a gap between the groups the line is the lowest bad score",
    )
    clean = answer(null, np.linspace(0, 0.39, 400), 0.05)
    require(
        np.isinf(clean) and clean > 0,
        "negative control: on honest rows you draw a line",
    )
    enough = answer(
        np.linspace(0, 0.4, 99), np.append(np.zeros(80), np.ones(20)), 0.05
    )
    few = answer(
        np.linspace(0, 0.4, 99), np.append(np.zeros(80), np.ones(20)), 0.0498
    )
    require(
        np.isinf(few),
        "one expected false row in 20 is more than an fdr of 0.0498",
    )
    require(
        enough == 1,
        "one expected false row in 20 flagged ones is within an fdr of 0.05",
    )


check_lowest_line = Exercise(
    lowest_line,
    _verify_line,
    title="Draw the line",
    difficulty=4,
    importance=5,
    minutes=25,
    task="""\
The threshold of this chapter, by hand. For a line $t$:

1. The share of clean rows at or above it is estimated as $(1 + m) / (M + 1)$, where $m$ of the $M$ null
   rows are at or above it. (Why the ones? A row above all null rows may still be a clean one.)
2. That share times $N$ is the expected number of false rows.
3. Return the lowest of the scores at which this is at most `fdr` times the number of flagged rows, those at or
   above the line, or infinity.""",
    toy="lowest_line(np.linspace(0, 0.5, 99), np.array([0.1, 0.2, 0.9, 0.9]), 0.05)",
    wrong=(
        (
            "(1 + (null >= line).sum()) / (len(null) + 1)",
            "(null >= line).mean()",
            "20 null rows",
        ),
        (
            "share * len(scores) <= fdr * (scores >= line).sum()",
            "share <= fdr",
            "clean rows that",
        ),
        ("np.sort(scores)", "np.sort(scores)[::-1]", "higher than"),
    ),
)
