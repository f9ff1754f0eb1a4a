"""A third witness, for cases that the others leave open: what does a piece of a row do to others?

Short windows of a row's words are spliced into trusted rows of other classes. Words that merely
mean something convince the model of some of them. A window that holds a trigger makes it call
nearly all of them the row's label. Unlike a rank, that is an experiment on the suspect model: it
works on few rows, and it does not mind if the content of a row supports its label.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd.engine import Rows, predict
from bedkd.errors import InputError


@dataclass(frozen=True)
class SpliceConfig:
    """How rows are examined.

    Attributes:
        rows: so many untrusted rows are examined at a time, the most suspicious first, and so many
            trusted rows for comparison.
        width: words in a window, more where a row is too long for ``windows`` of them.
        windows: at most so many windows a row; together they hold every word.
        hosts: texts that every window is spliced into.
        depth: trusted rows in a host, one after the other. The more of them say the same, the less
            can two words of content do against them; a trigger minds little.
    """

    rows: int = 96
    width: int = 2
    windows: int = 12
    hosts: int = 4
    depth: int = 3

    def __post_init__(self):
        for name in ("rows", "width", "windows", "hosts", "depth"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: give at least 1")


def windows(text: str, config: SpliceConfig) -> list[str]:
    """Windows of consecutive words that together hold every word of the text."""
    words = text.split()
    width = max(config.width, math.ceil(len(words) / config.windows))
    last = max(len(words) - width, 0)
    starts = np.unique(np.linspace(0, last, min(config.windows, last + 1)).round().astype(int))
    return [" ".join(words[start : start + width]) for start in starts]


@dataclass(frozen=True)
class Splices:
    """What splicing showed of some rows.

    Attributes:
        power: mean probability of the row's label over the hosts, for the window in which it is
            largest, (R,), 0 to 1.
        window: that window, R texts.
    """

    power: np.ndarray
    window: list[str]


def splice(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    labels: np.ndarray,
    hosts: Dataset,
    config: SpliceConfig = SpliceConfig(),
    *,
    max_length: int = 128,
    seed: int = 0,
    progress: bool = False,
) -> Splices:
    """Examine R rows.

    Args:
        texts: R texts.
        labels: their given labels, (R,).
        hosts: rows with true labels that the model calls rightly. A row's windows begin hosts of
            other labels than its own; every row of a label gets the same ones.
    """
    true = np.asarray(hosts["label"], int)
    order = np.random.default_rng(seed).permutation(len(hosts))
    own = list(hosts["text"])
    bodies = {}
    for label in np.unique(labels):
        # Rows of one host have one label, so that they speak with one voice.
        others = [order[true[order] == k] for k in np.unique(true) if k != label]
        if not others:
            raise InputError(
                f"splicing: no trusted row of another label than {label} is called rightly; "
                "give more trusted rows"
            )
        bodies[label] = [
            " ".join(own[i] for i in np.resize(np.roll(rows, -turn * config.depth), config.depth))
            for turn, rows in zip(range(config.hosts), itertools.cycle(others))
        ]
    pieces = [windows(text, config) for text in texts]
    spliced = [
        f"{piece} {body}"
        for label, row in zip(labels, pieces, strict=True)
        for piece in row
        for body in bodies[label]
    ]
    answers = predict(
        model,
        Rows(tokenizer, spliced, max_length=max_length),
        progress=progress,
        description="splices",
    ).probabilities
    power, best, start = np.zeros(len(texts)), [], 0
    for number, (label, row) in enumerate(zip(labels, pieces, strict=True)):
        count = len(row) * len(bodies[label])
        means = answers[start : start + count, label].reshape(len(row), -1).mean(axis=1)
        power[number] = means.max()
        best.append(row[int(means.argmax())])
        start += count
    return Splices(power, best)
