"""``bedkd train, detect, purify, evaluate``."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from datasets import Dataset

from bedkd import data, metrics, models, report
from bedkd.case import Case
from bedkd.cli.console import (
    Json,
    LabelColumn,
    Lora,
    Lr,
    Output,
    PairColumn,
    Quiet,
    Seed,
    TextColumn,
    apart,
    console,
    fresh,
    publishing,
    read_rows,
    resumable,
)
from bedkd.cli.publish import input_sums, write_output
from bedkd.data import Columns
from bedkd.detectors import DETECTORS, Detection, Given
from bedkd.detectors.wording import suspected_words
from bedkd.errors import InputError
from bedkd.evaluation import check_target
from bedkd.evaluation import evaluate as measure
from bedkd.files import check_file, writing
from bedkd.plan import plan as make_plan
from bedkd.plan import plan_text
from bedkd.presets import PRESETS, Preset
from bedkd.purify import detect as run_detector
from bedkd.purify import purify as run_defence
from bedkd.repairs import REPAIRS
from bedkd.suspects import read_review, top_suspects
from bedkd.training import runtime
from bedkd.training.fine_tune import TrainingConfig, default_lr, fine_tune

ModelFolder = Annotated[str, typer.Option(help="Checkpoint folder (or hub id) of a classifier.")]
Trusted = Annotated[Path, typer.Option(help="Clean rows with true labels, of any kind of file.")]
Untrusted = Annotated[Path, typer.Option(help="The training set that may be poisoned, likewise.")]
Config = Annotated[str, typer.Option(help="Preset: default, cycles, paper or quick.")]
DetectorName = Annotated[
    str | None,
    typer.Option("--detector", help=f"In place of the preset's: {', '.join(DETECTORS)}."),
]
RepairName = Annotated[
    str | None, typer.Option("--repair", help=f"In place of the preset's: {', '.join(REPAIRS)}.")
]
Force = Annotated[bool, typer.Option("--force", help="Repair without evidence too.")]
Plan = Annotated[
    bool, typer.Option("--plan", help="Say what would be done, for how long; write nothing.")
]
Accept = Annotated[
    Path | None,
    typer.Option(help="suspects.csv of an earlier run, its column `poisoned` corrected."),
]
MaxLength = Annotated[
    int | None, typer.Option(min=4, help="Tokens read of a text. Default: what the model says.")
]
File = Annotated[
    Path,
    typer.Option(help="CSV, TSV, JSON(L), Parquet, Arrow (.gz); a folder; or a hub id."),
]

# Exit statuses beside 0, 2 (bad input) and 130 (interrupted).
CANNOT_TELL, AIM_MISSED = 3, 4


def named(kind: str, name: str, among: Mapping[str, Any]) -> Any:
    """The entry of that name, made.

    Raises:
        InputError: there is none.
    """
    if name not in among:
        raise InputError(f"{kind} {name!r}: choose one of {', '.join(among)}")
    return among[name]()


def _chosen(config: str, detector: str | None, repair: str | None) -> Preset:
    preset = named("config", config, PRESETS)
    if detector is not None:
        preset = preset._replace(detector=named("detector", detector, DETECTORS))
    if repair is not None:
        preset = preset._replace(repair=named("repair", repair, REPAIRS))
    return preset


def _case(
    model: str,
    rows_from: tuple[Path, Path],
    columns: Columns,
    preset: Preset,
    max_length: int | None,
    seed: int,
) -> tuple[Case, Dataset]:
    """The case, and the untrusted rows with whatever flags the file has."""
    loaded, tokenizer = models.load_checkpoint(model)
    columns = replace(columns, label_names=data.label_names(loaded.config.id2label))
    trusted, untrusted = rows_from
    clean, rows = read_rows(trusted, "dev", columns), read_rows(untrusted, columns=columns)
    length = max_length or models.max_length(loaded, tokenizer)
    return Case(loaded, tokenizer, clean, rows, preset.parts, length, seed), rows


def _exit(verdict: str, reached: bool = True) -> None:
    """End with a status of its own where there is no verdict, or the repair missed its aim."""
    if verdict == "cannot tell":
        raise typer.Exit(CANNOT_TELL)
    if not reached:
        raise typer.Exit(AIM_MISSED)


def train(
    train_: Annotated[Path, typer.Option("--train", help="CSV, TSV, JSONL or a poison folder.")],
    output: Output,
    backbone: Annotated[
        str, typer.Option(help="minilm, smollm2, a folder or a hub id.")
    ] = "minilm",
    layers: Annotated[int | None, typer.Option(help="Keep this number of first layers.")] = None,
    lora: Lora = None,
    epochs: Annotated[int, typer.Option(min=1)] = 3,
    lr: Lr = None,
    batch_size: Annotated[int, typer.Option(min=1)] = TrainingConfig.batch_size,
    max_length: Annotated[int, typer.Option(min=4)] = TrainingConfig.max_length,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a classifier and write a Hugging Face checkpoint folder; with --lora an adapter,
    which needs its backbone where it is used."""
    with console(quiet, as_json) as out:
        fresh(output, resumes=True)
        rows = read_rows(train_)
        classes = data.checked_num_labels(rows, source=train_)
        model, tokenizer = models.load_backbone(
            backbone, num_labels=classes, layers=layers, seed=seed, lora=lora
        )
        rate = default_lr(backbone, lora) if lr is None else lr
        config = TrainingConfig(epochs, batch_size, rate, max_length=max_length)
        with resumable(output, quiet) as run:
            run.claim(
                model=models.fingerprint(model),
                data=data.fingerprint_rows(rows),
                settings=f"{config} {seed}",
            )
            losses = fine_tune(model, tokenizer, rows, config, seed=seed, run=run)
            if runtime.is_main_process():
                with publishing(run, output) as staging:
                    models.save_checkpoint(model, tokenizer, staging)
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


