"""The suspect model's last hidden states where its classification head reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bedkd.case import Case
from bedkd.training.batches import EncodedTexts
from bedkd.training.predict import predict

# So many texts' states of all tokens are in memory at a time.
CHUNK = 512
# States that differ by less, relative to the largest, are the same but for rounding.
SAME = 1e-3


def states(
    case: Case, texts: Sequence[str], *, progress: bool = False, description: str = "states"
) -> np.ndarray:
    """One state a text, (N, H): of the first token of an encoder, of the last token of a decoder,
    whose first token has read nothing.

    The same text gets the same state whatever the order of texts.

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> states(case, ["a fine film", "dull", "a fine film"]).shape
        (3, 384)
    """
    unique = sorted(set(texts), key=lambda text: (len(text), text))
    found: list[np.ndarray] = []
    read = 0
    for start in reversed(range(0, len(unique), CHUNK)):  # the longest first
        some = unique[start : start + CHUNK]
        rows = EncodedTexts(case.tokenizer, some, max_length=case.max_length)
        if not found:
            read = _read_position(case, rows)
        answers = predict(
            case.suspect, rows, hidden=True, progress=progress, description=description
        )
        found = [state[read].copy() for state in answers.hidden] + found
    number = {text: i for i, text in enumerate(unique)}
    return np.stack(found)[[number[text] for text in texts]].astype(float)


def _read_position(case: Case, rows: EncodedTexts) -> int:
    """−1 where the first token does not know of the others, otherwise 0; tried on a long row."""
    ids = rows.ids[int(rows.lengths.argmax())]
    pair = EncodedTexts(case.tokenizer, ["", ""])
    pair.ids, pair.lengths = [ids, ids[:1]], np.array([len(ids), 1])
    whole, alone = (state[0] for state in predict(case.suspect, pair, hidden=True).hidden)
    return -1 if np.abs(whole - alone).max() <= SAME * np.abs(whole).max() else 0
