"""Reading and writing of files, and the check of every row.

Readers (:mod:`bedkd.data.readers`) yield rows as they find them; :func:`checked` turns these into
a data set and names the file and the row of the first value that it cannot use.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from datasets import Dataset, DatasetDict

from bedkd.data.columns import Columns, shown
from bedkd.data.readers import READERS, RawRow, open_bytes
from bedkd.data.rows import IN_MEMORY, SPLITS, make_large
from bedkd.errors import InputError
from bedkd.files import atomic_text
from bedkd.text import PAIR, pair

# The longer marks first: UTF-32's begins with that of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
TABLES = (".parquet", ".arrow", ".feather")


def read(path: str | Path, columns: Columns = Columns()) -> Dataset:
    """Read one file: CSV (``text,label[,poisoned]`` or OpenBackdoor), TSV, JSONL, JSON, Parquet or
    Arrow; each also packed by gzip (``.csv.gz``).

    Columns are found by name, unless they are named. The text may be called text, sentence, review
    or content, the label label, sentiment or class. TSV files have no quoting, as the field's
    repositories write them.

    Args:
        path: the file; its suffix says what it is.
        columns: where its texts and labels are, and what labels are called.

    Raises:
        InputError: names the file and the row (header is row 1 of CSV and TSV; rows of Parquet and
            Arrow are numbered from 0).

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        ...     _ = file.write("text,label\\na fine film,1\\n")
        ...     file.flush()
        ...     read(file.name)[0]
        {'text': 'a fine film', 'label': 1, 'poisoned': None}
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder; name a file in it, or load the folder")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    kind = name.suffix.lower()
    if kind not in READERS:
        raise InputError(
            f"{path}: unknown file type; use {', '.join(READERS)}, each also followed by .gz"
        )
    try:
        return _decoded(path, kind, columns)
    except (OSError, EOFError, zlib.error) as error:
        what = "not packed by gzip, or cut short" if path != name else "cannot be read"
        raise InputError(f"{path}: {what} ({error})") from error


def _decoded(path: Path, kind: str, columns: Columns) -> Dataset:
    try:
        if kind not in TABLES:
            _refuse_wide_encodings(path)
        return checked(READERS[kind](path, columns), path, columns)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, line {_first_undecodable(path)}: not UTF-8; convert the file, for instance "
            "with `iconv -f latin1 -t utf-8`"
        ) from error


def checked(rows: Iterable[RawRow], source: str | Path, columns: Columns = Columns()) -> Dataset:
    """Check raw rows and make a data set of them.

    Raises:
        InputError: names the source and the row.
    """

    def valid() -> Iterator[tuple[str, int, bool | None]]:
        for row, text, label, flag in rows:
            where = f"{source}, row {row}"
            single = not isinstance(text, tuple)
            text = _text(text, where) if single else pair(*(_text(t, where) for t in text))
            yield text, columns.label_index(label, where), _flag(flag, where)

    found = valid()
    made = make_large(zip(*part, strict=True) for part in iter(lambda: _some(found), []))
    if not len(made):
        raise InputError(f"{source}: no rows")
    return made


def _some(rows: Iterator) -> list:
    return list(islice(rows, IN_MEMORY))


def _refuse_wide_encodings(path: Path) -> None:
    """Name UTF-16 and UTF-32, which spreadsheets write: read as UTF-8, they give odd messages."""
    with open_bytes(path) as handle:
        start = handle.read(4)
    found = next((name for mark, name in BYTE_ORDER_MARKS if start.startswith(mark)), None)
    if found is None and b"\0" in start[:2]:
        # No mark, but a file of ASCII letters has a zero byte beside each of them.
        found = "UTF-16BE" if start[0] == 0 else "UTF-16LE"
    if found:
        raise InputError(
            f"{path}: the file is {found}, not UTF-8; convert it, for instance with "
            f"`iconv -f {found.lower()} -t utf-8`"
        )


def _first_undecodable(path: Path) -> int | None:
    """The first line that is not UTF-8: the decoder itself counts bytes of a block only."""
    with open_bytes(path) as handle:
        for number, line in enumerate(handle, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: text {shown(value)}; a text must be a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: the text holds half a character ({value[error.start]!a}, a lone surrogate); "
            "write the character itself, or both halves of the escape"
        ) from error
    if PAIR in value:
        raise InputError(
            f"{where}: the text holds {PAIR!a}, a noncharacter that Unicode keeps for use inside "
            "programs; take it out"
        )
    return value


def _flag(value: object, where: str) -> bool | None:
    written = str(value).strip().lower()
    if value is None or written in ("", "none"):
        return None
    if written in ("0", "1", "0.0", "1.0", "true", "false"):
        return written in ("1", "1.0", "true")
    raise InputError(f"{where}: poison flag {shown(value)}; use 0 or 1")


def write(dataset: Dataset, path: str | Path) -> Path:
    """Write one file, all of it or nothing: OpenBackdoor CSV, TSV or JSONL, by its suffix.

    CSV rows are index, text, label, flag under the header ``,0,1,2`` (an unknown flag is left
    empty); TSV has no flags.

    Raises:
        InputError: unknown suffix, or a text with a tab or line break for a TSV file.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    rows = list(zip(dataset["text"], dataset["label"], dataset["poisoned"], strict=True))
    with atomic_text(path) as handle:
        if suffix == ".csv":
            writer = csv.writer(handle, lineterminator="\n")
            # A lone carriage return is not quoted unless everything is (before Python 3.13).
            quoting = csv.writer(handle, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writerow(["", "0", "1", "2"])
            for index, (text, label, flag) in enumerate(rows):
                row = [index, text, label, "" if flag is None else int(flag)]
                (quoting if "\r" in text else writer).writerow(row)
        elif suffix == ".tsv":
            handle.write("sentence\tlabel\n")
            for index, (text, label, _) in enumerate(rows, start=2):
                if re.search(r"[\t\r\n]", text) or text != text.strip():
                    raise InputError(
                        f"{path}, row {index}: a TSV file cannot hold tabs, line breaks or outer "
                        "spaces; write .csv or .jsonl"
                    )
                handle.write(f"{text}\t{label}\n")
        elif suffix == ".jsonl":
            for text, label, flag in rows:
                record = {"text": text, "label": label, "poisoned": flag}
                handle.write(json.dumps(record, ensure_ascii=False) + "\n")
        else:
            raise InputError(f"{path}: unknown file type; use .csv, .tsv or .jsonl")
    return path


def read_openbackdoor(folder: str | Path) -> DatasetDict:
    """Read every ``*.csv`` of a folder in the OpenBackdoor layout; keys are the file stems.

    A folder that ``PoisonedTask.write`` made also has ``train`` (the training mix) and
    ``test-triggered``. Where there is no ``train``, ``train-clean`` is also given as ``train``, and
    so for dev and test.

    Raises:
        InputError: there are no CSV files, or one of them cannot be read.
    """
    folder = Path(folder)
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() == ".csv")
    if not files:
        raise InputError(f"{folder}: no CSV files; expected train-clean.csv and the like")
    splits = {path.stem: read(path) for path in files}
    for split in SPLITS:
        if split not in splits and f"{split}-clean" in splits:
            splits[split] = splits[f"{split}-clean"]
    return DatasetDict(splits)
