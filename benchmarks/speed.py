"""From a suspicious model to a purified one: seconds, and what they buy.

    python benchmarks/speed.py --dataset sst2 --attack badnets --layers 3

Six ways, one after the other, each from the same victim and the same rows: the recipe as it was
released (``benchmarks/released_recipe.py``), the same recipe in our loop (preset ``paper``), the
presets ``default`` and ``cycles``, the latter also with frozen token embeddings in the repair, and
detection with drop-and-retrain. Training in single precision throughout. Every run is one record of
``results/performance/speed-CELL.json``, written when it ends; the same command goes on where it was
interrupted. With ``--repeats`` the ways take turns, so that a machine that slows down slows all of
them. All share a process, so their ``peak_mb`` must not be compared.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from released_recipe import purify as released

from bedkd import experiments, report
from bedkd.evaluation import evaluate
from bedkd.experiments.costs import Costs
from bedkd.files import read_json, write_json
from bedkd.presets import PRESETS
from bedkd.purify import purify

ROOT = Path(__file__).resolve().parent.parent
FROZEN = "frozen-embeddings"
WAYS = ("released", "paper", "cycles", "default", "retrain", FROZEN)
log = logging.getLogger("speed")


def run(way: str, cell: experiments.Cell) -> tuple:
    """The model that a way makes of the cell's victim, and what it cost, loading apart."""
    preset = PRESETS[{"released": "paper", FROZEN: "cycles"}.get(way, way)]()
    if way == FROZEN:
        preset = preset._replace(repair=replace(preset.repair, frozen_embeddings=True))
    given = experiments.case(cell, preset)
    parts = {}
    with Costs() as costs:
        if way == "released":
            trusted = given.divided
            made, _ = released(
                given.model,
                given.tokenizer,
                trusted.flip,
                trusted.tune,
                given.untrusted,
                max_length=given.max_length,
                seed=cell.seed,
            )
        else:
            purified = purify(given, preset.detector, preset.repair)
            made, parts = purified.model, purified.cpu_seconds
    return made, {**costs.to_dict(), "parts": parts}


def judged(model, tokenizer, cell: experiments.Cell) -> dict:
    """CACC, ASR and RACC of a model on the cell's test rows."""
    built = experiments.task(cell)
    found = evaluate(
        model,
        tokenizer,
        clean=built.clean["test"],
        poisoned=built.poisoned_test,
        triggered=built.triggered,
        max_length=cell.training.max_length,
    )
    return values(found)


def values(found: dict) -> dict:
    """Shares without their intervals."""
    return {k: v["value"] for k, v in found.items() if isinstance(v, dict) and "value" in v}


def main(
    dataset: str = "sst2",
    attack: str = "badnets",
    seed: int = 0,
    layers: int = 3,
    pool: Annotated[int | None, typer.Option(help="Training rows; all by default.")] = None,
    repeats: int = 1,
    output: Path = ROOT / "results" / "performance",
) -> None:
    """Time all ways on one cell."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    cell = experiments.Cell(dataset, attack, seed=seed, layers=layers, pool=pool)
    line = f"python benchmarks/speed.py --dataset {dataset} --attack {attack} --seed {seed} "
    line += f"--layers {layers} --repeats {repeats}" + (f" --pool {pool}" if pool else "")
    path = output / f"speed-{cell.name}.json"
    record = report.provenance(line, seed=seed, backbone=cell.backbone)
    record["cell"] = cell.to_dict()
    record["runs"] = read_json(path)["runs"] if path.is_file() else []
    # With floor and ceiling, which no repair changes.
    record["victim"] = values(experiments.measure(cell)["undefended"])
    _, tokenizer = experiments.victim(cell)
    for number in range(repeats):
        for way in WAYS:
            if any((r["way"], r["repeat"]) == (way, number) for r in record["runs"]):
                continue
            made, costs = run(way, cell)
            result = judged(made, tokenizer, cell)
            record["runs"].append({"way": way, "repeat": number, **costs, "after": result})
            write_json(record, path)
            log.info("%s %d: %.0f s, ASR %.3f", way, number, costs["cpu_seconds"], result["asr"])


if __name__ == "__main__":
    typer.run(main)
