"""How seconds and memory of `bedkd detect` and `bedkd purify` grow: rows, layers, words.

    python benchmarks/growth.py rows        # 1,000 to 1,000,000 rows, a tiny model
    python benchmarks/growth.py resume      # a million rows, killed once, and once more
    python benchmarks/growth.py layers      # 3 to 12 layers of MiniLM's width
    python benchmarks/growth.py tokens      # 32 to 256 words a row
    python benchmarks/growth.py purify      # 100,000 rows, detection and repair

Every measurement is a command in a process of its own, run as a user runs it. Memory is what the
process holds for itself (anonymous pages of /proc, so Linux only): pages of files that the system
can drop at any time do not count. Rows are embedded reviews; a million are the same hundred
thousand with a number behind each. Records go to ``results/performance/growth-PART.json`` as they
come; finished ones are not measured again.
"""

from __future__ import annotations

import csv
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from bedkd import attacks, data, models, report
from bedkd.evaluation import evaluate
from bedkd.files import read_json, write_json
from bedkd.training.fine_tune import TrainingConfig, fine_tune

ROOT = Path(__file__).resolve().parent.parent
DISTINCT, TRUSTED, SEED = 100_000, 1_000, 0
ROWS = (1_000, 10_000, 100_000, 1_000_000)
LAYERS, TOKENS = (3, 6, 12), (32, 64, 128, 256)
EVERY = 0.05  # seconds between two looks at a process
KILLED_AFTER = 10  # parts of the scan


def model_of(layers: int, *, width: int | None = None) -> tuple[PreTrainedModel, object]:
    """An untrained classifier of MiniLM's kind; of its own width, or a narrow one."""
    _, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
    config = AutoConfig.from_pretrained(models.minilm_folder(), num_labels=2)
    config.num_hidden_layers = layers
    if width:
        config.hidden_size, config.intermediate_size, config.num_attention_heads = width, width, 1
    torch.manual_seed(SEED)
    return AutoModelForSequenceClassification.from_config(config), tokenizer


def some_rows(count: int, words: int | None = None) -> data.Dataset:
    """So many reviews; with ``words`` each joined with others up to this number of words."""
    enough = count * (words or 10) // 10  # a review has more than ten words on average
    reviews = data.load("reviews", train=min(enough, DISTINCT), dev=2, test=2)["train"]
    texts, labels = reviews["text"][:], reviews["label"][:]
    if words:
        joined = " ".join(texts).split()
        texts = [" ".join(joined[i * words : (i + 1) * words]) for i in range(count)]
        labels = labels[:count]
    copies = range(-(-count // len(texts)))
    parts = ([f"{text} No. {k}" if k else text for text in texts] for k in copies)
    return data.rows.make_large((part, labels[: len(part)], [None] * len(part)) for part in parts)


def prepare(folder: Path, model: PreTrainedModel, tokenizer, rows: data.Dataset) -> list[str]:
    """The files of a command; returns the options that name them."""
    models.save_checkpoint(model, tokenizer, folder / "model")
    rows.to_parquet(folder / "rows.parquet")
    data.write(data.load("reviews", train=2, dev=TRUSTED, test=2)["dev"], folder / "trusted.csv")
    names = {"model": "model", "trusted": "trusted.csv", "untrusted": "rows.parquet"}
    return [word for name, file in names.items() for word in (f"--{name}", str(folder / file))]


def watched(line: list[str], until: Path | None = None) -> dict:
    """Run a command and watch its memory; kill it as soon as a file ``until`` is there."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(line, stdout=said, stderr=said)
        peak, done, start = [0], threading.Event(), time.perf_counter()

        def watch() -> None:
            while not done.wait(EVERY):
                peak[0] = max(peak[0], own_memory(process.pid))
                if until is not None and until.exists():
                    process.send_signal(signal.SIGKILL)
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, used = os.wait4(process.pid, 0)
        done.set()
        watcher.join()
        said.seek(0)
        if os.waitstatus_to_exitcode(status) != (0 if until is None else -signal.SIGKILL):
            sys.exit(f"{line} ended with {status}:\n{said.read()[-3000:]}")
    cpu = used.ru_utime + used.ru_stime
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak[0] / 1e6}


def own_memory(pid: int) -> int:
    """Bytes of anonymous memory of a process, 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(w.split()[1]) * 1024 for w in lines if w.startswith("RssAnon")), 0)


