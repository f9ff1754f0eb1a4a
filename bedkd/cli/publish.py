"""What ``bedkd purify`` leaves behind: checkpoint, model card, suspects and the report."""

from __future__ import annotations

from pathlib import Path

from bedkd import models
from bedkd.cli.console import file_of
from bedkd.escaping import markdown
from bedkd.files import sha256, write_json
from bedkd.page import purification_page
from bedkd.purify import Purified
from bedkd.report import findings, purification_markdown
from bedkd.suspects import Suspect, write_suspects


def input_sums(model: str, trusted: Path, untrusted: Path) -> dict[str, str]:
    """SHA-256 of the files that were read: rows, where they are a file, and local weights."""
    files = {}
    for name, path, split in (("trusted", trusted, "dev"), ("untrusted", untrusted, "train")):
        if Path(path).is_file() or (Path(path) / f"{split}-clean.csv").is_file():
            files[name] = file_of(Path(path), split)
    for path in sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else ():
        files[f"model/{path.name}"] = path
    return {name: sha256(path) for name, path in files.items()}


def write_output(
    staging: Path, result: Purified, summary: dict, suspects: list[Suspect], source: str
) -> None:
    """Write everything into a staging folder; ``summary`` gets the sums of what was written.

    Args:
        source: folder or hub id of the model that was handed in.
    """
    case = result.case
    if not result.detection.cannot_tell:  # a copy in a folder of this name would look clean
        if result.changed:
            models.save_checkpoint(result.model, case.tokenizer, staging)
            (staging / "README.md").write_text(model_card(summary), encoding="utf-8")
        else:
            models.copy_checkpoint(source, case.model, case.tokenizer, staging)
        with open(staging / "suspects.csv", "w", encoding="utf-8", newline="") as handle:
            write_suspects(handle, case, result.detection)
    summary["outputs"] = {path.name: sha256(path) for path in sorted(staging.iterdir())}
    page = purification_page(summary, result.detection, suspects)
    (staging / "report.html").write_text(page, encoding="utf-8")
    (staging / "report.md").write_text(purification_markdown(summary), encoding="utf-8")
    write_json(summary, staging / "report.json")


CARD = """---
library_name: transformers
pipeline_tag: text-classification
tags:
- bedkd
- backdoor-removal
---

# A classifier after the removal of a backdoor

This is not the model {source}, but a repaired copy of it: its training rows were searched for
poison, and weights were changed to take out what the suspected rows had taught.
{missed}
{findings}

What was measured, before and after, is in report.html, report.md and report.json beside this file.
A repair is evidence, not a guarantee: other backdoors may be left, and poisoned rows that do not
stand out were not used. Made by bedkd {version} with {repair}, seed {seed}.
"""
MISSED = """
**The repair did not reach its aim: do not use this model as if it were clean.**
"""


def model_card(summary: dict) -> str:
    """The card of a repaired model: what it is and is not."""
    missed = summary["outcome"] is not None and not summary["outcome"]["reached"]
    return CARD.format(
        source=markdown(summary["backbone"]),
        missed=MISSED if missed else "",
        findings="\n".join(f"- {line}" for line in findings(summary)),
        version=summary["versions"]["bedkd"],
        repair=summary["settings"]["repair"]["name"],
        seed=summary["seed"],
    )
