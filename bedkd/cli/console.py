"""Messages, options and output folders that the commands share."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from datasets import Dataset
from datasets import disable_progress_bars as quiet_datasets
from transformers.utils import logging as transformers_logging

from bedkd import data, escaping
from bedkd.data import Columns
from bedkd.errors import InputError
from bedkd.files import locked, writing
from bedkd.run import Run
from bedkd.training import runtime

Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No messages and no progress.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Output = Annotated[Path, typer.Option(help="Where to write.")]
Lr = Annotated[
    float | None, typer.Option(min=0.0, help="2e-4 for minilm, else 2e-5; 1e-3 with --lora.")
]
Lora = Annotated[
    int | None,
    typer.Option(min=1, help="Train an adapter of this rank (such as 16), not all weights."),
]
TextColumn = Annotated[
    str | None, typer.Option(help="The texts' column. Default: its usual names.")
]
PairColumn = Annotated[
    str | None, typer.Option(help="The second texts' column, for a model that reads pairs.")
]
LabelColumn = Annotated[
    str | None,
    typer.Option(help="The labels' column: class indices, or names that the model has for them."),
]
Normalise = Annotated[bool, typer.Option("--normalise", help="Remove traces of corpora.")]


@dataclass(frozen=True)
class Console:
    """Messages on standard error, one result on standard output; of several processes the main one
    speaks."""

    quiet: bool
    as_json: bool

    def say(self, message: str) -> None:
        if not self.quiet and runtime.is_main_process():
            print(escaping.lines(message), file=sys.stderr, flush=True)

    def finish(self, result: dict, text: str) -> None:
        if not runtime.is_main_process():
            return
        if self.as_json:
            print(escaping.as_json(result))
        elif not self.quiet:
            print(escaping.lines(text))


@contextlib.contextmanager
def console(quiet: bool, as_json: bool) -> Iterator[Console]:
    """Set up messages; turn an InputError into exit status 2 and an interruption into 130."""
    quiet_datasets()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO, format="%(message)s", stream=sys.stderr
    )
    for noisy in ("httpx", "accelerate", "transformers", "datasets", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
    try:
        yield Console(quiet, as_json)
    except InputError as error:
        print(f"bedkd: {escaping.visible(error)}", file=sys.stderr)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        print(
            "bedkd: interrupted; nothing half-written, the same command goes on where it stopped",
            file=sys.stderr,
        )
        raise typer.Exit(130) from error


@contextlib.contextmanager
def resumable(output: Path, quiet: bool) -> Iterator[Run]:
    """A run whose state is kept in ``OUTPUT.partial`` until the block succeeds.

    Of several processes the main one alone holds the lock and removes the state, and not before
    the others need it no more.

    Raises:
        InputError: another process works on the same output.
    """
    folder = _state_folder(output)
    if not runtime.is_main_process():
        yield Run(folder, progress=False)
        runtime.wait_for_everyone()
        return
    with locked(folder):
        try:
            yield Run(folder, progress=not quiet)
        except InputError:
            if not any(folder.glob("*.safetensors")):  # nothing was done yet, nothing is lost
                shutil.rmtree(folder)
            raise
        runtime.wait_for_everyone()
        shutil.rmtree(folder)


@contextlib.contextmanager
def publishing(run: Run, output: Path) -> Iterator[Path]:
    """A staging folder whose files move to ``output`` when the block succeeds.

    It lies in the run's own folder: a killed process leaves nothing anywhere else.
    """
    staging = run.folder / "output"
    with writing(output):
        shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed here
        staging.mkdir()
        yield staging
        output.mkdir(parents=True, exist_ok=True)
        for item in sorted(staging.iterdir()):
            os.replace(item, output / item.name)


def _state_folder(output: Path) -> Path:
    return output.with_name(output.name + ".partial")


def read_rows(path: Path | str, split: str = "train", columns: Columns = Columns()) -> Dataset:
    """Rows of a file, or of one split of a folder (of OpenBackdoor or ``save_to_disk``) or hub
    id."""
    path = Path(path)
    if data.is_hub_id(path) or (path.is_dir() and data.is_saved(path)):
        splits = data.load(str(path), columns=columns)
        if split in splits or len(splits) == 1:
            return splits[split if split in splits else next(iter(splits))]
        raise InputError(f"{path}: no split {split}; it has {', '.join(splits)}")
    return data.read(file_of(path, split), columns)


def file_of(path: Path, split: str) -> Path:
    """The file itself, or that of a split in a folder of OpenBackdoor. No other is opened: a
    defence must not so much as look at test rows."""
    if not path.is_dir():
        return path
    for file in (path / f"{split}.csv", path / f"{split}-clean.csv"):
        if file.is_file():
            return file
    raise InputError(f"{path}: no {split}.csv or {split}-clean.csv")


def apart(output: Path, *inputs: Path | str) -> None:
    """Refuse an output that is one of the inputs or lies in the folder of one.

    Raises:
        InputError: names both.
    """
    place = Path(output).resolve()
    for given in map(Path, inputs):
        whole = given.resolve()
        if given.exists() and (place == whole or (whole.is_dir() and whole in place.parents)):
            raise InputError(f"output {output}: lies in the input {given}; name another place")


def fresh(path: Path, *, resumes: bool = False) -> Path:
    """Refuse to write into a folder that already holds something.

    Args:
        resumes: the command goes on from its state; if that is still there, what the folder holds
            is the command's own, killed while it moved its files there.
    """
    if path.is_file():
        raise InputError(f"output {path}: this is a file; give a folder")
    own = resumes and _state_folder(path).is_dir()
    if path.is_dir() and any(path.iterdir()) and not own:
        raise InputError(f"output {path}: this folder is not empty; give a new one")
    return path
