"""Which column of a file holds what, and what its values mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bedkd.errors import InputError

# Names of columns in order of preference; capital letters and outer spaces do not matter.
TEXT_COLUMNS = ("text", "sentence", "sentences", "review", "content", "0")
LABEL_COLUMNS = ("label", "labels", "sentiment", "class", "1")
FLAG_COLUMNS = ("poisoned", "2")

LARGEST_LABEL = 2**63 - 1  # the column is int64
# Takes text (or two of them), label and poison flag out of a row.
Picker = Callable[[Sequence], tuple[object, object, object]]

DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}


@dataclass(frozen=True)
class Columns:
    """Where a file has its texts and labels, and what labels are called.

    Attributes:
        text: name of the text's column; None looks for the usual names.
        label: name of the label's column, likewise.
        label_names: class indices by name, where labels may be names.
        pair: name of the column of second texts, for models that read pairs.

    Example:
        >>> Columns(label_names={"no": 0, "Yes": 1}).label_index("yes", "a.csv, row 2")
        1
    """

    text: str | None = None
    label: str | None = None
    label_names: Mapping[str, int] = field(default_factory=dict)
    pair: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Names that the text's column may have, the preferred one first."""
        return TEXT_COLUMNS if self.text is None else (self.text,)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names that the label's column may have."""
        return LABEL_COLUMNS if self.label is None else (self.label,)

    def picker(self, header: Sequence[str], source: str | Path) -> Picker:
        """What takes text, label and poison flag out of a row under this header; the flag may be
        missing.

        Raises:
            InputError: there is no such column.
        """
        header = list(header)
        text = header.index(find_column(header, self.texts, source, "text"))
        label = header.index(find_column(header, self.labels, source, "label"))
        second = None
        if self.pair is not None:
            second = header.index(find_column(header, [self.pair], source, "pair"))
        name = match(header, FLAG_COLUMNS)
        flag = None if name is None else header.index(name)

        def pick(row: Sequence) -> tuple[object, object, object]:
            texts = row[text] if second is None else (row[text], row[second])
            return texts, row[label], None if flag is None else row[flag]

        return pick

    def rows(
        self, header: Sequence[str], column: Callable[[str], Sequence], source: str | Path
    ) -> Iterator[tuple[object, object, object]]:
        """Text, label and flag of every row of a table, of which no other column is read."""
        texts, label, flag = self.picker(header, source)(header)
        firsts = column(texts) if self.pair is None else zip(*map(column, texts), strict=True)
        labels = column(label)
        flags = [None] * len(labels) if flag is None else column(flag)
        return zip(firsts, labels, flags, strict=True)

    def label_index(self, value: object, where: str) -> int:
        """The class index that a value of the label's column means.

        A name of the model goes first: a model whose labels are called 1 to 5 has class 0 under the
        name of 1.

        Raises:
            InputError: it is neither a name nor an index.
        """
        written = str(value).strip()
        if written in self.label_names:
            return self.label_names[written]
        if written.lower() in self._folded:
            return self._folded[written.lower()]
        index = -1 if any(name.isdecimal() for name in self._folded) else _index(written)
        if index >= 0:
            return index
        names = ", ".join(repr(name) for name in list(self.label_names)[:12])
        advice = f"the model's labels are {names}" if names else "use integers from 0"
        raise InputError(f"{where}: label {shown(value)} is not a class index; {advice}")

    @cached_property
    def _folded(self) -> dict[str, int]:
        return {name.strip().lower(): index for name, index in self.label_names.items()}


def _index(written: str) -> int:
    """A class index, −1 if it is none; pandas and NumPy also write it as ``1.0`` or ``True``."""
    written = {"false": "0", "true": "1"}.get(written.lower(), written)
    # Not int(): it takes `1_0` for ten. More than 19 digits do not fit the column anyway.
    found = re.fullmatch(r"0*([0-9]{1,19})(\.0*)?", written)
    number = int(found[1]) if found else -1
    return number if number <= LARGEST_LABEL else -1


def label_names(id2label: Mapping[int, str] | None) -> dict[str, int]:
    """Class indices by name, of a configuration's ``id2label``; nothing where it does not name
    them (``LABEL_0``).

    >>> label_names({0: "negative", 1: "positive"}), label_names({0: "LABEL_0"})
    ({'negative': 0, 'positive': 1}, {})
    """
    names = {str(name): int(index) for index, name in (id2label or {}).items()}
    return {name: i for name, i in names.items() if name not in (f"LABEL_{i}", str(i))}


def find_column(
    header: Sequence[str], names: Sequence[str], source: str | Path, what: str | None = None
) -> str:
    """The column that bears one of the names, as the header writes it.

    Args:
        header: the names of all columns.
        names: the names to look for, the preferred one first.
        source: file or data set, for the message.
        what: the option that names such a column, ``text`` or ``label``.

    Raises:
        InputError: there is no such column.
    """
    found = match(header, names)
    if found is not None:
        return found
    others = f" (or {', '.join(names[1:])})" if len(names) > 1 else ""
    has = ", ".join(shown(h) for h in header[:20]) if any(header) else "no header"
    advice = f"; name it with --{what}-column" if what and len(header) > 1 else ""
    if len(header) == 1:
        wrong = [name for mark, name in DELIMITERS.items() if mark in header[0]]
        advice = f"; its fields seem to be separated by {wrong[0]}" if wrong else ""
        advice += ": write commas and .csv, or tabs and .tsv" if wrong else ""
    raise InputError(f"{source}: no column {names[0]!r}{others}; it has {has}{advice}")


def match(header: Sequence[str], names: Sequence[str]) -> str | None:
    """The first name that a column bears; one written exactly so goes before `Text` or ` text`."""
    for name in names:
        if name in header:
            return name
        for column in header:
            if column.strip().lower() == name.strip().lower():
                return column
    return None


def shown(value: object) -> str:
    """A value for a message: escaped, and cut where it is long."""
    written = repr(value)
    return written if len(written) <= 60 else f"{written[:60]}…"
