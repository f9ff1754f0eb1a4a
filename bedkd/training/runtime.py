"""The one accelerator of the process: device, precision and the other processes, if there are any.

Accelerate's state is a singleton that refuses a second precision. So it is made here, once, and
everybody asks here: the order of calls cannot matter.

Several processes (``accelerate launch``, ``torchrun``) find what one finds. Predictions are
shared out: each process takes every n-th batch, and all get all answers. Training steps are
repeated by every process with the same seeds. Sharing them out, as DistributedDataParallel does,
would give each process dropout masks of its own and average the means of unequal halves of a batch:
another training than that of one process. When to stop is decided on predictions that all
processes have, so they never part. The main process writes the files.
"""

from __future__ import annotations

import copy
import logging
import os
from functools import lru_cache

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DynamoBackend, gather_object
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from transformers import PreTrainedModel

from bedkd.errors import InputError

logger = logging.getLogger(__name__)


def precision() -> str:
    """What training runs in: ``ACCELERATE_MIXED_PRECISION`` where it is set; otherwise bf16 on a
    CUDA device that computes it natively, fp16 with loss scaling on older ones, and ``no`` (single
    precision) elsewhere. (``bf16`` makes training faster on processors that have it.)"""
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION")
    if asked:
        return asked
    if not torch.cuda.is_available():
        return "no"
    # Older cards emulate bf16, slowly; ask for native support.
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


@lru_cache(maxsize=1)
def accelerator() -> Accelerator:
    """Accelerate's handle on device, mixed precision and processes; made once.

    Where the caller has already made an Accelerator of his own, its precision is kept: Accelerate
    would refuse another one.
    """
    if AcceleratorState._shared_state:
        return Accelerator()
    return Accelerator(mixed_precision=precision())


def device() -> torch.device:
    """The device everything runs on (``ACCELERATE_USE_CPU=1`` forces the CPU)."""
    return accelerator().device


def on_device(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself where it is on the device and in single precision, otherwise a copy that is.

    A caller's model is never moved or cast in place. In bf16 weights most updates of fine-tuning
    would be rounded away. The copy remembers as ``stored_dtype`` what it is to be saved in.
    """
    weights = [p for p in model.parameters() if p.is_floating_point()]
    if all(p.device == device() and p.dtype == torch.float32 for p in weights):
        return model
    ours = copy.deepcopy(model).to(device=device(), dtype=torch.float32)
    ours.stored_dtype = getattr(model, "stored_dtype", model.dtype)
    return ours


def compiled(model: PreTrainedModel, *, in_place: bool) -> PreTrainedModel:
    """The model with a forward pass made by ``torch.compile`` where Accelerate was told a backend
    (``ACCELERATE_DYNAMO_BACKEND=inductor``, or ``accelerate launch --dynamo_backend inductor``);
    otherwise the model as it is.

    Meant for CUDA, where it has not been measured yet.
    Weights, their names and copies of the model are as without.

    Args:
        in_place: change this very model, and not another one with the same weights.
    """
    plugin = accelerator().state.dynamo_plugin
    if plugin.backend == DynamoBackend.NO:
        return model
    model = model if in_place else copy.copy(model)
    # Batches are of many lengths: one program for all of them.
    model.compile(**{**plugin.to_kwargs(), "dynamic": True})
    return model


def refuse_unless_out_of_memory(error: RuntimeError, what: str, can_halve: bool) -> None:
    """Make room and say so if memory has run out and the batch can be halved; otherwise raise.

    Raises:
        RuntimeError: the very error, which says something else.
        InputError: memory runs out with a single row.
    """
    if not should_reduce_batch_size(error):
        raise error
    if not can_halve:
        raise InputError(
            f"{what}: out of memory with a single row; give a smaller max_length, or a machine "
            "with more memory"
        ) from error
    logger.warning("%s: out of memory; the batch is halved", what)
    clear_device_cache(garbage_collection=True)


def my_share(count: int) -> np.ndarray:
    """Which of ``count`` batches this process works on: all of them without other processes."""
    acc = accelerator()
    return np.arange(acc.process_index, count, acc.num_processes)


def gathered(results: list) -> list:
    """What all processes found, in the order of the processes, without repetitions."""
    return gather_object(results) if accelerator().num_processes > 1 else results


def is_main_process() -> bool:
    """Whether this process writes the files."""
    return accelerator().is_main_process


def wait_for_everyone() -> None:
    """Go on when all processes have come here."""
    accelerator().wait_for_everyone()
