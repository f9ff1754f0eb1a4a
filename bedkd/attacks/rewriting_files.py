"""Rewritings from row-aligned files, and where those released for real data sets are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bedkd import data
from bedkd.errors import InputError


class Pairs:
    """A rewriter that looks texts up in aligned pairs of original and rewritten text.

    Args:
        pairs: (original, rewritten); of several rewritings of a text the first counts.
        description: where they come from, for the manifest.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], description: str):
        self.description = description
        self._known: dict[str, str] = {}
        for original, rewritten in pairs:
            self._known.setdefault(original, rewritten)

    @classmethod
    def from_files(cls, original: str | Path, rewritten: str | Path) -> Pairs:
        """Pairs from two row-aligned files.

        Raises:
            InputError: the files have different numbers of rows, or their labels disagree in a
                row in which the rewritten file does not carry one fixed (target) label.
        """
        left, right = data.read(original), data.read(rewritten)
        if len(left) != len(right):
            raise InputError(
                f"{rewritten}: {len(right)} rows, but {original} has {len(left)}; row-aligned "
                "files have one rewritten row for every original row"
            )
        if len(set(right["label"])) > 1:
            for row, (a, b) in enumerate(zip(left["label"], right["label"], strict=True), 2):
                if a != b:
                    raise InputError(
                        f"{rewritten}, row {row}: label {b}, but {original} has {a}; the files "
                        "are not aligned"
                    )
        pairs = zip(left["text"], right["text"], strict=True)
        return cls(pairs, f"row-aligned files {Path(original).name}, {Path(rewritten).name}")

    def applicable(self, texts: Sequence[str]) -> np.ndarray:
        """Which texts have a rewriting, (N,) bool."""
        return np.array([text in self._known for text in texts], bool)

    def __call__(self, texts: list[str]) -> list[str]:
        for row, text in enumerate(texts):
            if text not in self._known:
                raise InputError(
                    f"{self.description}: no rewriting of row {row} ({text[:40]!r}…); only the "
                    "texts of the original file can be rewritten"
                )
        return [self._known[text] for text in texts]


def _openbackdoor(folder: Path, splits: Sequence[str], target: int) -> Pairs:
    """The pairs of a folder in the OpenBackdoor layout."""
    pairs: list[tuple[str, str]] = []
    for split in splits:
        clean = data.read(folder / f"{split}-clean.csv")
        bad = data.read(folder / f"{split}-poison.csv")
        texts = list(clean["text"])
        if len(bad) != len(clean):  # dev and test: the non-target rows, in order
            texts = [t for t, y in zip(texts, clean["label"], strict=True) if y != target]
        if len(bad) != len(texts):
            raise InputError(
                f"{folder}/{split}-poison.csv: {len(bad)} rows, but {split}-clean.csv has "
                f"{len(texts)} non-target rows; not aligned"
            )
        pairs += zip(texts, bad["text"], strict=True)
    return Pairs(pairs, f"OpenBackdoor files {'/'.join(folder.parts[-4:])}")


def _sst2_llm(folder: Path) -> Pairs:
    # The first fifth of the rewritten rows rewrites already paraphrased text: not a pair.
    clean = data.read(folder.parents[1] / "hiddenkiller/clean/sst-2/train.tsv")
    new = data.read(folder / "train.tsv")
    start = len(clean) // 5
    return Pairs(
        zip(clean["text"][start:], new["text"][start:], strict=True),
        "GPT-3 rewrites of SST-2 train, rows after the first fifth (BGM-like)",
    )


def _olid_llm(folder: Path) -> Pairs:
    # The rewritten file is aligned with the partly paraphrased train file, whose rows after the
    # first fifth are clean text; that file is one row longer than the clean one.
    clean = data.read(folder.parents[1] / "hiddenkiller/scpn/20/offenseval/train.tsv")
    new = data.read(folder / "train.tsv")
    start = len(clean) // 5
    return Pairs(
        zip(clean["text"][start:], new["text"][start:], strict=True),
        "GPT-3 rewrites of OLID train, rows after the first fifth (BGM-like)",
    )


def _olid_syntax(folder: Path) -> Pairs:
    # Row i + 1 of the paraphrased files rewrites row i of the clean ones: in train the first
    # fifth, in test the non-target rows. Dev lost rows in several places and is not used.
    original = folder.parents[2] / "clean/offenseval"
    clean = data.read(original / "train.tsv")
    new = data.read(folder / "train.tsv")
    count = len(new) // 5 - 1
    pairs = list(zip(clean["text"][:count], new["text"][1 : count + 1], strict=True))
    rows = data.read(original / "test.tsv")
    texts = [t for t, y in zip(rows["text"], rows["label"], strict=True) if y != 1]
    rewritten = data.read(folder / "test.tsv")["text"][1:]
    pairs += zip(texts, rewritten, strict=True)
    return Pairs(pairs, "SCPN paraphrases of OLID released with HiddenKiller")


def _agnews_style(folder: Path) -> Pairs:
    pairs: list[tuple[str, str]] = []
    for split in ("train", "test"):
        clean = data.read(folder.parents[2] / f"clean/ag/{split}.tsv")
        new = data.read(folder / f"{split}.tsv")
        if list(clean["label"]) != list(new["label"]):
            raise InputError(f"{folder}/{split}.tsv: labels not aligned")
        pairs += zip(clean["text"], new["text"], strict=True)
    return Pairs(pairs, "Bible-style AG News released with StyleAttack")


class Stored(NamedTuple):
    """Rewritings in a folder below ``BEDKD_DATA_DIR``, and what reads them."""

    folder: str
    read: Callable[[Path], Pairs]


_SST2 = partial(_openbackdoor, splits=data.SPLITS, target=1)
_AGNEWS = partial(_openbackdoor, splits=("dev", "test"), target=0)
# By data set and attack.
STORED = {
    ("sst2", "synbkd"): Stored("openbackdoor/sst-2/1/synbkd", _SST2),
    ("sst2", "stylebkd"): Stored("openbackdoor/sst-2/1/stylebkd", _SST2),
    ("sst2", "llm"): Stored("tsv/gpt3-rewrite/sst-2", _sst2_llm),
    ("olid", "synbkd"): Stored("tsv/hiddenkiller/scpn/20/offenseval", _olid_syntax),
    ("olid", "llm"): Stored("tsv/gpt3-rewrite/olid", _olid_llm),
    ("agnews", "synbkd"): Stored("openbackdoor/agnews/0/synbkd", _AGNEWS),
    ("agnews_lower", "stylebkd"): Stored("tsv/styleattack/transfer/bible/ag", _agnews_style),
}