def detect(names: list[str], output: Path, *more: str, until: Path | None = None) -> dict:
    """`bedkd detect` by the mapping module alone: the scan, and little else."""
    line = [sys.executable, "-m", "bedkd", "detect", *names, "--output", str(output)]
    settings = ("--config", "quick", "--detector", "dmm", "--quiet")
    return watched([*line, *settings, *more], until)


def grown(part: str, value: int, folder: Path) -> dict:
    """One measurement of a series."""
    if part == "rows":
        made = prepare(folder, *model_of(1, width=64), some_rows(value))
        return detect(made, folder / "scores.csv", "--max-length", "64")
    layers, words = (value, 24) if part == "layers" else (3, value)
    made = prepare(folder, *model_of(layers), some_rows(1_000, words))
    return detect(made, folder / "scores.csv", "--max-length", "512")


def resumed(folder: Path) -> dict:
    """Killed in the middle, and the same command again; against a run that nothing interrupted."""
    made = prepare(folder, *model_of(1, width=64), some_rows(ROWS[-1]))
    more = ("--max-length", "64")
    whole = detect(made, folder / "whole.csv", *more)
    state = folder / "scores.csv.partial"
    killed = detect(
        made, folder / "scores.csv", *more, until=state / f"scan-{KILLED_AFTER}.safetensors"
    )
    scanned = len(list(state.glob("scan-[0-9]*.safetensors")))
    rest = detect(made, folder / "scores.csv", *more)
    sums = [
        hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("whole.csv", "scores.csv")
    ]
    return {
        "rows": ROWS[-1],
        "whole": whole,
        "killed": killed,
        "parts_before_the_kill": scanned,
        "rest": rest,
        "same_bytes": sums[0] == sums[1],
    }


def purified(folder: Path) -> dict:
    """All of `bedkd purify`, preset ``cycles``, over 100,000 rows, a tenth poisoned, of which the
    victim saw 8,000."""
    splits = data.load("reviews", train=DISTINCT, dev=TRUSTED, test=1_000)
    task = attacks.build_task(splits, attacks.BadNets(), rate=0.1, target=1, seed=SEED)
    model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1, seed=SEED)
    fine_tune(
        model,
        tokenizer,
        task.train.shuffle(seed=SEED).select(range(8_000)),
        TrainingConfig(lr=2e-4, max_length=64),
        seed=SEED,
    )
    made = prepare(folder, model, tokenizer, task.train.select_columns(["text", "label"]))
    line = [sys.executable, "-m", "bedkd", "purify", *made, "--output", str(folder / "purified")]
    costs = watched([*line, "--config", "cycles", "--max-length", "64", "--quiet"])
    said = read_json(folder / "purified" / "report.json")
    with open(folder / "purified" / "suspects.csv", encoding="utf-8", newline="") as file:
        flagged = [int(row["row"]) for row in csv.DictReader(file) if row["flagged"] == "1"]
    flags = np.asarray(task.train["poisoned"][:])
    after, _ = models.load_checkpoint(folder / "purified")
    tests = {
        "clean": task.clean["test"],
        "poisoned": task.poisoned_test,
        "triggered": task.triggered,
    }
    judged = {
        name: {
            key: share["value"]
            for key, share in evaluate(who, tokenizer, **tests, max_length=64).items()
            if isinstance(share, dict) and "value" in share
        }
        for name, who in (("before", model), ("after", after))
    }
    return {
        **costs,
        "rows": said["rows"],
        "poisoned": int(flags.sum()),
        "flagged": len(flagged),
        "flagged_poisoned": int(flags[flagged].sum()),
        "parts": said["cpu_seconds"],
        **judged,
    }


def main(part: str) -> None:
    path = ROOT / "results" / "performance" / f"growth-{part}.json"
    record = report.provenance(f"python benchmarks/growth.py {part}", seed=SEED, backbone="minilm")
    record["runs"] = read_json(path)["runs"] if path.is_file() else []
    series = {"rows": ROWS, "layers": LAYERS, "tokens": TOKENS}
    for value in series.get(part, (None,)):
        if any(run.get(part) == value for run in record["runs"]):
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if part in series:
                run = {part: value, **grown(part, value, folder)}
            else:
                run = {"resume": resumed, "purify": purified}[part](folder)
        record["runs"].append(run)
        write_json(record, path)
        sys.stderr.write(f"{run}\n")


if __name__ == "__main__":
    main(sys.argv[1])
