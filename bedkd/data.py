"""Data sets with the columns ``text``, ``label`` and ``poisoned``, wherever they come from.

A name (``sst2``, ``olid``, ``agnews``, or an embedded task: ``reviews``, ``chat``, ``topics``), a
file, a folder in the OpenBackdoor layout, or a hub id: :func:`load` takes all of them. Real data
sets are looked for in the folder ``BEDKD_DATA_DIR`` first and on the hub (at a pinned revision)
second. ``poisoned`` is true, false, or None where a file does not say.
"""

from __future__ import annotations

import csv
import html
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, Features, Value

from bedkd import corpora
from bedkd.errors import InputError
from bedkd.files import atomic_text, sha256

FEATURES = Features({"text": Value("string"), "label": Value("int64"), "poisoned": Value("bool")})
SPLITS = ("train", "dev", "test")
TEXT_COLUMNS = ("text", "sentence", "sentences", "0")
LABEL_COLUMNS = ("label", "labels", "1")
FLAG_COLUMNS = ("poisoned", "2")

csv.field_size_limit(10_000_000)


@dataclass(frozen=True)
class Source:
    """Where a named real data set is found.

    Attributes:
        labels: class names in label order.
        target: the usual target label of attacks on it.
        local: for each split, a file below ``BEDKD_DATA_DIR``.
        hub: hub id, None if it is not there.
        config: the hub data set's configuration.
        revision: the pinned commit.
        hub_splits: the hub's names of train, dev and test; None where it has none.
        note: what a reader of numbers must know.
    """

    labels: tuple[str, ...]
    target: int
    local: dict[str, str]
    hub: str | None
    config: str | None
    revision: str | None
    hub_splits: dict[str, str | None]
    note: str = ""


SOURCES = {
    "sst2": Source(
        labels=("negative", "positive"),
        target=1,
        local={split: f"openbackdoor/sst-2/1/badnets/{split}-clean.csv" for split in SPLITS},
        hub="stanfordnlp/sst2",
        config=None,
        revision="8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb",
        hub_splits={"train": "train", "dev": None, "test": "validation"},
        note="Local files hold 6,920 / 872 / 1,821 sentences. The hub's train split holds 67,349 "
        "phrases and its test labels are hidden, so its validation split is the test split here "
        "and dev is cut from train.",
    ),
    "olid": Source(
        labels=("not offensive", "offensive"),
        target=1,
        local={split: f"tsv/hiddenkiller/clean/offenseval/{split}.tsv" for split in SPLITS},
        hub="cardiffnlp/tweet_eval",
        config="offensive",
        revision="b3a375baf0f409c77e6bc7aa35102b7b3534f8be",
        hub_splits={"train": "train", "dev": "validation", "test": "test"},
    ),
    "agnews": Source(
        labels=("world", "sports", "business", "science and technology"),
        target=0,
        local={
            "train": "openbackdoor/agnews/0/addsent/dev-clean.csv",
            "test": "openbackdoor/agnews/0/addsent/test-clean.csv",
        },
        hub="fancyzhx/ag_news",
        config=None,
        revision="eb185aade064a813bc0b7f42de02595523103ca4",
        hub_splits={"train": "train", "dev": None, "test": "test"},
        note="Local files hold no train split: their dev split of 12,000 rows is the training "
        "pool (10,000 train and 2,000 dev rows).",
    ),
    "agnews_lower": Source(
        labels=("world", "sports", "business", "science and technology"),
        target=0,
        local={
            "train": "tsv/styleattack/clean/ag/train.tsv",
            "test": "tsv/styleattack/clean/ag/test.tsv",
        },
        hub=None,
        config=None,
        revision=None,
        hub_splits={},
        note="AG News as released with StyleAttack: lower case, tokenised, 11,106 train rows of "
        "which dev is cut. Its Bible-style counterpart covers rows of every class.",
    ),
}


