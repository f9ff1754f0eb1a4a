"""Run the chapters whose inputs changed and keep their outputs under ``_build/executed/``.

A chapter runs again when its code cells, the library, the pinned environment, the committed results
or the profile changed; an edit of its prose does not count. The notebooks in the reader's tree stay
as they are, unless ``--write`` asks for the outputs to be stored in them. ``--time`` runs them all
and writes the seconds of each to ``results/status/``, for the page *Status*.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
import shared_models
from chapters import ROOT, chapters, code_cells, notebook_environment, read, tree_hash
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

CELL_SECONDS = {"quick": 600, "full": 6 * 3600}


def profile() -> str:
    name = os.environ.get("BEDKD_PROFILE") or "quick"
    if name not in CELL_SECONDS:
        sys.exit(f"BEDKD_PROFILE is {name!r}; it must be one of {', '.join(CELL_SECONDS)}")
    return name


def store(path: Path) -> Path:
    """Where the outputs of the chapter at ``path`` are kept."""
    return ROOT / "_build" / "executed" / profile() / f"{path.stem}.json"


def key(notebook: nbformat.NotebookNode, library: str) -> str:
    """What the outputs of ``notebook`` depend on, as one hash."""
    parts = [library, profile(), *(cell.source for cell in code_cells(notebook))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def merge(notebook: nbformat.NotebookNode, kept: dict) -> nbformat.NotebookNode:
    """Put kept outputs into a notebook whose code cells are the ones that made them."""
    for count, (cell, outputs) in enumerate(
        zip(code_cells(notebook), kept["outputs"], strict=True), start=1
    ):
        cell.outputs = [nbformat.from_dict(output) for output in outputs]
        cell.execution_count = count
    notebook.metadata.pop("widgets", None)
    return notebook


def executed(path: Path) -> nbformat.NotebookNode:
    """The chapter at ``path`` as it stands, with the outputs of its last run.

    Raises:
        SystemExit: it has not been run since its code or the library changed.
    """
    notebook, kept = read(path), kept_outputs(path)
    if kept is None or kept["key"] != key(notebook, tree_hash()):
        sys.exit(f"{path.name} has changed since it was run: run tools/run_notebooks.py first")
    return merge(notebook, kept)


def kept_outputs(path: Path) -> dict | None:
    try:
        return json.loads(store(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def run(path: Path) -> list[list[dict]]:
    """Run the chapter at ``path`` in a fresh kernel; the outputs of each code cell."""
    notebook = read(path)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS[profile()],
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--log-level=ERROR"],
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
    )
    client.execute()
    return [cell.outputs for cell in code_cells(notebook)]


def run_all(paths: list[Path], keys: dict[Path, str]) -> None:
    """Run chapters side by side and keep the outputs of each as soon as it is done.

    Raises:
        SystemExit: a chapter failed; the others that were running are kept first.
    """

    def run_one(path: Path) -> str | None:
        started = time.monotonic()
        try:
            outputs = run(path)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            return f"{error}\n\n{path.name} failed; the cell and its error are above"
        seconds = time.monotonic() - started
        kept = {"key": keys[path], "seconds": round(seconds, 1), "outputs": outputs}
        write_atomically(store(path), json.dumps(kept))
        print(f"{path.name}: done in {seconds:.0f} s", flush=True)
        return None

    side_by_side = min(2, os.cpu_count() or 1) if profile() == "quick" else 1
    print(f"running {len(paths)} chapters ({profile()} profile) ...", flush=True)
    with ThreadPoolExecutor(side_by_side) as pool:
        # The longest chapters are late in the book: begin with them.
        jobs = [pool.submit(run_one, path) for path in reversed(paths)]
        for job in as_completed(jobs):
            if job.result() is not None:
                pool.shutdown(wait=True, cancel_futures=True)
                sys.exit(job.result())


def keep_times(paths: list[Path], whole: float) -> None:
    """Write the seconds of each chapter, side by side as ``run_all`` ran them, and of the whole."""
    from bedkd import report  # takes seconds to import, and only this needs it
    from bedkd.files import write_json
    from bedkd.training.runtime import device

    made = report.provenance("python tools/run_notebooks.py --time", seed=0)
    seconds = {path.stem: {"seconds": kept_outputs(path)["seconds"]} for path in paths}
    record = {"profile": profile(), "cores": os.cpu_count(), "chapters": seconds}
    name = f"chapters-{profile()}-{device().type}.json"
    write_json({**made, **record, "whole": round(whole, 1)}, ROOT / "results" / "status" / name)


def write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def drop_old_caches() -> None:
    """Remove the models that earlier states of the library left behind."""
    current = Path(notebook_environment()["BEDKD_CACHE"])
    if current.parent.is_dir():
        for folder in current.parent.iterdir():
            if folder != current:
                shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all chapters")
    parser.add_argument("--write", action="store_true", help="store the outputs in notebooks/")
    parser.add_argument("--time", action="store_true", help="run all, and keep the seconds of each")
    options = parser.parse_args()
    if options.write and profile() != "quick":
        sys.exit("the notebooks are committed with the outputs of the quick profile only")
    for name, value in notebook_environment().items():
        os.environ.setdefault(name, value)
    drop_old_caches()

    paths = [p.resolve() for p in options.notebooks] or chapters()
    library = tree_hash()
    wanted = {path: key(read(path), library) for path in paths}
    stale = []
    for path in paths:
        kept = kept_outputs(path)
        if kept is not None and kept["key"] == wanted[path] and not options.time:
            print(f"{path.name}: unchanged, not run again")
        else:
            stale.append(path)
    started = time.monotonic()
    if stale:
        shared_models.train(profile())
        run_all(stale, wanted)
    if options.time:
        keep_times(paths, time.monotonic() - started)
    if options.write:
        for path in paths:
            merged = merge(read(path), kept_outputs(path))
            write_atomically(path, nbformat.writes(merged) + "\n")


if __name__ == "__main__":
    main()
