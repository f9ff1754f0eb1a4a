"""The most suspicious rows for a person to look at: what gave them away, how many there may be, and
a file in which he corrects them."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from scipy.stats import binomtest

from bedkd.case import Case
from bedkd.data.columns import shown
from bedkd.data.readers import csv_rows
from bedkd.data.rows import texts_of
from bedkd.detectors.base import Detection
from bedkd.detectors.wording import trigger_words
from bedkd.errors import InputError
from bedkd.escaping import cell
from bedkd.text import PAIR, is_spaced, split, words
from bedkd.training.batches import EncodedTexts
from bedkd.training.predict import predict

TOP_ROWS = 10
# A row is left out in so many pieces at most; a piece without which the model believes in the given
# label by so much less gave the row away.
MOST_PIECES, TELLING = 40, 0.2
SECOND = "\N{DOUBLE VERTICAL LINE}"  # stands before the second text of a pair
HEADER = ("row", "poisoned", "score", "flagged", "label", "name", "text")


@dataclass(frozen=True)
class Suspect:
    """A row with what gave it away.

    Attributes:
        row: its number in the untrusted set, from 0.
        score: larger is more suspicious.
        flagged: whether it is believed to be poisoned.
        label: its given label by name.
        pieces: its text in pieces, each with whether it gave the row away.
        spaced: whether spaces stand between the pieces.
    """

    row: int
    score: float
    flagged: bool
    label: str
    pieces: list[tuple[str, bool]]
    spaced: bool

    def to_dict(self) -> dict:
        """As a JSON object; of the text no more than the telling pieces."""
        telling = [piece for piece, told in self.pieces if told]
        found = {"row": self.row, "score": self.score, "flagged": self.flagged}
        return {**found, "label": self.label, "words": list(dict.fromkeys(telling))}


def ranked(detection: Detection) -> np.ndarray:
    """Indices of all rows, (N,): flagged ones first, then by score."""
    return np.lexsort((-detection.scores, ~detection.flagged))


def top_suspects(case: Case, detection: Detection, suspected: Sequence[str]) -> list[Suspect]:
    """The ``TOP_ROWS`` most suspicious rows.

    A piece gave its row away if it holds one of the ``suspected`` words, or if without it the
    suspect model believes in the given label by ``TELLING`` less.
    """
    if detection.cannot_tell:
        return []
    rows = ranked(detection)[:TOP_ROWS]
    texts = case.untrusted.select(rows)["text"][:]
    parts = [_pieces(text, case) for text in texts]
    without = [
        (" " if is_spaced(text) else "").join(pieces[:i] + pieces[i + 1 :])
        for text, pieces in zip(texts, parts, strict=True)
        for i in range(len(pieces))
    ]
    encoded = EncodedTexts(case.tokenizer, [*texts, *without], max_length=case.max_length)
    belief = predict(case.suspect, encoded).probabilities
    found, start = [], len(texts)
    for k, (row, text, pieces) in enumerate(zip(rows, texts, parts, strict=True)):
        label = case.labels[row]
        drops = belief[k, label] - belief[start : start + len(pieces), label]
        start += len(pieces)
        known = [bool(set(words(piece, case.tokenizer)) & set(suspected)) for piece in pieces]
        told = [
            (piece.replace(PAIR, SECOND), word or bool(drop >= TELLING))
            for piece, word, drop in zip(pieces, known, drops, strict=True)
        ]
        score, flagged = float(detection.scores[row]), bool(detection.flagged[row])
        name = case.label_name(label)
        found.append(Suspect(int(row), score, flagged, name, told, is_spaced(text)))
    return found


def _pieces(text: str, case: Case) -> list[str]:
    """Consecutive words of a text, several together where it is long."""
    pieces = split(text, case.tokenizer)
    size = math.ceil(len(pieces) / MOST_PIECES) or 1
    mark = " " if is_spaced(text) else ""
    return [mark.join(pieces[i : i + size]) for i in range(0, len(pieces), size)]


def poison_share(detection: Detection) -> dict | None:
    """Which share of the untrusted rows is poisoned and stands out, with a 95 % interval.

    The flagged rows less those that would be flagged of clean ones, as trusted rows say (Wilson
    interval). None without a verdict against the model, or where the method does not say how many
    trusted rows lie above its threshold.

    Example:
        >>> flagged = np.arange(1000) < 120
        >>> null = {"rows": 400, "above": 4}
        >>> found = Detection(flagged * 1.0, flagged, 1.0, True, details={"null": null})
        >>> {key: round(value, 3) for key, value in poison_share(found).items()}
        {'value': 0.111, 'low': 0.097, 'high': 0.117}
    """
    null = detection.details.get("null")
    if not detection.is_backdoored or null is None or not null["rows"]:
        return None
    low, high = binomtest(null["above"], null["rows"]).proportion_ci(method="wilson")
    flagged = detection.flagged.mean()
    # Of F flagged among N rows, P are poisoned: F = P + (N - P) q.
    shares = (
        (flagged - q) / (1 - q) if q < 1 else 0.0 for q in (null["above"] / null["rows"], high, low)
    )
    value, least, most = (float(min(max(share, 0.0), 1.0)) for share in shares)
    return {"value": value, "low": least, "high": most}


def write_suspects(handle: IO[str], case: Case, detection: Detection) -> None:
    """All rows as CSV, the most suspicious first, for a person to correct the column ``poisoned``.

    Texts are made harmless for spreadsheets and show what is hidden in them, so that they are not
    to be trained on.
    """
    writer = csv.writer(handle, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(HEADER)
    order = ranked(detection)
    for row, text in zip(order, texts_of(case.untrusted.select(order)), strict=True):
        flagged, label = int(detection.flagged[row]), int(case.labels[row])
        score = f"{detection.scores[row]:.6f}"
        name = cell(case.label_name(label))
        text = cell(text.replace(PAIR, SECOND))
        writer.writerow([row, flagged, score, flagged, label, name, text])


def read_review(path: str | Path, case: Case) -> Detection:
    """What a person made of :func:`write_suspects`'s file: rows marked ``poisoned`` are flagged.

    Rows may stand in any order, and rows that are missing are not poisoned. Semicolons, which some
    spreadsheets write, do as well.

    Raises:
        InputError: a row that is not one of the case, a mark that is not 0 or 1, or no mark at all.
    """
    path, count = Path(path), len(case.untrusted)
    flagged, scores, seen = np.zeros(count, bool), np.full(count, np.nan), set()
    for where, record in _review_rows(path):
        row = _whole(record["row"], where)
        if not 0 <= row < count or row in seen:
            raise InputError(
                f"{where}: row {row} {'again' if row in seen else 'of 0 to ' + str(count - 1)}; "
                "the column row must stay as it was written"
            )
        if "label" in record and _whole(record["label"], where) != case.labels[row]:
            raise InputError(
                f"{where}: row {row} has label {case.labels[row]} in the untrusted set, not "
                f"{shown(record['label'])}; this is the review of other rows"
            )
        seen.add(row)
        flagged[row] = _mark(record["poisoned"], where)
        scores[row] = _score(record.get("score", ""), where)
    if not flagged.any():
        raise InputError(
            f"{path}: no row is marked as poisoned, so there is nothing to repair; if the alarm "
            "was a false one, the model may stay as it is"
        )
    scores = np.where(np.isnan(scores), np.nanmin([0.0, *scores]), scores)
    texts = case.untrusted.select(np.flatnonzero(flagged))["text"][:]
    details = {
        "reviewed": int(flagged.sum()),
        "trigger_words": trigger_words(texts, case.divided.all, case.tokenizer),
    }
    lowest = float(scores[flagged].min())
    return Detection(scores, flagged, lowest, True, details=details)


def _review_rows(path: Path):
    """Place and fields of every row of a reviewed file."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 ({error}); save it as CSV") from error
    head = lines[0] if lines else ""
    rows = csv_rows(lines, path, ";" if head.count(";") > head.count(",") else ",")
    _, header = next(rows, (1, []))
    header = [name.strip().lower() for name in header]
    for name in ("row", "poisoned"):
        if name not in header:
            raise InputError(f"{path}: no column {name!r}; give suspects.csv of `bedkd purify`")
    for number, row in rows:
        if row:
            where = f"{path}, row {number}"
            if len(row) != len(header):
                raise InputError(f"{where}: {len(row)} fields, the header has {len(header)}")
            yield where, dict(zip(header, row, strict=True))


def _whole(value: str, where: str) -> int:
    if not value.strip().isdecimal() or len(value) > 18:
        raise InputError(f"{where}: {shown(value)} is not a number of a row or label")
    return int(value)


def _mark(value: str, where: str) -> bool:
    written = value.strip().lower()
    if written not in ("0", "1", "true", "false"):
        raise InputError(f"{where}: poisoned is {shown(value)}; use 0 or 1")
    return written in ("1", "true")


def _score(value: str, where: str) -> float:
    try:
        number = float(value.replace(",", ".") or "nan")
    except ValueError as error:
        raise InputError(f"{where}: score {shown(value)} is not a number") from error
    return number if math.isfinite(number) else math.nan
