"""For teachers: ``python -m bedkd.teaching.mysteries make`` and ``... mark``."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Annotated

import typer

from bedkd.errors import InputError
from bedkd.escaping import cell
from bedkd.models import load_checkpoint
from bedkd.teaching import mysteries
from bedkd.teaching.mysteries import marking

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def make(
    seed: Annotated[int, typer.Argument(help="Keep it secret.")],
    folder: Annotated[Path, typer.Argument(help="What to hand out.")],
    answers: Annotated[Path, typer.Option(help="Answer sheet, a CSV file.")] = Path("answers.csv"),
) -> None:
    """Make ten mysteries from a seed, and the answer sheet. An interrupted run goes on."""
    if folder.resolve() in answers.resolve().parents:
        raise InputError(f"{answers}: lies in the folder to hand out; name another place")
    _write(mysteries.make(seed, folder), answers)
    typer.echo(f"{folder}: hand this out. {answers}: keep this.")


@app.command()
def mark(
    folder: Annotated[Path, typer.Argument(help="The set that was handed out.")],
    submissions: Annotated[Path, typer.Argument(help="Score sheets, one NAME.json each.")],
    output: Annotated[Path, typer.Option(help="CSV file of marks.")] = Path("marks.csv"),
) -> None:
    """Mark score sheets: the last answer to each mystery, not the points that a sheet claims. A
    repaired model counts if its checkpoint lies beside the sheet, as NAME/01 to NAME/10."""
    sheets = sorted(submissions.glob("*.json"))
    if not sheets:
        raise InputError(f"{submissions}: no .json file in this folder")
    rows = []
    for path in sheets:
        found = mark_sheet(path, folder)
        points = sum(row["points"] for row in found.values())
        said = {f"{number:02}": cell(row["said"]) for number, row in found.items()}
        rows.append({"submission": cell(path.stem), "points": points, **said})
        typer.echo(f"{path.stem}: {points} of {marking.FULL * len(found)}")
    _write(rows, output)


def mark_sheet(path: Path, folder: Path) -> dict[int, dict]:
    """Points and remarks of a score sheet, by mystery.

    Args:
        path: the sheet; what it says is not trusted.
        folder: the set, of which every mystery is marked.
    """
    found = {}
    for number in mysteries.NUMBERS:
        if not (folder / f"{number:02}" / "sealed.json").is_file():
            continue
        try:
            sheet = json.loads(path.read_text(encoding="utf-8"))
            record = _record(sheet, folder.name, number)
            marks = _marks(record["answers"][-1], folder, number, path.with_suffix(""))
        except Exception as error:  # a sheet may hold anything, and costs only its own points
            said = "no answer" if isinstance(error, LookupError) else f"cannot be read: {error}"
            found[number] = {"points": 0, "said": said}
            continue
        told = "; ".join(f"{part}: {marks.said.get(part, 'right')}" for part in marks.right)
        told += f"; tries {record['tries']}, hints {record['hints']}"
        found[number] = {"points": marks.points, "said": told}
    if not found:
        raise InputError(f"{folder}: no mysteries in this folder; give one that `make` has made")
    return found


def _record(sheet: dict, name: str, number: int) -> dict:
    """The record of a mystery; the set may have been renamed, if there is no other."""
    records = sheet[name] if name in sheet or len(sheet) != 1 else next(iter(sheet.values()))
    return records[str(number)]


def _marks(answer: dict, folder: Path, number: int, models: Path) -> marking.Marks:
    where = folder / f"{number:02}"
    sealed = json.loads((where / "sealed.json").read_text(encoding="utf-8"))
    model = None
    if (models / f"{number:02}").is_dir():
        model, _ = load_checkpoint(models / f"{number:02}")
    words = [str(word) for word in answer["trigger"]][:50]  # each takes a slow hash
    checked = {"verdict": answer["verdict"], "target": answer["target"], "trigger": words}
    return marking.mark(sealed, checked, model, where)


def _write(rows: list[dict], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Run the commands; bad input ends them with one line."""
    try:
        app()
    except InputError as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
