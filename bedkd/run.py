"""Where long work keeps its state: a folder for checkpoints, and who is told of progress.

State is written whole or not at all, in safetensors: tensors and arrays as such, everything else as
JSON in the file's header. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel

from bedkd.errors import InputError
from bedkd.files import write_json, writing
from bedkd.training import runtime

# Seconds between two states of one name: the epochs of a large model can be shorter than the time
# it takes to write it. So much work is done again at most after an interruption.
EVERY = 30.0


@dataclass(frozen=True)
class Run:
    """How an operation is run; nothing it computes depends on it.

    Attributes:
        folder: where checkpoints go, so that the same call goes on after an interruption; None
            keeps nothing.
        progress: show progress bars.
        callback: called after every cycle of a repair with the model; what it returns is recorded
            in the history. For figures.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = Run(Path(folder))
        ...     run.save("step", lambda: {"number": 3})
        ...     run.load("step"), run.load("another")
        ({'number': 3}, None)
    """

    folder: Path | None = None
    progress: bool = False
    callback: Callable[[PreTrainedModel], dict] | None = None

    def claim(self, **what: str) -> None:
        """Make sure that the folder's checkpoints belong to this work.

        Raises:
            InputError: they belong to other work; names what differs.
        """
        if self.folder is None:
            return
        path = Path(self.folder) / "run.json"
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = [name for name in what if before.get(name, what[name]) != what[name]]
            if changed:
                raise InputError(
                    f"{self.folder}: holds the state of a run with another {changed[0]}; delete "
                    "the folder to begin anew, or repeat the command as it was to go on"
                )
        elif runtime.is_main_process():
            write_json(what, path)

    def load(self, name: str) -> dict | None:
        """What :meth:`save` wrote under this name, None if nothing was."""
        path = self._path(name)
        return load_state(path) if path is not None and path.is_file() else None

    def save(self, name: str, state: Callable[[], dict]) -> None:
        """Keep a state in place of the last one, unless that is younger than ``EVERY`` seconds;
        ``state`` is called only if it is kept."""
        path = self._path(name)
        if path is None or not runtime.is_main_process():
            return
        if not path.is_file() or time.time() - path.stat().st_mtime >= EVERY:
            save_state(state(), path)

    def _path(self, name: str) -> Path | None:
        return None if self.folder is None else Path(self.folder) / f"{name}.safetensors"


def save_state(state: dict, path: str | Path) -> Path:
    """Write a nested dict of tensors, arrays and JSON values, all of it or nothing.

    Raises:
        InputError: it cannot be written; the disk may be full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_state({"epoch": 3, "scores": np.arange(2.0)}, f"{folder}/state")
        ...     load_state(path)
        {'epoch': 3, 'scores': array([0., 1.])}
    """
    path = Path(path)
    tensors: dict[str, torch.Tensor] = {}
    tree = _flatten(state, tensors)
    beside = path.with_name(f".{path.name}-{os.getpid()}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, beside, metadata={"state": json.dumps(tree)})
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    return path


def load_state(path: str | Path) -> dict:
    """Read what :func:`save_state` wrote; tensors come back on the CPU."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _restore(json.loads(file.metadata()["state"]), tensors)


def _flatten(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"array{len(tensors)}"
        tensors[name] = torch.from_numpy(np.array(value, order="C"))  # a copy, as below
        return {"__array__": name}
    if isinstance(value, torch.Tensor):
        name = f"tensor{len(tensors)}"
        # Cloned: safetensors refuses tensors that share memory, as tied weights do.
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"__tensor__": name}
    if isinstance(value, dict):
        # JSON knows text keys only; an optimiser's state has numbers.
        return {"__dict__": [[k, _flatten(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_flatten(v, tensors) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _restore(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_restore(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if "__array__" in value:
        return tensors[value["__array__"]].numpy()
    if "__tensor__" in value:
        return tensors[value["__tensor__"]]
    return {k: _restore(v, tensors) for k, v in value["__dict__"]}
