"""Readers of every kind of file: CSV, TSV, JSONL, JSON, Parquet, Arrow, each also through gzip.

Each yields ``(row, text, label, flag)`` as it finds them, nothing checked.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from bedkd.data.columns import FLAG_COLUMNS, Columns, find_column
from bedkd.errors import InputError

csv.field_size_limit(10_000_000)

# What a reader yields: number of the row, text, label, poison flag, none of them checked.
RawRow = tuple[int, object, object, object]


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where its name ends in ``.gz``."""
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb")


def _open_text(path: Path, newline: str | None = None) -> IO[str]:
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", newline=newline)


def read_csv(path: Path, columns: Columns) -> Iterator[RawRow]:
    """Comma-separated values with a header; a field with commas or line breaks is quoted."""
    with _open_text(path, newline="") as handle:
        rows = csv_rows(handle, path)
        _, header = next(rows, (1, []))
        pick = columns.picker(header, path)
        for number, row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{path}, row {number}: {len(row)} fields, the header has {len(header)}; "
                    "quote texts that hold commas"
                )
            yield number, *pick(row)


def csv_rows(
    handle: Iterable[str], path: Path, delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file, numbered from 1, the header.

    Raises:
        InputError: names the row that is not CSV.
    """
    rows = csv.reader(handle, delimiter=delimiter)
    number = 1
    try:
        for row in rows:
            yield number, row
            number += 1
    except csv.Error as error:
        raise InputError(
            f"{path}, row {number}: {error}; a quotation mark that is never closed does this"
        ) from error


def read_tsv(path: Path, columns: Columns) -> Iterator[RawRow]:
    """Tab-separated values with a header and without quoting, as the field's repositories write
    them."""
    with _open_text(path, newline="\n") as handle:
        header = next(handle, "").rstrip("\r\n").split("\t")
        pick = columns.picker(header, path)
        # The field's own files have two columns and no quoting, so that a text may hold tabs. Only
        # where the label stands last is it clear which tab ends the text.
        tabs_in_text = len(header) == 2 and pick(["text", "label"])[1] == "label"
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
            yield number, *pick([field.strip() for field in row])


def read_jsonl(path: Path, columns: Columns) -> Iterator[RawRow]:
    """One JSON object a line."""
    with _open_text(path) as handle:
        lines = ((n, line) for n, line in enumerate(handle, start=1) if line.strip())
        yield from _records(
            ((n, _parse(line, f"{path}, row {n}")) for n, line in lines), path, columns
        )


def read_json(path: Path, columns: Columns) -> Iterator[RawRow]:
    """A list of JSON objects, or one object with a list for every column."""
    with _open_text(path) as handle:
        content = _parse(handle.read(), f"{path}")
    if isinstance(content, dict) and len(content) == 1 and "data" in content:
        content = content["data"]  # as SQuAD and its kin wrap theirs
    if isinstance(content, dict):
        lists = list(content.values())
        if not lists or not all(isinstance(c, list) and len(c) == len(lists[0]) for c in lists):
            raise InputError(
                f"{path}: give a list of objects, or an object of equally long lists; a file with "
                "one object a line is called .jsonl"
            )
        pick = columns.picker(list(content), path)
        yield from ((n, *pick(row)) for n, row in enumerate(zip(*lists, strict=True), start=1))
    elif isinstance(content, list):
        yield from _records(enumerate(content, start=1), path, columns)
    else:
        raise InputError(f"{path}: give a list of objects, not {type(content).__name__}")


def _records(
    records: Iterable[tuple[int, object]], path: Path, columns: Columns
) -> Iterator[RawRow]:
    pick, names = None, []
    for number, record in records:
        where = f"{path}, row {number}"
        if not isinstance(record, dict):
            raise InputError(f"{where}: needs the keys text and label")
        record = {key.strip().lower(): value for key, value in record.items()} | record
        if pick is None:
            # The first row decides which columns are meant, so that all rows mean the same.
            names = _names(list(record), columns, where)
            pick = columns.picker(names, where)
        if not set(names) <= record.keys():
            raise InputError(f"{where}: needs the keys {' and '.join(names)}")
        text, label, _ = pick([record[name] for name in names])
        flag = next((record[name] for name in FLAG_COLUMNS if name in record), None)
        yield number, text, label, flag


def _names(header: list[str], columns: Columns, where: str) -> list[str]:
    """The keys that every record must have."""
    try:
        wanted = [("text", columns.texts), ("label", columns.labels)]
        wanted += [("pair", [columns.pair])] if columns.pair else []
        return [find_column(header, names, where, what) for what, names in wanted]
    except InputError as error:
        if columns.text or columns.label or columns.pair:
            raise
        raise InputError(f"{where}: needs the keys text and label") from error


def _parse(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # an endless number, brackets without end
        raise InputError(f"{where}: cannot be read ({error})") from error


def read_parquet(path: Path, columns: Columns) -> Iterator[RawRow]:
    """A Parquet file; rows are numbered from 0, as tables do."""
    from pyarrow import parquet  # heavy, and few need it

    with open_bytes(path) as handle, _broken_table(path):
        yield from _table(parquet.ParquetFile(handle).iter_batches, path, columns)


def read_arrow(path: Path, columns: Columns) -> Iterator[RawRow]:
    """An Arrow or Feather file, or the stream that ``datasets`` writes."""
    import pyarrow as pa

    def batches() -> Iterator[pa.RecordBatch]:
        if start == b"ARROW1":
            file = pa.ipc.open_file(handle)
            yield from map(file.get_batch, range(file.num_record_batches))
        else:
            yield from pa.ipc.open_stream(handle)

    with open_bytes(path) as handle, _broken_table(path):
        start = handle.read(6)
        handle.seek(0)
        yield from _table(batches, path, columns)


def _table(batches: Callable[[], Iterable], path: Path, columns: Columns) -> Iterator[RawRow]:
    number = 0
    for batch in batches():
        names = batch.schema.names
        pylist = {name: batch.column(k).to_pylist for k, name in enumerate(names)}
        for row in columns.rows(names, lambda name, lists=pylist: lists[name](), path):
            yield number, *row
            number += 1


@contextlib.contextmanager
def _broken_table(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read ({first}); write the file again") from error


READERS = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
}
