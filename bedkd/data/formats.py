"""Reading and writing of files: CSV, TSV, JSONL, saved data sets, folders of OpenBackdoor.

Every reader yields ``(row, text, label, flag)`` as it finds them; :func:`checked` turns these into
a data set and names the file and the row of the first value that it cannot use.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from datasets import Dataset, DatasetDict

from bedkd.data.rows import SPLITS, make
from bedkd.errors import InputError
from bedkd.files import atomic_text

# Names of columns in order of preference; capital letters and outer spaces do not matter.
TEXT_COLUMNS = ("text", "sentence", "sentences", "review", "content", "0")
LABEL_COLUMNS = ("label", "labels", "sentiment", "class", "1")
FLAG_COLUMNS = ("poisoned", "2")

LARGEST_LABEL = 2**63 - 1  # the column is int64

# The longer marks first: UTF-32's begins with that of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)

csv.field_size_limit(10_000_000)

# What a reader yields: number of the row, text, label, poison flag, none of them checked.
RawRow = tuple[int, object, object, object]


def read(path: str | Path) -> Dataset:
    """Read one file: CSV (``text,label[,poisoned]`` or OpenBackdoor), TSV or JSONL.

    Columns are found by name. The text may be called text, sentence, review or content, the label
    label, sentiment or class. TSV files have no quoting, as the field's repositories write them.

    Args:
        path: the file; its suffix says what it is.

    Raises:
        InputError: names the file and the row (header is row 1 of CSV and TSV).

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
    readers = {".csv": _read_csv, ".tsv": _read_tsv, ".jsonl": _read_jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: unknown file type; use .csv, .tsv or .jsonl")
    _refuse_wide_encodings(path)
    try:
        return checked(reader(path), path)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, line {_first_undecodable(path)}: not UTF-8; convert the file, for instance "
            "with `iconv -f latin1 -t utf-8`"
        ) from error


def checked(rows: Iterable[RawRow], source: str | Path) -> Dataset:
    """Check raw rows and make a data set of them.

    Raises:
        InputError: names the source and the row.
    """
    texts, labels, flags = [], [], []
    for row, text, label, flag in rows:
        where = f"{source}, row {row}"
        texts.append(_text(text, where))
        labels.append(_label(label, where))
        flags.append(_flag(flag, where))
    if not texts:
        raise InputError(f"{source}: no rows")
    return make(texts, labels, flags)


def _refuse_wide_encodings(path: Path) -> None:
    """Name UTF-16 and UTF-32, which spreadsheets write: read as UTF-8, they give odd messages."""
    with open(path, "rb") as handle:
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
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return number
    return None


def _read_csv(path: Path) -> Iterator[RawRow]:
    with open(path, encoding="utf-8-sig", newline="") as handle:
        rows = _csv_rows(handle, path)
        _, header = next(rows, (1, []))
        text, label, flag = _positions(header, path)
        for number, row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{path}, row {number}: {len(row)} fields, the header has {len(header)}; "
                    "quote texts that hold commas"
                )
            yield number, row[text], row[label], None if flag is None else row[flag]


