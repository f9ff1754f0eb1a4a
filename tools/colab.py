"""Run chapters as Colab would: a clean environment, bedkd installed over it without dependencies.

``python tools/colab.py oldest`` makes an environment of the exact versions in
``tools/colab/oldest.txt`` (the lower bounds of ``pyproject.toml``; ``newest`` likewise), builds a
wheel (or, with ``--zip``, packs the sources as an uploaded zip), and runs chapters in an empty
folder. Their setup cell believes that it is in Colab and installs the file by itself, as it does
for a reader who has uploaded it. Run it by hand: it downloads gigabytes and takes minutes. Each
chapter is written down when it is done; those that the same code has run before are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from chapters import ROOT, chapters

from bedkd.files import read_json, write_json
from bedkd.report import provenance

FOLDER = ROOT / "tools" / "colab"
WORK = ROOT / "_build" / "colab"
RESULT = ROOT / "results" / "checks"
CHAPTERS = (1, 3, 6)
RESOLUTION = {"oldest": "lowest-direct", "newest": "highest"}
# Read at the start of every process: the setup cell asks for this module.
IN_COLAB = """
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec

sys.modules["google.colab"] = module_from_spec(ModuleSpec("google.colab", None))
"""
RUN = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=3600, kernel_name="python3").execute()
setup = next(cell for cell in notebook.cells if cell.id == "setup")
print("".join(o.get("text", "") for o in setup.outputs).strip())
said = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
print(said.count("This run shows otherwise"), "sentences do not fit")
"""


def uv(*words: object) -> None:
    """Run uv, of the environment that runs this file."""
    command = [Path(sys.executable).with_name("uv"), *map(str, words)]
    subprocess.run(command, check=True, cwd=ROOT)


def renew(name: str) -> None:
    """Resolve the versions of a set anew. A newer torch is a decision, as in ``make lock``."""
    target = FOLDER / f"{name}.txt"
    head = target.read_text(encoding="utf-8").splitlines()[0]
    words = ["pyproject.toml", FOLDER / "runner.in", "--resolution", RESOLUTION[name]]
    if name == "newest":
        pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
        WORK.mkdir(parents=True, exist_ok=True)
        (WORK / "torch.txt").write_text(re.search(r"^torch==\S+", pins, re.M)[0], encoding="utf-8")
        words += ["--constraint", WORK / "torch.txt"]
    options = ("--python-version", "3.11", "--no-annotate", "--no-header", "--quiet", "--upgrade")
    uv("pip", "compile", *words, *options, "--output-file", target)
    resolved = target.read_text(encoding="utf-8").replace("+cpu", "")
    target.write_text(f"{head}\n{resolved}", encoding="utf-8")


def environment(name: str) -> Path:
    """Python of an environment with exactly the versions of a set, and without bedkd."""
    folder = WORK / name
    python = folder / "bin" / "python"
    if not python.is_file():
        uv("venv", "--seed", "--quiet", "--python", sys.executable, folder)
    uv("pip", "install", "--quiet", "--python", python, "-r", FOLDER / f"{name}.txt")
    uv("pip", "uninstall", "--quiet", "--python", python, "bedkd")
    return python


def packed(name: str, as_zip: bool) -> Path:
    """The file that a reader would upload."""
    made = WORK / f"upload-{name}"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    if as_zip:
        target = made / "bedkd.zip"
        subprocess.run(["git", "archive", "--output", target, "HEAD"], check=True, cwd=ROOT)
        return target
    uv("build", "--wheel", "--quiet", "--out-dir", made)
    return next(made.glob("*.whl"))


def run(python: Path, path: Path, upload: Path) -> dict:
    """Run one chapter in a folder that holds nothing else than the uploaded file."""
    here = WORK / f"content-{python.parts[-3]}"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    shutil.copy(path, here)
    shutil.copy(upload, here)
    start = WORK / "start"
    start.mkdir(exist_ok=True)
    (start / "sitecustomize.py").write_text(IN_COLAB, encoding="utf-8")
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("BEDKD_", "PYTHON"))}
    own = {"PYTHONPATH": str(start), "BEDKD_CACHE": str(WORK / "cache" / python.parts[-3])}
    started = time.monotonic()
    done = subprocess.run(
        [python, "-c", RUN, path.name],
        cwd=here,
        env={**outside, **own, "BEDKD_PROFILE": "quick", "JUPYTER_PREFER_ENV_PATH": "1"},
        capture_output=True,
        text=True,
    )
    print(done.stdout, done.stderr[-3000:] if done.returncode else "", flush=True)
    seconds = round(time.monotonic() - started)
    return {"passed": done.returncode == 0, "seconds": seconds, "says": done.stdout.splitlines()}


FACTS = """
import json
from importlib.metadata import version
from bedkd.report import stored
names = ("bedkd", "torch", "transformers", "accelerate", "datasets", "numpy", "peft")
runs = len(stored("defended-paper"))
print(json.dumps({"versions": {n: version(n) for n in names}, "stored_runs": runs}))
"""


def facts(python: Path) -> dict:
    """Versions that were in use, and how many stored runs the installed package brings."""
    done = subprocess.run([python, "-c", FACTS], check=True, capture_output=True, cwd=WORK.root)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=sorted(RESOLUTION))
    parser.add_argument("--renew", action="store_true", help="resolve the versions anew, then stop")
    parser.add_argument("--zip", action="store_true", help="install a zip of the sources")
    parser.add_argument("--chapters", type=int, nargs="+", default=CHAPTERS)
    options = parser.parse_args()
    if options.renew:
        renew(options.set)
        return
    python, upload = environment(options.set), packed(options.set, options.zip)
    # Victims that were there before were trained elsewhere.
    cached = sorted(path.name for path in (WORK / "cache" / options.set / "models").glob("*"))
    command = f"python tools/colab.py {options.set}{' --zip' * options.zip}"
    target = RESULT / f"colab-{options.set}{'-zip' * options.zip}.json"
    made, found = provenance(command, seed=0, backbone="minilm"), {}
    if target.is_file():
        kept = read_json(target)
        if kept["code"]["source"] == made["code"]["source"]:
            found = kept["chapters"]
    record = {
        **made,
        "set": options.set,
        "installed_from": upload.suffix.lstrip("."),
        "victims_from_cache": cached,
    }
    for path in chapters():
        if int(path.name[:2]) in options.chapters:
            print(path.name, flush=True)
            found[path.name] = run(python, path, upload)
            record |= {**facts(python), "chapters": dict(sorted(found.items()))}
            write_json(record, target)
    sys.exit(not all(chapter["passed"] for chapter in found.values()))


if __name__ == "__main__":
    main()
