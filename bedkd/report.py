"""Results as JSON and Markdown, with the provenance a reader needs to judge them."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from bedkd.distillation import LEVELLED_OFF, NEUTRAL, USED_UP
from bedkd.engine import accelerator
from bedkd.errors import InputError
from bedkd.models import device

PACKAGES = ("bedkd", "torch", "transformers", "datasets", "accelerate")
MARKS_SHOWN = 12
ENDS = {
    NEUTRAL: "suspects held out from it were treated as their content deserves.",
    LEVELLED_OFF: "suspects held out from it no longer came down. The purified model has the "
    "mean of its weights after the last cycles.",
    USED_UP: "no more were configured.",
}


def provenance(command: str, *, seed: int, backbone: str | None = None) -> dict:
    """What a number needs beside it: command, seed, backbone, versions, device and date."""
    return {
        "command": command,
        "seed": seed,
        "backbone": backbone,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "device": device_name(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def device_name() -> str:
    """The accelerator's name, or the processor's with the number of threads in use; with the
    precision of training where that is not the usual one (fp16 on CUDA, else single)."""
    if device().type == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    precision = accelerator().mixed_precision
    suffix = "" if precision == "no" else f", trained in {precision}"
    return f"{name}, {torch.get_num_threads()} threads{suffix}"


def stored(stage: str, folder: str | Path | None = None) -> list[dict]:
    """What was measured in one stage of the grid, one JSON a run, sorted by file name.

    Args:
        stage: a folder that :func:`bedkd.experiments.run` writes, say ``defended-default``.
        folder: the folder above it, by default ``results`` here or in the nearest folder above
            that has one.

    Raises:
        InputError: there is no such folder.
    """
    here = Path.cwd()
    above = [Path(folder)] if folder else [place / "results" for place in (here, *here.parents)]
    found = next((place / stage for place in above if (place / stage).is_dir()), None)
    if found is None:
        raise InputError(
            f"no folder results/{stage} here or above {here}: measurements come with the "
            "repository, not with the package; clone it, or make them with bedkd reproduce"
        )
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(found.glob("*.json"))]


def percent(share: dict | None) -> str:
    """A share as text: ``97.5 % (96.8–98.1, n = 1821)``; a dash if it was not measured."""
    if share is None or share["value"] is None:
        return "–"
    value, low, high = (100 * share[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f}–{high:.1f}, n = {share['n']})"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def evaluation_markdown(result: dict) -> str:
    """The table of one :func:`bedkd.evaluation.evaluate` result."""
    rows = [
        ["CACC", percent(result["cacc"]), percent(result["cacc_reference"])],
        ["ASR", percent(result["asr"]), percent(result["asr_floor"])],
        ["RACC", percent(result["racc"]), percent(result["racc_ceiling"])],
    ]
    ceilings = result["racc_ceiling_by_class"] or {}
    for label, share in (result["racc_by_class"] or {}).items():
        rows.append([f"RACC, class {label}", percent(share), percent(ceilings.get(label))])
    return table(["measure", "model", "trained without poison"], rows)


def purification_markdown(report: dict) -> str:
    """The human half of ``bedkd purify``: what was found, what was done, what to check."""
    lines = ["# Purification report", "", f"**Verdict: {report['verdict']}.**", ""]
    found, total = report["suspected"], report["rows"]
    lines.append(f"{found} of {total} untrusted rows are suspected of being poisoned.")
    if report["shared"] is not None:
        lines.append(
            "By their words alone, suspects can be told from trusted rows with an AUROC of "
            f"{report['shared']:.2f} (0.50 is chance)."
        )
    if report["marks"]:
        shown = ", ".join(f"`{word}`" for word in report["marks"][:MARKS_SHOWN])
        lines.append(f"Words that they have in common and trusted rows lack: {shown}.")
    if report["target_label"] is not None:
        lines.append(f"Suspected target label: {report['target_label']}.")
    if report["changed"]:
        lines.append(
            f"The model was distilled with {len(report['punished_rows'])} of the suspected rows."
        )
    else:
        lines.append("The model was left as it is, byte for byte.")
    if report["examined"]:
        what = "no" if report["target_label"] is None else "the"
        lines.append(
            f"By their scores alone the rows left the case open. Pieces of {report['examined']} of "
            f"them were spliced into trusted rows of other labels; that gave {what} evidence."
        )
    least = report["least_detectable"]
    if report["target_label"] is None and least is not None:
        lines.append(
            f"Fewer than {least} poisoned rows ({least / report['rows']:.1%} of the untrusted) "
            "could not have been noticed, and more may stay hidden if they do not stand out."
        )
    lines += [f"\n> Note: {warning}" for warning in report["warnings"]]
    lines += ["", "## Directional mapping", ""]
    lines.append(
        table(
            ["epoch", "loss", "belief of held-out rows in their true label"],
            [
                [
                    str(r["epoch"]),
                    f"{r['loss']:.3f}",
                    "–" if r["held_out_given"] is None else f"{r['held_out_given']:.3f}",
                ]
                for r in report["mapping_history"]
            ],
        )
    )
    if report["distillation_history"]:
        lines += ["## Distillation", ""]
        lines.append(
            table(
                [
                    "cycle",
                    "held-out accuracy",
                    "held-out suspects given their label",
                    "given their label by content alone",
                ],
                [
                    [
                        str(r["cycle"]),
                        f"{r['held_out_accuracy']:.3f}",
                        f"{r['suspects_given_label']:.3f}",
                        f"{r['neutral']:.3f}",
                    ]
                    for r in report["distillation_history"]
                ],
            )
        )
        cycles = len(report["distillation_history"])
        lines.append(f"Distillation ended after cycle {cycles}: {ENDS[report['stopped']]}")
    lines += [
        "",
        "A low attack success rate alone proves nothing: check the purified model with "
        "`bedkd evaluate` on triggered rows of *all* classes (RACC), beside a model trained "
        "without poison.",
        "",
    ]
    return "\n".join(lines)
