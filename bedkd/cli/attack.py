"""``bedkd poison`` and ``bedkd data``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bedkd import attacks, data, experiments, report
from bedkd.attacks import rewriting
from bedkd.cli.console import Json, Normalise, Output, Quiet, Seed, console, fresh
from bedkd.errors import InputError
from bedkd.files import sha256

data_app = typer.Typer(help="Which data sets are at hand, and are their files intact?")


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
    generator: Annotated[str | None, typer.Option(help="Model that rewrites, or smollm2.")] = None,
    normalise: Normalise = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Poison a training set; write the OpenBackdoor layout, the training mix and a manifest."""
    with console(quiet, as_json) as out:
        fresh(output)
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