def load(name: str | Path, *, seed: int = 0, **sizes: int) -> DatasetDict:
    """Load a data set with the splits it has of train, dev and test.

    Args:
        name: a named data set, a file, a folder in the OpenBackdoor layout, or a hub id
            (``owner/name`` or ``owner/name@revision``).
        seed: for embedded tasks, where dev has to be cut from train, and for ``sizes``.
        sizes: rows of ``train``, ``dev`` and ``test``: of an embedded task so many, of other data
            sets at most so many, drawn at random and kept in order.

    Raises:
        InputError: nothing of that name is there; the message says what to do.
    """
    unknown = set(sizes) - set(SPLITS)
    if unknown:
        raise InputError(f"sizes: no split {sorted(unknown)[0]!r}; splits are {', '.join(SPLITS)}")
    if name in corpora.TASKS:
        splits = corpora.build(str(name), seed=seed, **sizes)
        return DatasetDict(
            {
                split: make([s.text for s in rows], [s.label for s in rows], False)
                for split, rows in splits.items()
            }
        )
    splits = _load_stored(name, seed)
    return DatasetDict(
        {split: _at_most(rows, sizes.get(split), seed) for split, rows in splits.items()}
    )


def _at_most(rows: Dataset, size: int | None, seed: int) -> Dataset:
    if size is None or size >= len(rows):
        return rows
    return rows.select(np.sort(np.random.default_rng(seed).permutation(len(rows))[:size]))


def _load_stored(name: str | Path, seed: int) -> DatasetDict:
    if name in SOURCES:
        return _load_source(str(name), seed)
    path = Path(name)
    if path.is_file():
        return DatasetDict(train=read(path))
    if path.is_dir():
        return read_openbackdoor(path)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", str(name)) and not path.suffix:
        identifier, _, revision = str(name).partition("@")
        splits = dict.fromkeys(SPLITS)
        return _load_hub(identifier, None, revision or None, splits, seed)
    raise InputError(
        f"data {name}: no such file or folder, and not one of "
        f"{', '.join([*SOURCES, *corpora.TASKS])}; a hub id looks like owner/name"
    )


def make(
    texts: Sequence[str], labels: Sequence[int], poisoned: bool | Sequence[bool | None] | None
) -> Dataset:
    """A data set from columns; ``poisoned`` may be one value for all rows."""
    texts = list(texts)
    if poisoned is None or isinstance(poisoned, bool):
        poisoned = [poisoned] * len(texts)
    columns = {"text": texts, "label": [int(x) for x in labels], "poisoned": list(poisoned)}
    return Dataset.from_dict(columns, features=FEATURES)


def data_dir() -> Path | None:
    """The folder named by ``BEDKD_DATA_DIR``, if it is set and exists."""
    folder = os.environ.get("BEDKD_DATA_DIR")
    return Path(folder) if folder and Path(folder).is_dir() else None


def local_files(name: str) -> dict[str, Path] | None:
    """The files of a named real data set below ``BEDKD_DATA_DIR``, None if one is missing."""
    root = data_dir()
    if root is None:
        return None
    files = {split: root / path for split, path in SOURCES[name].local.items()}
    return files if all(path.is_file() for path in files.values()) else None


def _load_source(name: str, seed: int) -> DatasetDict:
    source = SOURCES[name]
    files = local_files(name)
    if files is not None:
        splits = DatasetDict({split: read(path) for split, path in files.items()})
        splits = DatasetDict({k: make(v["text"], v["label"], False) for k, v in splits.items()})
        return splits if "dev" in splits else _cut_dev(splits, seed)
    where = ", ".join(sorted(source.local.values()))
    advice = f"data {name}: not found. Set BEDKD_DATA_DIR to a folder that holds {where}"
    embedded = f"or use an embedded task ({', '.join(corpora.TASKS)})"
    if source.hub is None:
        raise InputError(f"{advice}, {embedded}")
    try:
        return _load_hub(source.hub, source.config, source.revision, source.hub_splits, seed)
    except InputError as error:
        raise InputError(
            f"{advice}, or run with a network so that {source.hub} can be loaded from the hub, "
            f"{embedded}. The hub said: {error}"
        ) from error


