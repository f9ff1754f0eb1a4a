"""Small helpers for files: atomic writing and checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from safetensors import SafetensorError

from bedkd.errors import InputError


def cache_dir() -> Path:
    """Where victims, detections and the language model are kept: ``BEDKD_CACHE``, by default
    ``~/.cache/bedkd``."""
    return Path(os.environ.get("BEDKD_CACHE") or Path.home() / ".cache" / "bedkd")


def _beside(path: Path) -> Path:
    """A hidden name nobody uses yet, beside the target, so that a rename needs no copying."""
    # Cut short: a target whose own name is as long as names may be must still be writable.
    return path.parent / f".{path.name[:40]}-{secrets.token_hex(6)}"


def check_file(path: str | Path) -> None:
    """Make sure that a file can be written under this name before any work is done for it.

    Raises:
        InputError: it is a link, a folder, a pipe or a device.
    """
    _refuse_special(Path(path))


def refuse_ambiguous(name: str | Path, what: str) -> None:
    """Refuse a known name that is also a folder or file here: either could be meant.

    Raises:
        InputError: it is; says how to name the folder.
    """
    if isinstance(name, str) and Path(name).exists():
        raise InputError(
            f"{what} {name}: is a known name, and a file or folder here; write ./{name} for that, "
            "or rename it"
        )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says against writing (disk full, no permission) into one line."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: cannot be written ({error}); free space or name another output"
        ) from error


def _refuse_special(path: Path) -> None:
    """Refuse a target that a rename would destroy or redirect: only a plain file is replaced."""
    if path.is_symlink():
        raise InputError(f"{path}: is a symbolic link; name the file it points to as output")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file as output, such as {path}/scores.csv")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is a pipe or a device; name a regular file as output")


@contextlib.contextmanager
def atomic_text(path: str | Path) -> Iterator[IO[str]]:
    """Open a text file for writing that appears under ``path`` only when the block succeeds.

    Args:
        path: the file; missing folders above it are made.

    Raises:
        InputError: the target is a link, a folder, a pipe or a device, or cannot be written.
    """
    path = Path(path)
    with writing(path):
        _refuse_special(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = _beside(path)
        # Not tempfile: a file made by open() gets the permissions that the user's umask asks for.
        handle = open(staged, "x", encoding="utf-8", newline="")  # noqa: SIM115
        try:
            with handle:
                yield handle
            _refuse_special(path)  # it may have come into being while the block ran
            os.replace(staged, path)
        finally:
            staged.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """A staging folder whose files move to ``folder`` only when the block succeeds.

    A new folder appears in one rename. Other files of an existing folder stay; files move there
    one by one.

    Args:
        folder: the target; missing folders above it are made.

    Raises:
        InputError: the target is not a folder, cannot be written, or was filled by somebody else
            meanwhile.
    """
    folder = Path(folder)
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is not a folder; name another output")
        existed = folder.exists()
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = _beside(folder)
        staging.mkdir()
        try:
            yield staging
            if existed:
                for item in sorted(staging.iterdir()):
                    os.replace(item, folder / item.name)
            else:
                os.rename(staging, folder)  # fails where another run has filled it meanwhile
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def write_json(data: object, path: str | Path) -> Path:
    """Write JSON, indented, keys in the given order, all of it or nothing."""
    with atomic_text(path) as handle:
        json.dump(data, handle, indent=1, ensure_ascii=False)
        handle.write("\n")
    return Path(path)


def read_json(path: str | Path) -> dict:
    """What :func:`write_json` wrote."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextlib.contextmanager
def locked(folder: str | Path, *, wait: bool = False) -> Iterator[Path]:
    """Make a folder and hold it: nobody else may while the block runs. The lock goes with the
    process, however that ends.

    Args:
        wait: until whoever holds it is done, who may then have removed the folder.

    Raises:
        InputError: another process holds it, unless ``wait``; or it cannot be made.
    """
    import fcntl  # not on Windows; imported where it is needed

    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "w")  # noqa: SIM115
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            raise InputError(
                f"{folder}: another bedkd works on this output; wait for it"
            ) from error
        yield folder
