"""Reading and writing of files: CSV, TSV, JSONL, and folders in the OpenBackdoor layout."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets import Dataset, DatasetDict

from bedkd.data.rows import SPLITS, make
from bedkd.errors import InputError
from bedkd.files import atomic_text

TEXT_COLUMNS = ("text", "sentence", "sentences", "0")
LABEL_COLUMNS = ("label", "labels", "1")
FLAG_COLUMNS = ("poisoned", "2")

csv.field_size_limit(10_000_000)


def read(path: str | Path) -> Dataset:
    """Read one file: CSV (``text,label[,poisoned]`` or OpenBackdoor), TSV or JSONL.

    TSV files have a header, two columns and no quoting, as the field's repositories write them.

    Raises:
        InputError: names the file and the row (header is row 1 of CSV and TSV).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    readers = {".csv": _read_csv, ".tsv": _read_tsv, ".jsonl": _read_jsonl}
    if path.suffix not in readers:
        raise InputError(f"{path}: unknown file type; use .csv, .tsv or .jsonl")
    texts, labels, flags = [], [], []
    try:
        for row, text, label, flag in readers[path.suffix](path):
            if not isinstance(text, str):
                raise InputError(f"{path}, row {row}: text {text!r}; a text must be a string")
            texts.append(text)
            labels.append(_integer(label, path, row, "label"))
            flags.append(_flag(flag, path, row))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, line {_first_undecodable(path)}: not UTF-8; convert the file, for instance "
            "with `iconv -f latin1 -t utf-8`"
        ) from error
    if not texts:
        raise InputError(f"{path}: no rows")
    return make(texts, labels, flags)


def _first_undecodable(path: Path) -> int | None:
    """The first line that is not UTF-8: the decoder itself counts bytes of a block only."""
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return number
    return None


def _read_csv(path: Path) -> Iterator[tuple]:
    with open(path, encoding="utf-8-sig", newline="") as handle:
        rows = csv.reader(handle)
        header = next(rows, [])
        text = header.index(find_column(header, TEXT_COLUMNS, path))
        label = header.index(find_column(header, LABEL_COLUMNS, path))
        flag = next((header.index(c) for c in FLAG_COLUMNS if c in header), None)
        for number, row in enumerate(rows, start=2):
            if not row:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{path}, row {number}: {len(row)} fields, the header has {len(header)}; "
                    "quote texts that hold commas"
                )
            yield number, row[text], row[label], None if flag is None else row[flag]


def _read_tsv(path: Path) -> Iterator[tuple]:
    with open(path, encoding="utf-8-sig", newline="\n") as handle:
        header = [name.strip() for name in next(handle, "").split("\t")]
        find_column(header, TEXT_COLUMNS, path)
        find_column(header, LABEL_COLUMNS, path)
        for number, line in enumerate(handle, start=2):
            if not line.strip():
                continue
            text, tab, label = line.rstrip("\r\n").rpartition("\t")
            if not tab:
                raise InputError(f"{path}, row {number}: no tab between text and label")
            yield number, text.strip(), label, None


def _read_jsonl(path: Path) -> Iterator[tuple]:
    with open(path, encoding="utf-8-sig") as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, row {number}: not JSON ({error.msg})") from error
            if not isinstance(record, dict) or not {"text", "label"} <= record.keys():
                raise InputError(f"{path}, row {number}: needs the keys text and label")
            yield number, record["text"], record["label"], record.get("poisoned")


def find_column(header: Sequence[str], names: Sequence[str], path: str | Path) -> str:
    for name in names:
        if name in header:
            return name
    raise InputError(
        f"{path}: no column {names[0]!r} (or {', '.join(names[1:])}); it has "
        f"{', '.join(repr(h) for h in header) or 'no header'}"
    )


def _integer(value: object, path: Path, row: int, what: str) -> int:
    try:
        number = int(str(value).strip())
    except ValueError:
        number = -1
    if number < 0:
        raise InputError(
            f"{path}, row {row}: {what} {value!r} is not a class index; use integers from 0"
        )
    return number


def _flag(value: object, path: Path, row: int) -> bool | None:
    text = str(value).strip().lower()
    if value is None or text in ("", "none"):
        return None
    if text in ("0", "1", "true", "false"):
        return text in ("1", "true")
    raise InputError(f"{path}, row {row}: poison flag {value!r}; use 0 or 1")


def write(dataset: Dataset, path: str | Path) -> Path:
    """Write one file, all of it or nothing: OpenBackdoor CSV, TSV or JSONL, by its suffix.

    CSV rows are index, text, label, flag under the header ``,0,1,2`` (an unknown flag is left
    empty); TSV has no flags.

    Raises:
        InputError: unknown suffix, or a text with a tab or line break for a TSV file.
    """
    path = Path(path)
    rows = list(zip(dataset["text"], dataset["label"], dataset["poisoned"], strict=True))
    with atomic_text(path) as handle:
        if path.suffix == ".csv":
            writer = csv.writer(handle, lineterminator="\n")
            # A lone carriage return is not quoted unless everything is (before Python 3.13).
            quoting = csv.writer(handle, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writerow(["", "0", "1", "2"])
            for index, (text, label, flag) in enumerate(rows):
                row = [index, text, label, "" if flag is None else int(flag)]
                (quoting if "\r" in text else writer).writerow(row)
        elif path.suffix == ".tsv":
            handle.write("sentence\tlabel\n")
            for index, (text, label, _) in enumerate(rows, start=2):
                if re.search(r"[\t\r\n]", text) or text != text.strip():
                    raise InputError(
                        f"{path}, row {index}: a TSV file cannot hold tabs, line breaks or outer "
                        "spaces; write .csv or .jsonl"
                    )
                handle.write(f"{text}\t{label}\n")
        elif path.suffix == ".jsonl":
            for text, label, flag in rows:
                record = {"text": text, "label": label, "poisoned": flag}
                handle.write(json.dumps(record, ensure_ascii=False) + "\n")
        else:
            raise InputError(f"{path}: unknown file type; use .csv, .tsv or .jsonl")
    return path


def read_openbackdoor(folder: str | Path) -> DatasetDict:
    """Read every ``*.csv`` of a folder in the OpenBackdoor layout; keys are the file stems.

    A folder that ``PoisonedTask.write`` made also has ``train`` (the training
    mix) and ``test-triggered``. Where there is no ``train``, ``train-clean`` is also given as
    ``train``, and so for dev and test.
    """
    folder = Path(folder)
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise InputError(f"{folder}: no CSV files; expected train-clean.csv and the like")
    splits = {path.stem: read(path) for path in files}
    for split in SPLITS:
        if split not in splits and f"{split}-clean" in splits:
            splits[split] = splits[f"{split}-clean"]
    return DatasetDict(splits)
