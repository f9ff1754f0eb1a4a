"""Marks a folder of submissions: ``python -m bedkd.teaching.grade FOLDER EXERCISE ...``.

A submission is a ``.py`` file with the functions of an assignment. Each runs in a process of its
own that holds no solution; the checks run here, call it, and see values only.

Prevented are the short ways: reading or importing the solutions, files and programs of any kind,
the network, forged results, endless loops. It is **not a sandbox** against somebody who knows
CPython well: run it in a container if you do not know who wrote the submissions. Not prevented are
answers that recognise the cases of a check, and solutions copied from the book, which prints them.
"""

from __future__ import annotations

import builtins
import csv
import json
import pickle
import struct
import subprocess
import sys
import sysconfig
import tempfile
import threading
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from bedkd.errors import InputError
from bedkd.escaping import cell
from bedkd.teaching import exercises

WORKER = Path(__file__).with_name("worker.py")
LIBRARIES = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


def _value(coded: list) -> object:
    """What :func:`bedkd.teaching.worker.plain` has coded."""
    kind, value = coded
    if kind in ("list", "tuple"):
        return getattr(builtins, kind)(_value(item) for item in value)
    if kind == "dict":
        return {_value(key): _value(item) for key, item in value}
    if kind == "tensor":
        return torch.tensor(_value(value))
    if kind == "array":
        made = np.array(value[2], dtype=value[0]).reshape(value[1])
        return made if value[1] else made[()]
    return value


class Submission:
    """A submission in its process.

    Args:
        source: text of the file.
        seconds: time limit for the start and for each call.
    """

    def __init__(self, source: str, seconds: float):
        self.seconds = seconds
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [sys.executable, "-I", WORKER],
            cwd=self.folder.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        folders = [[str(Path(p).resolve()) + "/" for p in LIBRARIES], [f"{WORKER.parent}/"]]
        self.ask(source, *folders)

    def ask(self, *question: object) -> list:
        """Send a question and wait for its answer, no longer than the limit."""
        data = pickle.dumps(question)
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        clock = threading.Timer(self.seconds, stop)
        clock.start()
        try:
            self.process.stdin.write(struct.pack("Q", len(data)) + data)
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            clock.cancel()
        if late.is_set():
            raise TimeoutError(f"no answer within {self.seconds:g} seconds")
        if not line:
            raise RuntimeError("the submission ended by itself")
        answer = json.loads(line)
        if answer[0] == "error":
            kind = getattr(builtins, answer[1], RuntimeError)
            known = isinstance(kind, type) and issubclass(kind, Exception)
            raise (kind if known else RuntimeError)(answer[2])
        return answer

    def call(self, name: str, *arguments: object, **options: object) -> object:
        """Call a function of the submission; arrays that it changed are changed here too."""
        _, made, changed = self.ask(name, arguments, options)
        for argument, coded in zip(arguments, changed, strict=True):
            if coded is not None and isinstance(argument, np.ndarray):
                argument[...] = _value(coded)
        return _value(made)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()


def mark(source: str, wanted: list[exercises.Exercise], seconds: float = 30) -> dict[str, str]:
    """What is wrong with each exercise of a submission; an empty text if nothing is.

    Args:
        source: text of the submission.
        wanted: exercises of the assignment.
        seconds: time limit of the start, and of each call.
    """
    found: dict[str, str] = {}
    for exercise in wanted:
        submission = None
        try:
            submission = Submission(source, seconds)

            def answer(*arguments, _name=exercise.name, _from=submission, **options):
                return _from.call(_name, *arguments, **options)

            found[exercise.name] = exercise.diagnose(answer) or ""
        except Exception as error:
            found[exercise.name] = f"the file stops with {type(error).__name__}: {error}"
        finally:
            if submission:
                submission.close()
    return found


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of submissions, one .py file each.")],
    names: Annotated[list[str], typer.Argument(help="Exercises of the assignment.")],
    output: Annotated[Path, typer.Option(help="CSV file of marks.")] = Path("marks.csv"),
    seconds: Annotated[float, typer.Option(help="Time limit of each call.")] = 30,
) -> None:
    """Mark every submission in a folder: one point for each exercise whose check it passes."""
    known = {e.name: e for number in range(1, 100) for e in exercises.of_chapter(number)}
    try:
        if unknown := [name for name in names if name not in known]:
            raise InputError(f"exercise {unknown[0]}: unknown; choose of {', '.join(known)}")
        files = sorted(folder.glob("*.py"))
        if not files:
            raise InputError(f"{folder}: no .py file in this folder")
    except InputError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    rows = []
    for path in files:
        source = path.read_text(encoding="utf-8", errors="replace")
        found = mark(source, [known[name] for name in names], seconds)
        points = sum(not problem for problem in found.values())
        # What a submission makes the checks say must not become a formula in a spreadsheet.
        said = {name: cell(problem) for name, problem in found.items()}
        rows.append({"submission": cell(path.stem), "points": points, **said})
        typer.echo(f"{path.stem}: {points} of {len(names)}")
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    typer.run(main)
