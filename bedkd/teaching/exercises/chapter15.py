"""Exercises of the chapter Decoders."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bedkd.teaching.exercises import Exercise, require


def merged_weight(weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """The weight that a layer with a low-rank adapter works with.

    Args:
        weight: of the base, (out, in).
        a: the matrix that reads, (rank, in).
        b: the matrix that writes, (out, rank).
        alpha: scale of the adapter; it is divided by the rank.

    Returns:
        Base and adapter in one matrix, (out, in).
    """
    return weight + alpha / a.shape[0] * (b @ a)


def _verify_merged(answer):
    weight = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]])
    a = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]])
    b = torch.tensor([[2.0, 1.0], [0.0, 4.0]])
    before = weight.clone()
    none = answer(weight, a, torch.zeros(2, 2), 8.0)
    require(
        torch.equal(weight, before),
        "your function changes the base, which other adapters need too",
    )
    require(
        torch.allclose(none, weight),
        "negative control: an adapter whose second matrix is 0 changes nothing",
    )
    made = answer(weight, a, b, 2.0)
    require(
        tuple(made.shape) == (2, 3),
        f"the merged weight has shape {tuple(made.shape)}, not that of the base",
    )
    require(
        torch.allclose(made, weight + b @ a),
        "with alpha equal to the rank the product of b and a is added as it is",
    )
    require(
        torch.allclose(answer(weight, a, b, 4.0), weight + 2 * (b @ a)),
        "twice the alpha adds twice as much",
    )
    one = answer(weight, a[:1], b[:, :1], 3.0)
    require(
        torch.allclose(one, weight + 3 * (b[:, :1] @ a[:1])),
        "alpha is divided by the rank, the number of rows of a",
    )


check_merged_weight = Exercise(
    merged_weight,
    _verify_merged,
    title="Two thin matrices and a thick one",
    difficulty=1,
    importance=5,
    minutes=5,
    task="""\
What an adapter does to a linear layer, in one line.

1. Add the product of the two thin matrices, times `alpha` over the rank, to the weight of the base.
2. Leave the weight that you were given as it is: the base is shared.""",
    toy="merged_weight(torch.eye(2), torch.ones(1, 2), torch.ones(2, 1), 2.0)",
    wrong=(
        (" / a.shape[0]", "", "added as it is"),
        ("a.shape[0]", "a.shape[1]", "added as it is"),
        ("weight + alpha", "alpha", "negative control"),
        ("weight + alpha", "weight.add_(1) + alpha", "changes the base"),
    ),
)


def answer_position(mask: np.ndarray) -> np.ndarray:
    """Where a decoder's classification head reads: at the last real token.

    Args:
        mask: 1 for tokens and 0 for padding, (B, T); every row has at least one
            token, and padding stands on either side.

    Returns:
        Index of the last token of each row, (B,).
    """
    return mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)


def _verify_position(answer):
    right = np.array([[1, 1, 1, 0], [1, 0, 0, 0]])
    left = np.array([[0, 1, 1, 1], [0, 0, 0, 1]])
    full = np.ones((2, 5), int)
    require(
        np.array_equal(answer(full), [4, 4]),
        "without padding the last token is the last position",
    )
    require(
        np.array_equal(answer(right), [2, 0]),
        "with padding on the right you read padding, or too early",
    )
    require(
        np.array_equal(answer(left), [3, 3]),
        "with padding on the left the number of tokens is not the place of the last one",
    )
    both = np.array([[0, 1, 1, 0, 0]])
    require(
        np.array_equal(answer(both), [2]),
        "with padding on both sides the place is wrong",
    )


check_answer_position = Exercise(
    answer_position,
    _verify_position,
    title="Where a decoder answers",
    difficulty=2,
    importance=4,
    minutes=10,
    task="""\
In a decoder a token sees only what stands before it. So the head reads at the last token, the one that has seen all.
Reading at a padding token is a bug that no error message announces.

