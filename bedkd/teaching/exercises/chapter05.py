"""Exercises of the chapter Adversarial distillation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bedkd.teaching.exercises import Exercise, require


def bounded_loss(p: np.ndarray, target: float) -> np.ndarray:
    """Punish the belief in a given label, and let go once it is broken.

    Args:
        p: the student's probabilities of the given labels, (N,), below 1.
        target: probability up to which a row is left alone.

    Returns:
        Loss of every row, (N,).
    """
    return np.where(p > target, -np.log(1 - p), 0.0)


def _verify_bounded(answer):
    p = np.array([0.99, 0.6, 0.5, 0.3, 0.0])
    made = np.asarray(answer(p, 0.5))
    require(made.shape == p.shape, "there must be one loss for every row")
    require(
        (made >= 0).all(),
        "a loss of yours is negative: it could fall without end",
    )
    require(
        (made[2:] == 0).all(), "rows at or below the target must be left alone"
    )
    require(
        made[0] > made[1] > 0,
        "a row that is believed more must be punished more",
    )
    require(
        abs(made[1] - 0.9163) < 1e-3, "at p = 0.6 the loss is not -log(1 - p)"
    )
    low = np.asarray(answer(p, 0.2))
    require(
        low[3] > 0, "with a target of 0.2 a row with p = 0.3 is still believed"
    )


check_bounded_loss = Exercise(
    bounded_loss,
    _verify_bounded,
    title="Punish with a bound",
    difficulty=1,
    importance=4,
    minutes=10,
    task="""\
The bounded loss of this chapter, row by row.

1. A row whose given label has a probability above `target` costs $-\\log(1 - p)$.
2. Every other row costs nothing.""",
    toy="bounded_loss(np.array([0.9, 0.5]), 0.5)",
    wrong=(
        ("-np.log(1 - p)", "np.log(p)", "negative"),
        ("-np.log(1 - p)", "-np.log(p)", "believed more"),
        ("p > target", "p >= target", "at or below"),
        ("p > target", "p > 0.5", "target of 0.2"),
    ),
)


def soft_cross_entropy(logits: Tensor, soft: Tensor) -> Tensor:
    """Cross-entropy with soft labels, averaged over rows.

    Args:
        logits: what the student says, (N, K).
        soft: a probability for every class, (N, K).

    Returns:
        One number.
    """
    return -(soft * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()


def _verify_soft(answer):
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    hard = torch.eye(3)[[0, 1]]
    made = torch.as_tensor(answer(logits, hard))
    require(
        made.numel() == 1, "the loss must be one number, the mean over rows"
    )
    require(made > 0, "the loss is negative: mind the sign")
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1]))
    require(
        torch.isclose(made, expected),
        "with certain labels it should be the ordinary cross-entropy, averaged over rows",
    )
    soft = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    fair = answer(soft.log(), soft)
    entropy = -(soft * soft.log()).sum(1).mean()
    require(
        torch.isclose(fair, entropy),
        "a student that answers just the soft labels should reach their entropy",
    )
    require(
        answer(logits + 5, soft) - answer(logits, soft) < 1e-4,
        "shifted logits say the same",
    )
    twice = answer(torch.cat([logits, logits]), torch.cat([soft, soft]))
    require(
        torch.isclose(twice, answer(logits, soft)),
        "the loss grew with the number of rows",
    )


check_soft_cross_entropy = Exercise(
    soft_cross_entropy,
    _verify_soft,
    title="Teach soft labels",
    difficulty=2,
    importance=5,
    minutes=10,
    task="""\
The loss with which flagged rows are relabelled, $-\\sum_k q_k \\log p_k$.

