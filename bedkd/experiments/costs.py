"""What a method costs: seconds, and the memory that it takes beyond what was there before."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import psutil
import torch

from bedkd.training.runtime import device

# How often the process is asked for its size, in seconds.
EVERY = 0.05


class Costs:
    """Seconds and peak memory of a block.

    ``seconds`` is wall-clock, ``cpu_seconds`` processor time; ``peak_mb`` the largest growth in
    megabytes of the process's resident memory, or on a CUDA device of the memory allocated there.
    Memory that earlier work has freed and the process has kept does not count as growth: methods
    are compared in processes of equal history.

    Example:
        >>> with Costs() as costs:
        ...     block = bytearray(80_000_000)
        ...     time.sleep(2 * EVERY)
        >>> costs.peak_mb > 50, costs.seconds > EVERY
        (True, True)
    """

    def __enter__(self) -> Costs:
        self.cuda = device().type == "cuda"
        self.process, self.peak, self.done = psutil.Process(), 0, threading.Event()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats(device())
        self.before, self.start = self._now(), (time.perf_counter(), time.process_time())
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self.start[0]
        self.cpu_seconds = time.process_time() - self.start[1]
        self.done.set()
        self.watcher.join()
        self.peak = max(self.peak, self._now())
        self.peak_mb = max(self.peak - self.before, 0) / 1e6

    def to_dict(self) -> dict:
        """As a JSON object."""
        return {k: getattr(self, k) for k in ("seconds", "cpu_seconds", "peak_mb")}

    def _watch(self) -> None:
        while not self.done.wait(EVERY):
            self.peak = max(self.peak, self._now())

    def _now(self) -> int:
        if self.cuda:
            return torch.cuda.max_memory_allocated(device())
        return self.process.memory_info().rss
