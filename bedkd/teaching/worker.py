"""Runs one submission for :mod:`bedkd.teaching.grade`, in a process that holds no solution.

Calls come in as pickles, from the checker, and answers go out as JSON: nothing that a submission
makes is ever unpickled. Run as a file, so that the package with the solutions is not imported.
"""

import json
import os
import pickle
import struct
import sys

FORBIDDEN = ("subprocess.", "socket.", "ctypes.", "os.system", "os.exec", "os.fork", "os.posix_")
FORBIDDEN += ("os.kill", "os.spawn", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "shutil.")


def plain(value):
    """A value as JSON with its kind beside it."""
    kind = type(value).__name__
    if kind in ("NoneType", "bool", "int", "float", "str") and type(value).__module__ == "builtins":
        return ["plain", value]
    if isinstance(value, list | tuple):
        return [kind, [plain(item) for item in value]]
    if isinstance(value, dict):
        return ["dict", [[plain(key), plain(item)] for key, item in value.items()]]
    if kind == "Tensor":
        return ["tensor", plain(value.detach().numpy())]
    if type(value).__module__ == "numpy":
        return ["array", [str(value.dtype), list(value.shape), value.ravel().tolist()]]
    raise TypeError(f"the result is a {kind}, which is not what is asked for")


def guard(readable, secret):
    """Refuse, from now on, files outside of the libraries, other programs and the network."""
    real, join, writes = os.path.realpath, os.path.join, os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def inside(path, folders):
        path = join(real(path), "")
        return any(path.startswith(folder) for folder in folders)

    def hook(event, arguments):
        if event.startswith(FORBIDDEN):
            raise PermissionError(f"a submission may not use {event}")
        if event in ("open", "os.listdir", "os.scandir"):
            path = arguments[0]
            if isinstance(path, int) or path is None:
                raise PermissionError("a submission may not open this")
            path = os.fsdecode(path)
            written = event == "open" and (arguments[2] or 0) & writes
            if written or inside(path, secret) or not inside(path, readable):
                raise PermissionError(f"a submission may not open {os.path.basename(path)}")

    sys.addaudithook(hook)


def main():
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a submission prints must not look like an answer

    def receive():
        size = inbox.read(8)
        if not size:
            raise SystemExit
        return pickle.loads(inbox.read(struct.unpack("Q", size)[0]))

    def send(answer):
        outbox.write(json.dumps(answer).encode() + b"\n")
        outbox.flush()

    source, readable, secret = receive()
    for library in ("numpy", "torch"):  # they load binaries, which is refused afterwards
        if library in source or library == "numpy":
            __import__(library)
    guard(readable, secret)
    names = {"__name__": "submission"}
    try:
        exec(compile(source, "submission", "exec"), names)
        send(["ready", None])
    except BaseException as error:
        send(["error", type(error).__name__, str(error)[:300]])
        return
    while True:
        name, arguments, options = receive()
        try:
            if not callable(names.get(name)):
                raise NotImplementedError
            made = plain(names[name](*arguments, **options))
            send(["made", made, [plain(a) if hasattr(a, "dtype") else None for a in arguments]])
        except Exception as error:
            send(["error", type(error).__name__, str(error)[:300]])


if __name__ == "__main__":
    main()
