"""Data sets by name: where each is found, loading it, and checking the files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, load_from_disk

from bedkd import corpora
from bedkd.data.columns import Columns
from bedkd.data.formats import checked, read, read_openbackdoor
from bedkd.data.rows import SPLITS, make
from bedkd.errors import InputError
from bedkd.files import refuse_ambiguous, sha256


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


def load(
    name: str | Path, *, seed: int = 0, columns: Columns = Columns(), **sizes: int
) -> DatasetDict:
    """Load a data set with the splits it has of train, dev and test.

    Args:
        name: a named data set, a file, a folder in the OpenBackdoor layout or one that
            ``save_to_disk`` wrote, or a hub id (``owner/name`` or ``owner/name@revision``).
        seed: for embedded tasks, where dev has to be cut from train, and for ``sizes``.
        columns: where texts and labels of a file, a folder of ``save_to_disk`` or a hub id are.
        sizes: rows of ``train``, ``dev`` and ``test``: of an embedded task so many, of other data
            sets at most so many, drawn at random and kept in order.

    Splits of the hub and of ``save_to_disk`` whose labels are hidden (all of them -1) are left out.

    Raises:
        InputError: nothing of that name is there, or a row of it cannot be used; the message says
            which and what to do.

    Example:
        >>> load("reviews", train=60, dev=20, test=4)["train"].num_rows
        60
    """
    unknown = set(sizes) - set(SPLITS)
    if unknown:
        raise InputError(f"sizes: no split {sorted(unknown)[0]!r}; splits are {', '.join(SPLITS)}")
    if name in corpora.TASKS or name in SOURCES:
        refuse_ambiguous(name, "data set")
    if name in corpora.TASKS:
        splits = corpora.build(str(name), seed=seed, **sizes)
        return DatasetDict(
            {
                split: make([s.text for s in rows], [s.label for s in rows], False)
                for split, rows in splits.items()
            }
        )
    splits = _load_stored(name, seed, columns)
    return DatasetDict(
        {split: _at_most(rows, sizes.get(split), seed) for split, rows in splits.items()}
    )


def _at_most(rows: Dataset, size: int | None, seed: int) -> Dataset:
    if size is None or size >= len(rows):
        return rows
    return rows.select(np.sort(np.random.default_rng(seed).permutation(len(rows))[:size]))


def _load_stored(name: str | Path, seed: int, columns: Columns) -> DatasetDict:
    if name in SOURCES:
        return _load_source(str(name), seed)
    path = Path(name)
    if path.is_file():
        return DatasetDict(train=read(path, columns))
    if path.is_dir():
        return read_saved(path, columns) if is_saved(path) else read_openbackdoor(path)
    if is_hub_id(name):
        identifier, _, revision = str(name).partition("@")
        splits = dict.fromkeys(SPLITS)
        return _load_hub(identifier, None, revision or None, splits, seed, columns)
    raise InputError(
        f"data {name}: no such file or folder, and not one of "
        f"{', '.join([*SOURCES, *corpora.TASKS])}; a hub id looks like owner/name"
    )


def is_hub_id(name: str | Path) -> bool:
    """Whether a name that is no file or folder may be looked for on the hub.

    >>> is_hub_id("owner/name@revision"), is_hub_id("./owner/name"), is_hub_id("owner/name.csv")
    (True, False, False)
    """
    looks = re.fullmatch(r"\w[\w.-]*/[\w.-]+(@[\w.-]+)?", str(name))
    return bool(looks) and not Path(name).suffix and not Path(name).exists()


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
    columns: Columns = Columns(),
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
                splits[split] = raw[candidate]
    splits = _usable(splits, f"data {identifier}", columns)
    splits = {k: make(v["text"], v["label"], False) for k, v in splits.items()}
    if not splits:
        raise InputError(f"data {identifier}: no train, dev or test split")
    found = DatasetDict(splits)
    return found if "dev" in found or "train" not in found else _cut_dev(found, seed)


def is_saved(folder: str | Path) -> bool:
    """Whether a folder was written by ``save_to_disk``, of a data set or of several splits."""
    return any((Path(folder) / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_saved(folder: str | Path, columns: Columns = Columns()) -> DatasetDict:
    """Read a folder that ``save_to_disk`` wrote: Arrow tables, in which nothing can be executed.

    Args:
        folder: of one data set, which is given as ``train``, or of several splits, of which
            ``train``, ``dev`` (or ``validation``), ``test`` and the likes of ``test-clean`` are
            taken.

    Raises:
        InputError: the folder is damaged, has no such split, or a row cannot be used (rows are
            numbered from 0, as ``dataset[0]`` does).
    """
    try:
        raw = load_from_disk(str(folder))
    except Exception as error:  # damaged files raise many unrelated types
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{folder}: a folder of save_to_disk that cannot be loaded ({first}); save it again"
        ) from error
    if isinstance(raw, Dataset):
        raw = {"train": raw}
    elif "dev" not in raw and "validation" in raw:
        raw["dev"] = raw["validation"]
    named = {k: v for k, v in raw.items() if k.partition("-")[0] in SPLITS}
    splits = _usable(named, folder, columns)
    if not splits:
        raise InputError(
            f"{folder}: no train, dev or test split with labels; it has {', '.join(raw)}"
        )
    return DatasetDict(splits)


def _usable(
    splits: Mapping[str, Dataset], source: str | Path, columns: Columns
) -> dict[str, Dataset]:
    """The splits in our columns, every row checked; without those whose labels are hidden."""
    usable = {}
    for split, rows in splits.items():
        where = f"{source}, split {split}"
        rows = rows.with_format(None)  # a saved format may give tensors
        label = columns.picker(rows.column_names, where)(rows.column_names)[1]
        labels = list(rows[label])
        if labels and all(x == -1 for x in labels):
            continue
        names = getattr(rows.features[label], "names", None) or []
        if names and set(names) <= columns.label_names.keys():  # the model may number them else
            labels = [names[x] if 0 <= x < len(names) else x for x in labels]
        content = {**{name: rows[name] for name in rows.column_names}, label: labels}
        raw = columns.rows(rows.column_names, content.__getitem__, where)
        found = ((number, *row) for number, row in enumerate(raw))
        usable[split] = checked(found, where, columns)
    return usable


def _cut_dev(splits: DatasetDict, seed: int) -> DatasetDict:
    """Move a random sixth of train (at most 2,000 rows) to dev."""
    train = splits["train"]
    size = min(2000, len(train) // 6)
    order = np.random.default_rng(seed).permutation(len(train))
    dev, rest = np.sort(order[:size]), np.sort(order[size:])
    return DatasetDict({**splits, "train": train.select(rest), "dev": train.select(dev)})


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