def _load_hub(
    identifier: str,
    config: str | None,
    revision: str | None,
    hub_splits: dict[str, str | None],
    seed: int,
) -> DatasetDict:
    # Imported here: it is the only function that talks to the hub.
    from datasets import load_dataset

    try:
        raw = load_dataset(identifier, config, revision=revision)
    except Exception as error:  # the hub client raises many unrelated types
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"data {identifier}: cannot be loaded from the hub ({first})") from error
    splits = {}
    aliases = {"dev": ("dev", "validation"), "train": ("train",), "test": ("test",)}
    for split, known in hub_splits.items():
        names = (known,) if known else (aliases[split] if not any(hub_splits.values()) else ())
        for candidate in names:
            if candidate in raw:
                part = raw[candidate]
                text = _column(part.column_names, TEXT_COLUMNS, identifier)
                label = _column(part.column_names, LABEL_COLUMNS, identifier)
                splits[split] = make(part[text], part[label], False)
    if not splits:
        raise InputError(f"data {identifier}: no train, dev or test split")
    found = DatasetDict(splits)
    return found if "dev" in found or "train" not in found else _cut_dev(found, seed)


def _cut_dev(splits: DatasetDict, seed: int) -> DatasetDict:
    """Move a random sixth of train (at most 2,000 rows) to dev."""
    train = splits["train"]
    size = min(2000, len(train) // 6)
    order = np.random.default_rng(seed).permutation(len(train))
    dev, rest = np.sort(order[:size]), np.sort(order[size:])
    return DatasetDict({**splits, "train": train.select(rest), "dev": train.select(dev)})


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
        text = header.index(_column(header, TEXT_COLUMNS, path))
        label = header.index(_column(header, LABEL_COLUMNS, path))
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
        _column(header, TEXT_COLUMNS, path)
        _column(header, LABEL_COLUMNS, path)
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


def _column(header: Sequence[str], names: Sequence[str], path: str | Path) -> str:
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

    A folder that :func:`bedkd.attacks.task.PoisonedTask.write` made also has ``train`` (the
    training mix) and ``test-triggered``. Where there is no ``train``, ``train-clean`` is also given
    as ``train``, and so for dev and test.
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


def num_labels(*datasets: Dataset) -> int:
    """Number of classes: largest label of all given rows plus one, at least 2."""
    return max(2, *(max(d["label"], default=0) + 1 for d in datasets))


def balanced_split(dataset: Dataset, per_class: int, *, seed: int) -> tuple[Dataset, Dataset]:
    """Draw ``per_class`` rows of every class; returns (drawn, rest), both in original order.

    Raises:
        InputError: a class has fewer rows.
    """
    labels = np.asarray(dataset["label"])
    rng = np.random.default_rng(seed)
    drawn = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < per_class:
            raise InputError(f"label {label}: {len(rows)} rows, {per_class} asked for")
        drawn.append(rng.permutation(rows)[:per_class])
    chosen = np.sort(np.concatenate(drawn))
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    return dataset.select(chosen), dataset.select(rest)


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


def available() -> list[dict]:
    """What :func:`load` can load by name, and from where: one record a data set."""
    records = []
    for name, source in SOURCES.items():
        files = local_files(name)
        hub = f"hub {source.hub}@{source.revision}" if source.hub else "not found"
        where = "BEDKD_DATA_DIR" if files else hub
        records.append(
            {"name": name, "labels": list(source.labels), "target": source.target,
             "from": where, "note": source.note}
        )  # fmt: skip
    for name, task in corpora.TASKS.items():
        records.append(
            {"name": name, "labels": list(task.label_names), "target": task.target,
             "from": "embedded", "note": task.description}
        )  # fmt: skip
    return records


def check() -> list[dict]:
    """Verify the files below ``BEDKD_DATA_DIR`` against its ``SHA256SUMS``: one record a file.

    Raises:
        InputError: the folder or the list of checksums is missing.
    """
    root = data_dir()
    if root is None:
        raise InputError("BEDKD_DATA_DIR is not set to an existing folder; nothing to check")
    listing = root / "SHA256SUMS"
    if not listing.is_file():
        raise InputError(f"{listing}: missing; write it with `sha256sum` over all files")
    records = []
    for line in listing.read_text(encoding="utf-8").splitlines():
        expected, _, relative = line.partition(" ")
        path = root / relative.strip().lstrip("*")
        state = "missing"
        if path.is_file():
            state = "ok" if sha256(path) == expected else "changed"
        records.append({"file": relative.strip().lstrip("*"), "state": state})
    return records