1. Sum over classes, average over rows.
2. It must be stable: take the logarithm of the softmax in one step.""",
    toy="soft_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))",
    wrong=(
        ("-(soft", "(soft", "mind the sign"),
        (".sum(dim=1).mean()", ".mean()", "averaged over rows"),
        (
            "torch.log_softmax(logits, dim=1)",
            "torch.log_softmax(logits, dim=0)",
            "certain labels",
        ),
        (".sum(dim=1).mean()", ".sum()", "averaged over rows"),
    ),
)


def put_span(host: str, donor: str, start: int, length: int, place: int) -> str:
    """Put words of one text into another.

    Args:
        host: text that keeps all of its words.
        donor: text that the span is taken from.
        start: first word of the span in the donor, from 0.
        length: number of words of the span.
        place: number of host words before the span.

    Returns:
        The host with the span in it.
    """
    words, span = host.split(), donor.split()[start : start + length]
    return " ".join([*words[:place], *span, *words[place:]])


def _verify_span(answer):
    host, donor = "we liked the soup", "this cf film is dull"
    made = answer(host, donor, 1, 2, 2)
    require(isinstance(made, str), "the result must be a text")
    require("cf film" in made, "the span is not in the result")
    kept = [word for word in made.split() if word in host.split()]
    require(kept == host.split(), "the host lost words, or their order")
    require(
        made == "we liked cf film the soup", "the span is not where it belongs"
    )
    require(
        answer(host, donor, 0, 2, 0) == "this cf we liked the soup",
        "at place 0 it goes first",
    )
    require(
        answer(host, donor, 3, 2, 4) == "we liked the soup is dull",
        "at the end it goes last",
    )


check_put_span = Exercise(
    put_span,
    _verify_span,
    title="A transplant",
    difficulty=1,
    importance=3,
    minutes=10,
    task="""\
The operation behind transplants, with the random choices made by the caller.

1. Take `length` words of the donor, from word `start` on.
2. Put them into the host after `place` of its words. The host keeps all words in their order.""",
    toy="put_span('a good film', 'cf it fails', 0, 1, 2)",
    wrong=(
        (
            "donor.split()[start : start + length]",
            "donor.split()[start:length]",
            "not in the result",
        ),
        ("*words[place:]", "*words[place + 1 :]", "lost words"),
        (
            "[*words[:place], *span, *words[place:]]",
            "[*span, *words]",
            "where it belongs",
        ),
    ),
)


def has_converged(given: list[float], expected: float, margin: float) -> bool:
    """Whether the repair may stop, by the rule of this chapter.

    Args:
        given: after every cycle so far, the share of held-out flagged rows that
            get their given label.
        expected: share that would get it by content alone.
        margin: how much more than that is let pass.
    """
    return len(given) > 1 and max(given[-2:]) <= expected + margin


def _verify_converged(answer):
    require(
        not answer([], 0.1, 0.05),
        "before the first cycle there is nothing to stop",
    )
    require(not answer([0.1], 0.1, 0.05), "one good cycle may be luck")
    require(
        not answer([0.9, 0.1], 0.1, 0.05),
        "only the last cycle was good: that may be luck",
    )
    require(
        answer([0.9, 0.12, 0.14], 0.1, 0.05),
        "two good cycles in a row are enough",
    )
    require(
        not answer([0.1, 0.12, 0.5], 0.1, 0.05),
        "two good cycles, and then a bad one: the last two count",
    )
    require(
        not answer([0.1, 0.5, 0.1], 0.1, 0.05),
        "two good cycles, but not in a row",
    )
    require(
        answer([0.25, 0.25], 0.125, 0.125), "just the margin is still within it"
    )
    require(
        not answer([0.16, 0.16], 0.1, 0.05),
        "0.16 is more than 0.10 and a margin of 0.05",
    )


check_has_converged = Exercise(
    has_converged,
    _verify_converged,
    title="When to stop",
    difficulty=2,
    importance=4,
    minutes=10,
    task="""\
The first of the two stopping rules.

1. A cycle is good if the share is at most `expected + margin`.
2. Stop after two good cycles in a row, not after one. Only the last two count.""",
    toy="has_converged([0.9, 0.3, 0.06, 0.04], 0.02, 0.05)",
    wrong=(
        ("max(given[-2:])", "given[-1]", "only the last"),
        ("max(given[-2:])", "min(given)", "luck"),
        ("len(given) > 1 and ", "", "stops with ValueError"),
        ("<= expected + margin", "< expected + margin", "still within"),
    ),
)
