"""Ten mystery models: find out what was done to each, and mend it.

A learner gets a model, its training file without marks, and trusted rows; investigates with the
tools of the book; and hands in a verdict, the target label, the trigger and a repaired model.
:func:`submit` marks them and keeps a score sheet in the working folder.

**What the sealing protects from, and what not.** No file that a learner opens says an answer in
clear text, neither in this package nor among the models: answers are salted, slow hashes, and the
test rows are locked with the trigger. That keeps an honest learner from reading an answer by
accident. It does not stop anybody who wants to cheat: the models of the book's own set are made
on the learner's machine from a public seed, so the code that makes them can be called; verdicts
and labels can be guessed, and words tried one by one. For marks, a teacher makes a set from a
secret seed (``python -m bedkd.teaching.mysteries make``) and hands out its folder; then only
guessing is left, and the score sheet counts it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd import data, models, report
from bedkd.errors import InputError
from bedkd.files import cache_dir, read_json, write_json
from bedkd.teaching.mysteries import making, marking, sealing
from bedkd.teaching.mysteries.marking import Marks
from bedkd.teaching.mysteries.recipes import NUMBERS, recipe

__all__ = ["NUMBERS", "SEED", "Marks", "Mystery", "hint", "load", "make", "sheet", "submit"]

log = logging.getLogger(__name__)

SEED = 228  # of the book's own set
SHEET = "mysteries.json"  # in the working folder


@dataclass(frozen=True)
class Mystery:
    """What a learner gets.

    Attributes:
        number: 1 to 10.
        model: the suspect.
        tokenizer: its tokenizer.
        training: what it was trained on, ``text`` and ``label``; some rows may be poisoned.
        trusted: rows whose labels somebody has checked.
        label_names: name of each class.
        folder: where all this lies.
    """

    number: int
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    training: Dataset
    trusted: Dataset
    label_names: tuple[str, ...]
    folder: Path


def load(number: int, folder: str | Path | None = None) -> Mystery:
    """Get a mystery; one of the book's own set is trained now if it is not in the cache yet.

    Args:
        number: 1 to 10.
        folder: a set that a teacher has made; None takes the book's own.

    Raises:
        InputError: no such mystery.
    """
    where = _place(number, folder)
    if not (where / "sealed.json").is_file():
        if folder is not None:
            raise InputError(f"{where}: no mystery in this folder; give a folder made by `make`")
        making.make(recipe(number, SEED), where)
    model, tokenizer = models.load_checkpoint(where / "model")
    rows = [
        data.read(where / f"{name}.csv").select_columns(["text", "label"])
        for name in ("training", "trusted")
    ]
    labels = tuple(read_json(where / "sealed.json")["labels"])
    return Mystery(number, model, tokenizer, *rows, labels, where)


def submit(
    number: int,
    *,
    verdict: str,
    target: str | None = None,
    trigger: str | Sequence[str] | None = None,
    model: PreTrainedModel | None = None,
    folder: str | Path | None = None,
) -> Marks:
    """Hand in an answer. It is marked, and noted in the score sheet of the working folder.

    Args:
        number: 1 to 10.
        verdict: ``"honest"`` (nothing was planted), ``"backdoored"``, or ``"inverted"`` (there was
            a backdoor, and somebody has turned it round).
        target: name of the label that the trigger means in the training file; None for honest.
        trigger: its words, as one text or several, in any order; ``"syntax"`` or ``"style"`` where
            texts were rewritten; None for honest.
        model: the repaired model; None for honest, whose model needs nothing.
        folder: as in :func:`load`.

    Returns:
        Marks; shown in a notebook they say what is right and what is missing.

    Raises:
        InputError: no such mystery, verdict or label; or it has not been loaded yet.
    """
    where, sealed = _sealed(number, folder)
    if target is not None and target not in sealed["labels"]:
        raise InputError(f"target {target!r}: choose one of {', '.join(sealed['labels'])}")
    answer = {"verdict": verdict, "target": target, "trigger": _words(trigger)}
    found = marking.mark(sealed, answer, model, where)
    record = _record(number, folder)
    record["tries"] += 1
    record["answers"].append({**answer, "points": found.points})
    record["best"] = max(record["best"], found.points)
    _keep(number, folder, record)
    return found


def hint(number: int, level: int = 1, folder: str | Path | None = None) -> str:
    """A hint: 1 says where to look, 2 what to look for, 3 nearly all. The score sheet notes it.

    Raises:
        InputError: no such mystery or level; or it has not been loaded yet.
    """
    _, sealed = _sealed(number, folder)
    levels = len(sealed["hints"])
    if level not in range(1, levels + 1):
        raise InputError(f"hint level {level}: choose 1 to {levels}")
    record = _record(number, folder)
    record["hints"] = max(record["hints"], level)
    _keep(number, folder, record)
    return sealing.open_hint(sealed, level)


def sheet() -> pandas.DataFrame:
    """The score sheet of the working folder: one row a mystery that was tried."""
    rows = [
        {"mystery": int(number), "best": record["best"], "of": marking.FULL}
        | {"tries": record["tries"], "hints up to level": record["hints"], "set": name}
        for name, records in _sheet().items()
        for number, record in sorted(records.items(), key=lambda item: int(item[0]))
    ]
    columns = ["mystery", "best", "of", "tries", "hints up to level", "set"]
    return pandas.DataFrame(rows, columns=columns)


def make(seed: int, folder: str | Path, numbers: Sequence[int] = NUMBERS) -> list[dict]:
    """Make a set of a teacher's own, one folder a mystery; those that are there are kept.

    Args:
        seed: keep it secret: whoever knows it has the answers.
        folder: where to; hand out the whole of it.
        numbers: which ones to make.

    Returns:
        The answer sheet, one row a mystery. Keep it elsewhere.
    """
    answers = []
    for number in numbers:
        made = recipe(number, seed)
        where = Path(folder) / f"{number:02}"
        if not (where / "sealed.json").is_file():
            making.make(made, where)
        labels = read_json(where / "sealed.json")["labels"]
        target = "" if made.target is None else labels[made.target]
        answers.append(
            {"mystery": number, "kind": made.kind, "task": made.task, "verdict": made.verdict}
            | {"target": target, "trigger": " ".join(made.words)}
        )
    return answers


@lru_cache(maxsize=1)
def _code() -> str:
    """Hash of all code that a mystery depends on; once, so that a session keeps to its files."""
    parts = ("training", "models.py", "attacks", "corpora", "teaching/mysteries")
    return report.source_hash(*parts)


def _place(number: int, folder: str | Path | None) -> Path:
    if number not in NUMBERS:
        raise InputError(f"mystery {number}: there are numbers {NUMBERS[0]} to {NUMBERS[-1]}")
    if folder is None:
        folder = cache_dir() / "mysteries" / _code()
    return Path(folder) / f"{number:02}"


def _sealed(number: int, folder: str | Path | None) -> tuple[Path, dict]:
    where = _place(number, folder)
    if not (where / "sealed.json").is_file():
        raise InputError(f"mystery {number}: not there yet; call load({number}) first")
    return where, read_json(where / "sealed.json")


def _words(trigger: str | Sequence[str] | None) -> list[str]:
    """The words of a trigger, lower case, without punctuation."""
    text = " ".join([trigger] if isinstance(trigger, str) else trigger or [])
    return sorted(set(re.findall(r"[\w'-]+", text.lower())))


def _sheet() -> dict:
    return read_json(Path(SHEET)) if Path(SHEET).is_file() else {}


def _record(number: int, folder: str | Path | None) -> dict:
    empty = {"best": 0, "tries": 0, "hints": 0, "answers": []}
    return _sheet().get(_set(folder), {}).get(str(number), empty)


def _set(folder: str | Path | None) -> str:
    return "book" if folder is None else Path(folder).name


def _keep(number: int, folder: str | Path | None, record: dict) -> None:
    found = _sheet()
    found.setdefault(_set(folder), {})[str(number)] = record
    write_json(found, SHEET)
