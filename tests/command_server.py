"""Runs ``bedkd`` commands for the tests, each in processes of its own.

They are forked from this one, which has imported everything: importing takes longer than a command
of toy size. For each line of JSON on standard input it answers with the numbers of the processes
and, when they have ended, with their exit statuses.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from bedkd import cli, presets, run
from bedkd.detectors.content import Content
from bedkd.detectors.trigger_probe import TriggerProbe
from bedkd.detectors.wording import Wording
from bedkd.training.loop import Trainer

SECONDS = 240  # a process that hangs ends itself


def write_down(log, hold):
    """Every finished training pass goes into ``log``; before pass number ``hold`` the process
    waits to be interrupted."""
    train = Trainer.train

    def logged(self, steps):
        done = log.read_text().splitlines() if log.is_file() else []
        if len(done) == hold:
            log.with_suffix(".held").touch()
            time.sleep(SECONDS)
        losses = train(self, steps)
        log.write_text("\n".join([*done, self.description]))
        return losses

    Trainer.train = logged


def die_before(count):
    """The process ends, as by SIGKILL, before a file takes its place for the ``count``-th time."""
    replace, calls = os.replace, []

    def deadly(*paths):
        calls.append(paths)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)

    os.replace = deadly


def become(request, rank):
    """Turn this process into one that runs the command."""
    signal.alarm(SECONDS)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in enumerate((os.devnull, f"{request['says']}.{rank}.out")):
        os.dup2(os.open(name, os.O_CREAT | os.O_RDWR | os.O_TRUNC), number)
    os.dup2(os.open(f"{request['says']}.{rank}.err", os.O_CREAT | os.O_RDWR | os.O_TRUNC), 2)
    if request["processes"] > 1:  # what torchrun and accelerate launch tell a process
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), **request["environment"]}
    run.EVERY = 0.0  # a toy's passes take less than a second
    used = (Content, TriggerProbe, Wording)
    known = {**vars(presets), **{part.__name__: part for part in used}}
    presets.PRESETS["quick"] = lambda: eval(request["preset"], known)
    if rank == 0:
        write_down(Path(request["log"]), request["hold"])
        die_before(request["die"])
    cli.app(request["words"])


def forked(request, rank):
    if child := os.fork():
        return child
    status = 1
    try:
        become(request, rank)
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    for line in sys.stdin:
        request = json.loads(line)
        children = [forked(request, rank) for rank in range(request["processes"])]
        print(json.dumps(children), flush=True)
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(ends), flush=True)