def detect(
    model: ModelFolder,
    trusted: Trusted,
    untrusted: Untrusted,
    output: Annotated[Path, typer.Option(help="CSV of row, score, flagged.")],
    config: Config = "default",
    detector: DetectorName = None,
    max_length: MaxLength = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score every untrusted row; larger scores are more suspicious.

    Exit status 3: cannot tell, something is missing; it is named, and no file is written.
    """
    with console(quiet, as_json) as out:
        check_file(output)
        apart(output, model, trusted, untrusted)
        preset = _chosen(config, detector, None)
        columns = Columns(text_column, label_column, pair=pair_column)
        case, rows = _case(model, (trusted, untrusted), columns, preset, max_length, seed)
        with resumable(output, quiet) as run:
            found, notes = run_detector(case, preset.detector, run)
            for note in notes:
                out.say(f"Note: {note}")
            if runtime.is_main_process() and not found.cannot_tell:
                written = run.folder / "scores.csv"
                with writing(output):
                    with open(written, "w", encoding="utf-8", newline="") as handle:
                        writer = csv.writer(handle, lineterminator="\n")
                        writer.writerow(["row", "score", "flagged"])
                        for row, score in enumerate(found.scores):
                            writer.writerow([row, f"{score:.6f}", int(found.flagged[row])])
                    os.replace(written, output)
        out.finish(*_detected(found, case, rows, output))
    _exit(found.verdict)


def _detected(found: Detection, case: Case, rows: Dataset, output: Path) -> tuple[dict, str]:
    """The result of ``bedkd detect``, as JSON and as text."""
    result = {
        "output": str(output),
        "verdict": found.verdict,
        "cannot_tell": found.cannot_tell,
        "rows": len(rows),
        "flagged": int(found.flagged.sum()),
        "threshold": found.threshold if np.isfinite(found.threshold) else None,
        "max_length": case.max_length,
        "cut_share": case.cut_share,
        "is_backdoored": found.is_backdoored,
        "p_value": found.p_value,
        **found.details,
    }
    text = f"Verdict: {found.verdict}."
    if found.cannot_tell:
        return result, "\n* ".join([f"{text} What is missing:", *found.cannot_tell])
    text += f" {result['flagged']} of {len(rows)} rows flagged; scores in {output}."
    if examined := found.details.get("examined"):
        text += f"\nScores left the case open: {examined} rows were probed for triggers."
    # Flags judge the finished scores; nothing above has seen them.
    flags = rows.with_format("arrow")["poisoned"][:]
    if not flags.null_count:
        judged = metrics.detection_quality(found.scores, found.flagged, flags.to_numpy())
        result |= judged.to_dict()
        auroc = "–" if judged.auroc is None else f"{judged.auroc:.3f}"
        text += (
            f"\nAgainst the file's flags: precision {judged.precision}, recall "
            f"{judged.recall}, AUROC {auroc}."
        )
    return result, text


def purify(
    model: ModelFolder,
    trusted: Trusted,
    untrusted: Untrusted,
    output: Output,
    config: Config = "default",
    detector: DetectorName = None,
    repair: RepairName = None,
    force: Force = False,
    plan: Plan = False,
    accept: Accept = None,
    max_length: MaxLength = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find poisoned rows and take the backdoor out; write a checkpoint and a report.

    Exit status 3: cannot tell, something is missing; the report names it. 4: the repair did not
    reach its aim; the report says by how much.
    """
    with console(quiet, as_json) as out:
        fresh(output, resumes=True)
        apart(output, model, trusted, untrusted)
        preset = _chosen(config, detector, repair)
        columns = Columns(text_column, label_column, pair=pair_column)
        case, _ = _case(model, (trusted, untrusted), columns, preset, max_length, seed)
        reviewed = read_review(accept, case) if accept else None
        if reviewed is not None:
            preset = preset._replace(detector=Given(np.flatnonzero(reviewed.flagged)))
        if plan:
            found = make_plan(case, preset)
            out.finish(found, plan_text(found))
            return
        with resumable(output, quiet) as run:
            result = run_defence(
                case, preset.detector, preset.repair, force=force, found=reviewed, run=run
            )
            words = suspected_words(case, result.detection)
            suspects = top_suspects(case, result.detection, words)
            summary = {
                **report.provenance("bedkd purify", seed=seed, backbone=str(model)),
                **result.to_dict(),
                "top_rows": [suspect.to_dict() for suspect in suspects],
                "files": input_sums(model, trusted, untrusted),
            }
            if runtime.is_main_process():
                with publishing(run, output) as staging:
                    write_output(staging, result, summary, suspects, model)
        text = report.purification_markdown(summary)
        out.finish({"output": str(output), **summary}, text + f"\nWritten to {output}.")
    _exit(result.verdict, result.outcome is None or result.outcome.reached)


def evaluate(
    model: ModelFolder,
    clean: File,
    poisoned: Annotated[Path | None, typer.Option(help="Non-target rows, target label.")] = None,
    triggered: Annotated[Path | None, typer.Option(help="All classes, true labels.")] = None,
    reference_model: Annotated[str | None, typer.Option(help="Trained without poison.")] = None,
    target: Annotated[
        int | None, typer.Option(help="Target label, which every poisoned row must carry.")
    ] = None,
    max_length: MaxLength = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """CACC, ASR and RACC with 95 % intervals; with a reference model their floor and ceiling."""
    with console(quiet, as_json) as out:
        judged = models.load_checkpoint(model)
        names = data.label_names(judged[0].config.id2label)
        columns = Columns(text_column, label_column, names, pair_column)
        rows = {
            "clean": read_rows(clean, "test", columns),
            "poisoned": read_rows(poisoned, "test-poison", columns) if poisoned else None,
            "triggered": read_rows(triggered, "test-triggered", columns) if triggered else None,
        }
        if target is not None:
            if poisoned is None:
                raise InputError("--target checks the rows of --poisoned: give that file too")
            check_target(rows["poisoned"], target)
        reference = models.load_checkpoint(reference_model) if reference_model else None
        result = measure(
            *judged,
            **rows,
            reference=reference,
            max_length=max_length or models.max_length(*judged),
            progress=not quiet,
        )
        out.finish(
            {**result, **report.provenance("bedkd evaluate", seed=seed, backbone=str(model))},
            report.evaluation_markdown(result),
        )
