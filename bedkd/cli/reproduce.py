"""``bedkd reproduce``: cells of the grid behind the book's results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from bedkd import experiments
from bedkd.cli.console import Json, Lora, Lr, Normalise, Output, Quiet, console
from bedkd.cli.defend import named
from bedkd.conditions import Conditions
from bedkd.detectors import DETECTORS
from bedkd.errors import InputError
from bedkd.presets import PRESETS
from bedkd.training import runtime
from bedkd.training.fine_tune import TrainingConfig, default_lr


def reproduce(
    dataset: Annotated[str, typer.Option(help="A data set, or `all` for the whole grid.")] = "all",
    attack: Annotated[str, typer.Option(help="An attack, or `all` of the data set's.")] = "all",
    seeds: Annotated[str, typer.Option("--seed", help="One seed or several, by commas.")] = "0",
    rate: Annotated[float, typer.Option(help="Poison rate.")] = 0.2,
    setting: Annotated[str, typer.Option(help="dirty, clean or mixed.")] = "dirty",
    backbone: Annotated[
        str, typer.Option(help="minilm, smollm2, a folder or a hub id.")
    ] = "minilm",
    layers: Annotated[int | None, typer.Option(help="Keep this number of first layers.")] = None,
    lora: Lora = None,
    pool: Annotated[int | None, typer.Option(help="Train on this number of rows only.")] = None,
    test_rows: Annotated[
        int | None, typer.Option(help="Judge on this number of rows only.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1)] = TrainingConfig.epochs,
    batch_size: Annotated[int, typer.Option(min=1)] = TrainingConfig.batch_size,
    lr: Lr = None,
    max_length: Annotated[int, typer.Option(min=4)] = TrainingConfig.max_length,
    normalise: Normalise = False,
    preset: Annotated[
        str | None, typer.Option("--preset", "--defence", help=f"One of {', '.join(PRESETS)}.")
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(help="Judge this detector alone, without a repair; see `bedkd detect`."),
    ] = None,
    rows_from: Annotated[
        str,
        typer.Option("--rows-from", "--suspects", help="Repair with rows found, oracle or random."),
    ] = "found",
    trusted_rows: Annotated[
        int | None, typer.Option(help="Trusted rows a class for the defender.")
    ] = None,
    contaminated: Annotated[float, typer.Option(help="Share of trusted rows poisoned.")] = 0.0,
    mislabelled: Annotated[float, typer.Option(help="Share of trusted rows mislabelled.")] = 0.0,
    max_suspects: Annotated[
        int | None,
        typer.Option("--max-suspects", "--suspect-rows", help="Most flagged rows to repair with."),
    ] = None,
    shard: Annotated[
        str, typer.Option(help="Only part I of N of the cells: `2/8`, for job arrays.")
    ] = "1/1",
    output: Output = Path("results"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run cells of the grid: one JSON each, with provenance. Finished cells are skipped.

    Set BEDKD_DATA_DIR to the released files (or have a network). A reader with a GPU repeats the
    grid with BERT from the hub: bedkd reproduce --backbone google-bert/bert-base-uncased
    --seed 0,1,2 --preset default. With --attack none the model that was never poisoned is
    handed to the defence. Victims are kept in BEDKD_CACHE. On a CPU that has it,
    ACCELERATE_MIXED_PRECISION=bf16 saves time; each JSON says so. Several jobs may share one output
    folder and one cache, each with its --shard: there is nothing to merge.
    """
    with console(quiet, as_json) as out:
        if preset is not None:
            named("preset", preset, PRESETS)
        if detector is not None:
            named("detector", detector, DETECTORS)
            if preset is not None:
                raise InputError("--detector judges a detector alone: leave out --preset")
        conditions = Conditions(trusted_rows, contaminated, mislabelled, max_suspects)
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
                lora=lora,
                pool=pool,
                sizes=() if test_rows is None else (("test", test_rows),),
                normalise=normalise,
                training=TrainingConfig(
                    epochs=epochs,
                    batch_size=batch_size,
                    lr=default_lr(backbone, lora) if lr is None else lr,
                    max_length=max_length,
                ),
            )
            for number in _seeds(seeds)
            for name in names
            for kind in (experiments.GRID.get(name, ()) if attack == "all" else (attack,))
        ]
        if not cells:
            raise InputError(f"dataset {dataset}: not in the grid; name an attack too")
        if runtime.accelerator().num_processes > 1:
            raise InputError("reproduce works on one device: start a job a device, with --shard")
        cells = _part(cells, shard)
        written = []
        for number, cell in enumerate(cells, start=1):
            out.say(f"[{number}/{len(cells)}] {cell.name}")
            if detector is not None:
                path = experiments.judge_detector(cell, output, detector, progress=not quiet)
            else:
                path = experiments.run(
                    cell, output, preset, rows_from, conditions, progress=not quiet
                )
            written.append(path)
        out.finish({"written": [str(path) for path in written]}, "\n".join(map(str, written)))


def _part(cells: list, shard: str) -> list:
    """Every N-th cell from the I-th on, of ``I/N``."""
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    first, step = map(int, found.groups()) if found else (0, 0)
    if not 1 <= first <= step:
        raise InputError(f"--shard {shard!r}: write I/N with I from 1 to N, such as 2/8")
    return cells[first - 1 :: step]


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--seed {text!r}: give integers separated by commas") from error
