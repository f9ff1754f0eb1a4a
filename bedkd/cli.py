"""The command line: ``bedkd poison, train, detect, purify, evaluate, reproduce, data``.

With ``--json`` one JSON object goes to standard output; messages and progress always go to
standard error. Exit status 0 means success, 2 bad input, with one message that says what to do.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from datasets import Dataset, concatenate_datasets
from datasets import disable_progress_bars as quiet_datasets
from transformers.utils import logging as transformers_logging

from bedkd import attacks, data, detection, experiments, metrics, models, report
from bedkd.attacks import rewriting
from bedkd.conditions import Conditions
from bedkd.defence import BeDKDConfig, divide_trusted, purify
from bedkd.errors import InputError
from bedkd.evaluation import evaluate
from bedkd.files import atomic_text, sha256, write_json
from bedkd.training import TrainingConfig, default_lr, fine_tune

app = typer.Typer(
    help="Find and remove backdoors in text classifiers (BeDKD).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Which data sets are at hand, and are their files intact?")
app.add_typer(data_app, name="data", no_args_is_help=True)

Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No messages and no progress.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
ModelFolder = Annotated[str, typer.Option(help="Checkpoint folder (or hub id) of a classifier.")]
Trusted = Annotated[Path, typer.Option(help="Clean rows with true labels.")]
Untrusted = Annotated[Path, typer.Option(help="The training set that may be poisoned.")]
Config = Annotated[str, typer.Option(help="default, paper or quick.")]
File = Annotated[Path, typer.Option(help="CSV, TSV or JSONL; or a folder `bedkd poison` wrote.")]
Output = Annotated[Path, typer.Option(help="Where to write.")]
Lr = Annotated[float | None, typer.Option(min=0.0, help="2e-4 for minilm, else 2e-5.")]
Normalise = Annotated[bool, typer.Option("--normalise", help="Remove traces of corpora.")]


@dataclass(frozen=True)
class Console:
    """Messages on standard error, one result on standard output."""

    quiet: bool
    as_json: bool

    def say(self, message: str) -> None:
        if not self.quiet:
            print(message, file=sys.stderr, flush=True)

    def finish(self, result: dict, text: str) -> None:
        if self.as_json:
            print(json.dumps(result, ensure_ascii=False))
        elif not self.quiet:
            print(text)


@contextlib.contextmanager
def console(quiet: bool, as_json: bool) -> Iterator[Console]:
    """Set up messages; turn an InputError into exit status 2 and an interruption into 130."""
    quiet_datasets()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO, format="%(message)s", stream=sys.stderr
    )
    for noisy in ("httpx", "accelerate", "transformers", "datasets", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        yield Console(quiet, as_json)
    except InputError as error:
        print(f"bedkd: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        print("bedkd: interrupted; nothing half-written", file=sys.stderr)
        raise typer.Exit(130) from error


def _rows(path: Path, split: str = "train") -> Dataset:
    """Rows of a file, or of one split of a folder in the OpenBackdoor layout."""
    if path.is_dir():
        # Only the file that is meant: a defence must not so much as open the test rows.
        for file in (path / f"{split}.csv", path / f"{split}-clean.csv"):
            if file.is_file():
                return data.read(file)
        raise InputError(f"{path}: no {split}.csv or {split}-clean.csv")
    return data.read(path)


def _named_config(name: str) -> BeDKDConfig:
    if name not in experiments.CONFIGS:
        raise InputError(f"config {name!r}: choose one of {', '.join(experiments.CONFIGS)}")
    return experiments.CONFIGS[name]()


def _fresh(path: Path) -> Path:
    """Refuse to write into a folder that already holds something."""
    if path.is_dir() and any(path.iterdir()):
        raise InputError(f"output {path}: this folder is not empty; give a new one")
    if path.is_file():
        raise InputError(f"output {path}: this is a file; give a folder")
    return path


def _trigger(
    source: str,
    attack: str,
    words: str | None,
    count: int | None,
    position: str | None,
    sentence: str | None,
    pairs: tuple[Path | None, Path | None],
    generator: str | None,
    output: Path,
) -> attacks.Trigger:
    """The trigger that the options describe; an option that the attack lacks is an error."""
    given = {
        "words": tuple(words.split(",")) if words else None,
        "count": count,
        "position": position,
        "sentence": sentence,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    allowed = {
        "badnets": {"words", "count", "position"},
        "addsent": {"sentence", "position"},
        "combination": {"words"},
    }.get(attack, set())
    for name in changes.keys() - allowed:
        raise InputError(f"--{name}: the attack {attack} has no such parameter")
    if attack in experiments.INSERTIONS:
        return replace(experiments.INSERTIONS[attack], **changes)
    if attack not in rewriting.FORMS:
        raise InputError(f"attack {attack!r}: choose one of {', '.join(experiments.ATTACKS)}")
    if any(pairs):
        if not all(pairs):
            raise InputError("--original and --rewritten go together: two row-aligned files")
        return attacks.Rewrite(attack, rewriting.Pairs.from_files(*pairs))
    if generator:
        return attacks.Rewrite(attack, rewriting.load_generator(generator, attack, output))
    return rewriting.find(source, attack)


@app.command()
def poison(
    data_: Annotated[str, typer.Option("--data", help="A name, a file, a folder or a hub id.")],
    attack: Annotated[str, typer.Option(help=", ".join(experiments.ATTACKS))],
    output: Output,
    rate: Annotated[float, typer.Option(help="Share of all training rows to poison.")] = 0.2,
    target: Annotated[int | None, typer.Option(help="Target label.")] = None,
    setting: Annotated[str, typer.Option(help="dirty, clean or mixed.")] = "dirty",
    words: Annotated[str | None, typer.Option(help="Trigger words, by commas.")] = None,
    count: Annotated[int | None, typer.Option(help="Trigger words in a row.")] = None,
    position: Annotated[str | None, typer.Option(help="random, start or end.")] = None,
    sentence: Annotated[str | None, typer.Option(help="Trigger sentence.")] = None,
    original: Annotated[Path | None, typer.Option(help="Texts that were rewritten.")] = None,
    rewritten: Annotated[Path | None, typer.Option(help="Their rewritings, row by row.")] = None,
    generator: Annotated[str | None, typer.Option(help="Model that rewrites.")] = None,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Remove traces of corpora.")
    ] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Poison a training set; write the OpenBackdoor layout, the training mix and a manifest."""
    with console(quiet, as_json) as out:
        _fresh(output)
        splits = data.load(data_, seed=seed)
        goal = experiments.default_target(data_) if target is None else target
        pairs = (original, rewritten)
        used = _trigger(data_, attack, words, count, position, sentence, pairs, generator, output)
        source: dict = {"data": data_}
        if Path(data_).is_file():
            source["sha256"] = sha256(data_)
        elif files := data_ in data.SOURCES and data.local_files(data_):
            source["sha256"] = {split: sha256(path) for split, path in files.items()}
        if "test" not in splits:
            out.say(
                f"Note: {data_} has a train split only, so no test files are written; give a "
                "folder with train-clean.csv, dev-clean.csv and test-clean.csv to get them"
            )
        task = attacks.build_task(
            splits, used, rate=rate, target=goal, setting=setting, seed=seed, source=source
        )
        if normalise:
            task = task.normalised()
        task.write(output)
        manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
        summary = {k: v for k, v in manifest.items() if not k.endswith("_rows")}
        out.finish(
            {"output": str(output), **summary},
            f"{manifest['poisoned']} of {manifest['rows']} training rows poisoned with "
            f"{attack}, target {goal}. Train on {output / 'train.csv'}; everything else is in "
            f"{output / 'manifest.json'}.",
        )