1. Return the index of the last 1 of each row.
2. Padding may stand on the right, on the left, or on both sides.""",
    toy="answer_position(np.array([[1, 1, 0], [0, 1, 1]]))",
    wrong=(
        ("np.argmax(mask[:, ::-1], axis=1)", "0 * mask[:, 0]", "read padding"),
        (
            "mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)",
            "mask.sum(axis=1) - 1",
            "number of tokens",
        ),
        (
            "mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)",
            "np.argmax(mask, axis=1)",
            "last position",
        ),
    ),
)


def repair_megabytes(total: int, trained: int) -> float:
    """What the weights of a repair take, in megabytes (10⁶ bytes).

    Args:
        total: number of weights of the model.
        trained: how many of them training changes; of the others teacher and
            student share one copy.

    Returns:
        Teacher, student, gradients and the two moments of AdamW, in single
        precision.
    """
    numbers = (total - trained) + 5 * trained
    return numbers * 4 / 1e6


def _verify_megabytes(answer):
    require(
        abs(answer(1_000_000, 0) - 4) < 1e-9,
        "where nothing is trained one copy is enough: four bytes a weight",
    )
    whole = answer(1_000_000, 1_000_000)
    require(
        whole > 8,
        "teacher and student are not all: what does AdamW keep for each weight?",
    )
    require(
        abs(whole - 20) < 1e-9,
        "where all is trained each weight counts five times: teacher, student, "
        "gradient and two moments",
    )
    part = answer(1_000_000, 100_000)
    require(
        abs(part - 5.6) < 1e-9,
        f"planted: of a million weights a tenth is trained, 5.6 MB; you say {part:.1f}. What is "
        "frozen has no gradient, no moments and no second copy",
    )


check_repair_megabytes = Exercise(
    repair_megabytes,
    _verify_megabytes,
    title="What a second model costs",
    difficulty=2,
    importance=4,
    minutes=10,
    task="""\
Before you hand a large model to a repair, say what it will take.

1. Weights that are trained: the teacher's, the student's, a gradient and two moments of AdamW for each.
2. Weights that are frozen: one copy for both.
3. Four bytes a number; a megabyte is a million bytes.""",
    toy="repair_megabytes(134_515_008, 5_000_000)",
    wrong=(
        ("5 * trained", "2 * trained", "what does AdamW keep"),
        ("(total - trained) + ", "total + ", "each weight counts five times"),
        ("(total - trained)", "2 * (total - trained)", "one copy is enough"),
    ),
)


def random_after_loading(
    needed: list[str], base: list[str], adapter: list[str]
) -> list[str]:
    """Weights that nobody stored, and that loading makes up without a word.

    Args:
        needed: names of the classifier's weights.
        base: names in the base's file.
        adapter: names in the adapter's file; weights of the model's own, such
            as its head, have "base_model.model." in front there.

    Returns:
        Names of the weights that would be random, sorted.
    """
    prefix = "base_model.model."
    stored = set(base) | {name.removeprefix(prefix) for name in adapter}
    return sorted(set(needed) - stored)


def _verify_random(answer):
    needed = ["score.weight", "norm.weight", "embed.weight"]
    base = ["embed.weight", "norm.weight", "lm_head.weight"]
    low = ["base_model.model.layer.q.lora_A.weight"]
    head = "base_model.model.score.weight"
    require(
        answer(needed, base, [*low, head]) == [],
        "negative control: the head lies in the adapter's file, under a longer name",
    )
    found = answer(needed, base, low)
    require(
        "score.weight" in found,
        "neither file holds the head, and you do not say so",
    )
    require(
        "lm_head.weight" not in found,
        "what the base has beyond is left aside, it is not random",
    )
    require(
        found == ["score.weight"],
        f"you name {found}, and only the head is in no file",
    )
    require(
        answer(needed, [], low) == sorted(needed),
        "without a base all of its weights are random; sort the names",
    )
    require(
        answer(needed, ["embed.weight", "norm.weight", "score.weight"], low)
        == [],
        "a base may be a classifier, with a head of its own",
    )


check_random_after_loading = Exercise(
    random_after_loading,
    _verify_random,
    title="The head that nobody saved",
    difficulty=2,
    importance=5,
    minutes=10,
    task="""\
A classic accident: an adapter is saved without its classification head, and each loading makes up another one.

1. Collect what the two files hold; take the prefix off the adapter's names.
2. Name what the classifier needs and neither file has, in order.""",
    toy="random_after_loading(['a', 'score'], ['a'], [])",
    wrong=(
        ("name.removeprefix(prefix)", "name", "longer name"),
        ("set(needed) - stored", "stored - set(needed)", "negative control"),
        ("set(base) | ", "", "longer name"),
        ("sorted(set(needed) - stored)", "[]", "you do not say so"),
    ),
)