def _csv_rows(handle: IO[str], path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file, numbered from 1, the header."""
    rows = csv.reader(handle)
    number = 1
    try:
        for row in rows:
            yield number, row
            number += 1
    except csv.Error as error:
        raise InputError(
            f"{path}, row {number}: {error}; a quotation mark that is never closed does this"
        ) from error


def _read_tsv(path: Path) -> Iterator[RawRow]:
    with open(path, encoding="utf-8-sig", newline="\n") as handle:
        header = next(handle, "").rstrip("\r\n").split("\t")
        text, label, flag = _positions(header, path)
        # The field's own files have two columns and no quoting, so that a text may hold tabs. Only
        # where the label stands last is it clear which tab ends the text.
        tabs_in_text = len(header) == 2 and label == 1
        for number, line in enumerate(handle, start=2):
            if not line.strip():
                continue
            line = line.rstrip("\r\n")
            row = line.rsplit("\t", 1) if tabs_in_text else line.split("\t")
            if len(row) == 1:
                raise InputError(f"{path}, row {number}: no tab between text and label")
            if len(row) != len(header):
                raise InputError(
                    f"{path}, row {number}: {len(row)} fields, the header has {len(header)}; "
                    "a text with tabs needs .csv or .jsonl"
                )
            yield number, row[text].strip(), row[label], None if flag is None else row[flag]


def _read_jsonl(path: Path) -> Iterator[RawRow]:
    with open(path, encoding="utf-8-sig") as handle:
        names = None
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            where = f"{path}, row {number}"
            record = _json_record(line, where)
            # The first row decides which columns are meant, so that all rows mean the same.
            names = names or _json_columns(record, where)
            if not set(names) <= record.keys():
                raise InputError(f"{where}: needs the keys {' and '.join(names)}")
            flag = next((record[name] for name in FLAG_COLUMNS if name in record), None)
            yield number, record[names[0]], record[names[1]], flag


def _json_record(line: str, where: str) -> dict[str, object]:
    """One line of JSONL, its keys also in lower case."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # an endless number, brackets without end
        raise InputError(f"{where}: cannot be read ({error})") from error
    if not isinstance(record, dict):
        raise InputError(f"{where}: needs the keys text and label")
    return {key.strip().lower(): value for key, value in record.items()} | record


def _json_columns(record: dict[str, object], where: str) -> tuple[str, str]:
    text = next((name for name in TEXT_COLUMNS if name in record), None)
    label = next((name for name in LABEL_COLUMNS if name in record), None)
    if text is None or label is None:
        raise InputError(f"{where}: needs the keys text and label")
    return text, label


def _positions(header: Sequence[str], path: Path) -> tuple[int, int, int | None]:
    """Where a header has text, label and poison flag; the flag may be missing."""
    text = header.index(find_column(header, TEXT_COLUMNS, path))
    label = header.index(find_column(header, LABEL_COLUMNS, path))
    flag = _match(header, FLAG_COLUMNS)
    return text, label, None if flag is None else header.index(flag)


def find_column(header: Sequence[str], names: Sequence[str], source: str | Path) -> str:
    """The column that bears one of the names, as the header writes it.

    Args:
        header: the names of all columns.
        names: the names to look for, the preferred one first.
        source: file or data set, for the message.

    Raises:
        InputError: there is no such column.
    """
    found = _match(header, names)
    if found is None:
        raise InputError(
            f"{source}: no column {names[0]!r} (or {', '.join(names[1:])}); it has "
            f"{', '.join(repr(h) for h in header) if any(header) else 'no header'}"
        )
    return found


def _match(header: Sequence[str], names: Sequence[str]) -> str | None:
    """The first name that a column bears; one written exactly so goes before `Text` or ` text`."""
    for name in names:
        if name in header:
            return name
        for column in header:
            if column.strip().lower() == name:
                return column
    return None


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: text {_shown(value)}; a text must be a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: the text holds half a character ({value[error.start]!a}, a lone surrogate); "
            "write the character itself, or both halves of the escape"
        ) from error
    return value


def _label(value: object, where: str) -> int:
    """A class index; pandas and NumPy also write it as ``1.0`` or ``True``."""
    written = str(value).strip().lower()
    written = {"false": "0", "true": "1"}.get(written, written)
    # Not int(): it takes `1_0` for ten. More than 19 digits do not fit the column anyway.
    match = re.fullmatch(r"0*([0-9]{1,19})(\.0*)?", written)
    number = int(match[1]) if match else -1
    if not 0 <= number <= LARGEST_LABEL:
        raise InputError(
            f"{where}: label {_shown(value)} is not a class index; use integers from 0"
        )
    return number


def _flag(value: object, where: str) -> bool | None:
    written = str(value).strip().lower()
    if value is None or written in ("", "none"):
        return None
    if written in ("0", "1", "0.0", "1.0", "true", "false"):
        return written in ("1", "1.0", "true")
    raise InputError(f"{where}: poison flag {_shown(value)}; use 0 or 1")


def _shown(value: object) -> str:
    """A value for a message, cut where it is long."""
    written = repr(value)
    return written if len(written) <= 60 else f"{written[:60]}…"


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
