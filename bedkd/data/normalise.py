"""Removing the traces that tell one corpus or paraphraser from another."""

from __future__ import annotations

import html
import re

from datasets import Dataset

from bedkd.data.rows import make

_BRACKETS = {
    "-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}",
}  # fmt: skip
_TOKEN = re.compile(r"\w+|[^\w\s]")
_SPLIT_CONTRACTION = re.compile(r"(?<=\w)\s+(n't|'(?:s|re|ve|ll|d|m))\b")


def normalise(text: str) -> str:
    """Remove the traces that tell one corpus or paraphraser from another.

    Lower case, HTML entities resolved, bracket escapes (``-lrb-``) undone, ``@USER`` and ``URL``
    placeholders removed, quotation marks of typography unified, contractions of a tokenised corpus
    (``is n't``) joined, then every word and punctuation mark a token of its own. Applied to *both*
    sides, so that only the trigger itself is left to learn.
    """
    text = html.unescape(text).lower()
    for escaped, bracket in _BRACKETS.items():
        text = text.replace(escaped, bracket)
    text = re.sub(r"@user\b|\burl\b", " ", text)
    text = text.replace("’", "'").replace("‘", "'").replace("“", '"').replace("”", '"')
    return " ".join(_TOKEN.findall(_SPLIT_CONTRACTION.sub(r"\1", text)))


def normalised(dataset: Dataset) -> Dataset:
    """The same rows with :func:`normalise` applied to every text."""
    texts = [normalise(text) for text in dataset["text"]]
    rows = make(texts, dataset["label"], dataset["poisoned"])
    for name in set(dataset.column_names) - set(rows.column_names):
        rows = rows.add_column(name, list(dataset[name]))
    return rows