@app.command()
def train(
    train_: Annotated[Path, typer.Option("--train", help="CSV, TSV, JSONL or a poison folder.")],
    output: Output,
    backbone: Annotated[str, typer.Option(help="minilm, a folder or a hub id.")] = "minilm",
    layers: Annotated[int | None, typer.Option(help="Keep the first so many layers.")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 3,
    lr: Lr = None,
    batch_size: Annotated[int, typer.Option(min=1)] = TrainingConfig.batch_size,
    max_length: Annotated[int, typer.Option(min=4)] = TrainingConfig.max_length,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a classifier and write a Hugging Face checkpoint folder."""
    with console(quiet, as_json) as out:
        _fresh(output)
        rows = _rows(train_)
        classes = data.num_labels(rows)
        model, tokenizer = models.load_backbone(
            backbone, num_labels=classes, layers=layers, seed=seed
        )
        config = TrainingConfig(
            epochs=epochs,
            lr=default_lr(backbone) if lr is None else lr,
            batch_size=batch_size,
            max_length=max_length,
        )
        losses = fine_tune(model, tokenizer, rows, config, seed=seed, progress=not quiet)
        models.save_checkpoint(model, tokenizer, output)
        last = float(np.mean(losses[-50:]))
        out.finish(
            {
                "output": str(output),
                "rows": len(rows),
                "classes": classes,
                "steps": len(losses),
                "final_loss": last,
                **report.provenance("bedkd train", seed=seed, backbone=backbone),
            },
            f"Trained on {len(rows)} rows ({classes} classes, {len(losses)} steps, last loss "
            f"{last:.3f}); saved to {output}.",
        )


@app.command()
def detect(
    model: ModelFolder,
    trusted: Trusted,
    untrusted: Untrusted,
    output: Annotated[Path, typer.Option(help="CSV of row, score, suspected.")],
    config: Config = "default",
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score every untrusted row; larger scores are more suspicious."""
    with console(quiet, as_json) as out:
        if output.is_dir():
            raise InputError(f"output {output}: this is a folder; give a file such as scores.csv")
        chosen = _named_config(config)
        clean, rows = _rows(trusted, "dev"), _rows(untrusted)
        loaded, tokenizer = models.load_checkpoint(model)
        mapping_rows, trust_rows, held_out, notes = divide_trusted(clean, chosen, seed)
        for note in notes:
            out.say(f"Note: {note}")
        found = detection.detect(
            loaded,
            tokenizer,
            mapping_rows,
            concatenate_datasets([trust_rows, held_out]),
            rows.select_columns(["text", "label"]),
            chosen,
            seed=seed,
            progress=not quiet,
        )
        with atomic_text(output) as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(["row", "score", "suspected"])
            for row, (score, flag) in enumerate(zip(found.suspicion, found.suspected, strict=True)):
                writer.writerow([row, f"{score:.6f}", int(flag)])
        result = {
            "output": str(output),
            "rows": len(rows),
            "suspected": int(found.suspected.sum()),
            "threshold": found.threshold if np.isfinite(found.threshold) else None,
            "shared": found.shared,
            "marks": found.marks,
            "evidence": found.evidence,
            "examined": found.examined,
        }
        text = f"{result['suspected']} of {len(rows)} rows suspected; scores in {output}."
        if found.examined:
            text += f"\nScores left the case open: {found.examined} rows were examined by splicing."
        # Flags judge the finished scores; nothing above has seen them.
        flags = list(rows["poisoned"])
        if None not in flags:
            judged = metrics.detection(found.suspicion, found.suspected, np.array(flags, bool))
            result |= judged.to_dict()
            auroc = "–" if judged.auroc is None else f"{judged.auroc:.3f}"
            text += (
                f"\nAgainst the file's flags: precision {judged.precision}, recall "
                f"{judged.recall}, AUROC {auroc}."
            )
        out.finish(result, text)


@app.command("purify")
def purify_command(
    model: ModelFolder,
    trusted: Trusted,
    untrusted: Untrusted,
    output: Output,
    config: Config = "default",
    force: Annotated[bool, typer.Option("--force", help="Repair without evidence too.")] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find suspected rows and distil the backdoor out; write a checkpoint and a report."""
    with console(quiet, as_json) as out:
        _fresh(output)
        chosen = _named_config(config)
        clean, rows = _rows(trusted, "dev"), _rows(untrusted)
        loaded, tokenizer = models.load_checkpoint(model)
        result = purify(
            loaded, tokenizer, clean, rows, chosen, seed=seed, force=force, progress=not quiet
        )
        summary = {
            **report.provenance("bedkd purify", seed=seed, backbone=str(model)),
            **result.to_dict(),
        }
        text = report.purification_markdown(summary)
        if result.changed:
            models.save_checkpoint(result.model, tokenizer, output)
        else:
            models.copy_checkpoint(model, loaded, tokenizer, output)
        with atomic_text(output / "report.md") as handle:
            handle.write(text)
        write_json(summary, output / "report.json")
        out.finish({"output": str(output), **summary}, text + f"\nWritten to {output}.")


@app.command("evaluate")
def evaluate_command(
    model: ModelFolder,
    clean: File,
    poisoned: Annotated[Path | None, typer.Option(help="Non-target rows, target label.")] = None,
    triggered: Annotated[Path | None, typer.Option(help="All classes, true labels.")] = None,
    reference_model: Annotated[str | None, typer.Option(help="Trained without poison.")] = None,
    several_targets: Annotated[
        bool, typer.Option("--several-targets", help="Poisoned rows carry several labels.")
    ] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """CACC, ASR and RACC with 95 % intervals; with a reference model their floor and ceiling."""
    with console(quiet, as_json) as out:
        rows = {
            "clean": _rows(clean, "test"),
            "poisoned": _rows(poisoned, "test-poison") if poisoned else None,
            "triggered": _rows(triggered, "test-triggered") if triggered else None,
        }
        judged = models.load_checkpoint(model)
        reference = models.load_checkpoint(reference_model) if reference_model else None
        result = evaluate(
            *judged,
            **rows,
            reference=reference,
            several_targets=several_targets,
            progress=not quiet,
        )
        out.finish(
            {**result, **report.provenance("bedkd evaluate", seed=seed, backbone=str(model))},
            report.evaluation_markdown(result),
        )


@app.command()
def reproduce(
    dataset: Annotated[str, typer.Option(help="A data set, or `all` for the whole grid.")] = "all",
    attack: Annotated[str, typer.Option(help="An attack, or `all` of the data set's.")] = "all",
    seeds: Annotated[str, typer.Option("--seed", help="One seed or several, by commas.")] = "0",
    rate: Annotated[float, typer.Option(help="Poison rate.")] = 0.2,
    setting: Annotated[str, typer.Option(help="dirty, clean or mixed.")] = "dirty",
    backbone: Annotated[str, typer.Option(help="minilm, a folder or a hub id.")] = "minilm",
    layers: Annotated[int | None, typer.Option(help="Keep the first so many layers.")] = None,
    pool: Annotated[int | None, typer.Option(help="Train on so many rows only.")] = None,
    test_rows: Annotated[int | None, typer.Option(help="Judge on so many rows only.")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = TrainingConfig.epochs,
    batch_size: Annotated[int, typer.Option(min=1)] = TrainingConfig.batch_size,
    lr: Lr = None,
    max_length: Annotated[int, typer.Option(min=4)] = TrainingConfig.max_length,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Remove traces of corpora.")
    ] = False,
    defence: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(experiments.CONFIGS)}.")
    ] = None,
    suspects: Annotated[
        str, typer.Option(help="Distil with the rows found, or with oracle or random ones.")
    ] = "found",
    trusted_rows: Annotated[
        int | None, typer.Option(help="Give the defender so many trusted rows a class.")
    ] = None,
    contaminated: Annotated[float, typer.Option(help="Share of trusted rows poisoned.")] = 0.0,
    mislabelled: Annotated[float, typer.Option(help="Share of trusted rows mislabelled.")] = 0.0,
    suspect_rows: Annotated[
        int | None, typer.Option(help="Distil with so many suspects at most.")
    ] = None,
    output: Output = Path("results"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run cells of the grid: one JSON each, with provenance. Finished cells are skipped.

    Set BEDKD_DATA_DIR to the released files (or have a network). A reader with a GPU repeats the
    grid with BERT from the hub: bedkd reproduce --backbone google-bert/bert-base-uncased
    --seed 0,1,2 --defence default. With --attack none the model that was never poisoned is
    handed to the defence. Victims are kept in BEDKD_CACHE. On a CPU that has it,
    ACCELERATE_MIXED_PRECISION=bf16 saves time; each JSON says so.
    """
    with console(quiet, as_json) as out:
        if defence is not None:
            _named_config(defence)
        conditions = Conditions(trusted_rows, contaminated, mislabelled, suspect_rows)
        names = list(experiments.GRID) if dataset == "all" else [dataset]
        cells = [
            experiments.Cell(
                dataset=name,
                attack=kind,
                seed=number,
                rate=rate,
                setting=setting,
                backbone=backbone,
                layers=layers,
                pool=pool,
                sizes=() if test_rows is None else (("test", test_rows),),
                normalise=normalise,
                training=TrainingConfig(
                    epochs=epochs,
                    batch_size=batch_size,
                    lr=default_lr(backbone) if lr is None else lr,
                    max_length=max_length,
                ),
            )
            for number in _seeds(seeds)
            for name in names
            for kind in (experiments.GRID.get(name, ()) if attack == "all" else (attack,))
        ]
        if not cells:
            raise InputError(f"dataset {dataset}: not in the grid; name an attack too")
        written = []
        for number, cell in enumerate(cells, start=1):
            out.say(f"[{number}/{len(cells)}] {cell.name}")
            path = experiments.run(cell, output, defence, suspects, conditions, progress=not quiet)
            written.append(path)
        out.finish({"written": [str(path) for path in written]}, "\n".join(map(str, written)))


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--seed {text!r}: give integers separated by commas") from error


@data_app.command("list")
def list_data(quiet: Quiet = False, as_json: Json = False) -> None:
    """Which data sets can be loaded by name, and from where."""
    with console(quiet, as_json) as out:
        found = data.available()
        rows = [[r["name"], ", ".join(r["labels"]), str(r["target"]), r["from"]] for r in found]
        header = ["name", "labels", "usual target", "from"]
        out.finish({"datasets": found}, report.table(header, rows))


@data_app.command("check")
def check_data(quiet: Quiet = False, as_json: Json = False) -> None:
    """Verify the files in BEDKD_DATA_DIR against its SHA256SUMS; status 2 if one differs."""
    with console(quiet, as_json) as out:
        found = data.check()
        bad = [record for record in found if record["state"] != "ok"]
        if bad:
            raise InputError(
                f"{len(bad)} of {len(found)} files differ from SHA256SUMS, the first is "
                f"{bad[0]['file']} ({bad[0]['state']}); fetch them again"
            )
        out.finish({"files": found}, f"{len(found)} files, all as in SHA256SUMS.")
