"""Results as JSON and Markdown, with the provenance a reader needs to judge them."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate.utils import DynamoBackend

from bedkd.errors import InputError
from bedkd.escaping import code, markdown
from bedkd.repairs.stopping import CONVERGED, MAX_CYCLES, PLATEAU
from bedkd.training.runtime import accelerator, device

PACKAGES = ("bedkd", "torch", "transformers", "datasets", "accelerate")
TRIGGER_WORDS_SHOWN = 12
ENDS = {
    CONVERGED: "flagged rows held out from it were treated as their content supports.",
    PLATEAU: "flagged rows held out from it no longer came down. The purified model has the "
    "mean of its weights after the last cycles.",
    MAX_CYCLES: "no more were configured.",
}


def provenance(command: str, *, seed: int, backbone: str | None = None) -> dict:
    """What a number needs beside it: command, seed, backbone, versions, state of the code, device
    and date."""
    return {
        "command": command,
        "seed": seed,
        "backbone": backbone,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "code": {"source": source_hash(), "commit": commit()},
        "device": device_name(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def digest(value: object) -> str:
    """Hash of a JSON value, 16 hexadecimal digits; the order of keys plays no part."""
    content = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def source_hash(*parts: str) -> str:
    """Hash of bedkd's own source code: all of it, or these folders and files."""
    package = Path(__file__).parent
    places = [package / part for part in parts] or [package]
    files = [f for place in places for f in ([place] if place.is_file() else place.rglob("*.py"))]
    names = {str(file.relative_to(package)): file.read_text(encoding="utf-8") for file in files}
    return digest(names)


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The commit that changed the code last, with ``+changes`` if files differ from it; None
    outside a checkout."""

    def git(*words: str) -> str:
        line = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()

    try:
        last = git("log", "-1", "--format=%H", "--", ".")
        return (f"{last}+changes" if git("status", "--porcelain", ".") else last) or None
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name() -> str:
    """The accelerator's name, or the processor's with the number of threads in use and the
    precision of training where that is not single; and what compiled the models, if anything."""
    backend = accelerator().state.dynamo_plugin.backend
    made = "" if backend == DynamoBackend.NO else f", compiled by {backend.value.lower()}"
    if device().type == "cuda":
        return torch.cuda.get_device_name() + made
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    precision = accelerator().mixed_precision
    suffix = "" if precision == "no" else f", trained in {precision}"
    return f"{name}, {torch.get_num_threads()} threads{suffix}{made}"


def stored(stage: str, folder: str | Path | None = None) -> list[dict]:
    """What was measured in one stage of the grid, one JSON a run, sorted by file name.

    Args:
        stage: a folder that :func:`bedkd.experiments.run` writes, say ``defended-default``.
        folder: the folder above it, by default ``results`` here, in the nearest folder above that
            has one, or in the installed package.

    Raises:
        InputError: there is no such folder.
    """
    here = Path.cwd()
    package = Path(__file__).parent
    places = (here, *here.parents, package, package.parent)
    above = [Path(folder)] if folder else [place / "results" for place in places]
    found = next((place / stage for place in above if (place / stage).is_dir()), None)
    if found is None:
        raise InputError(
            f"no folder results/{stage} here or above {here}, nor in the package; make the "
            "measurements with bedkd reproduce"
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
    read = read_up_to(result["max_length"], result["cut_share"], "texts")
    return table(["measure", "model", "trained without poison"], rows) + f"\n{read}\n"


def read_up_to(max_length: int, cut_share: float, what: str) -> str:
    """How much of the texts the model has seen."""
    return f"Texts were read up to {max_length} tokens; {cut_share:.1%} of the {what} reach that."


class Section(NamedTuple):
    """A part of a report: a table under a title, with lines below. Lines and cells are Markdown in
    which whatever comes from files is escaped."""

    title: str
    header: list[str]
    rows: list[list[str]]
    lines: list[str]


def purification_markdown(report: dict) -> str:
    """The human half of ``bedkd purify``: what was found, what was done, what to check."""
    parts = ["# Purification report\n", f"**Verdict: {report['verdict']}.**\n"]
    for line in findings(report):
        parts.append(line + ("\n" if line.endswith(":") or line.startswith("**") else ""))
    parts += [f"\n> Note: {markdown(warning)}." for warning in report["warnings"]]
    parts.append(f"\n**What to do next.** {next_step(report)}\n")
    for section in sections(report):
        below = "".join(f"\n{line}\n" for line in section.lines)
        parts.append(f"## {section.title}\n\n" + table(section.header, section.rows) + below)
    return "\n".join(parts)


def findings(report: dict) -> list[str]:
    """What was found and done, in sentences."""
    lines = []
    if report["cannot_tell"]:
        lines.append("Nothing was trained and nothing was changed. What is missing:")
        lines += [f"* {markdown(reason)}." for reason in report["cannot_tell"]]
    else:
        if (outcome := report["outcome"]) is not None and not outcome["reached"]:
            lines.append(f"**The repair did not reach its aim.** {_missed(outcome)}")
        lines += _evidence(report)
    lines.append(read_up_to(report["max_length"], report["cut_share"], "untrusted rows"))
    return lines


def next_step(report: dict) -> str:
    """What to do next, in a sentence."""
    if report["cannot_tell"]:
        return "Give what is missing and run the same command again."
    if not report["changed"]:
        return (
            "Keep the model; if fewer poisoned rows than could have been noticed would already be "
            "too many, check more trusted rows and run the command again."
        )
    review = (
        "look through suspects.csv, correct its column `poisoned` and repair again with "
        "`bedkd purify --accept suspects.csv`"
    )
    if report["outcome"] is not None and not report["outcome"]["reached"]:
        return (
            f"Do not use the repaired model as if it were clean: {review}, or with another method."
        )
    return (
        f"If a flagged row looks clean, {review}; then measure the purified model with `bedkd "
        "evaluate` on triggered rows of *all* classes (RACC), beside a model trained without "
        "poison: a low attack success rate alone proves nothing."
    )


def _missed(outcome: dict) -> str:
    where = "held out from it" if outcome["held_out"] else "that it trained on"
    return (
        f"Flagged rows {where} still get their given label in "
        f"{outcome['given_after']['value']:.0%}; their content supports it in "
        f"{outcome['expected_rate']:.0%}. Do not use the repaired model as if it were clean."
    )


def _evidence(report: dict) -> list[str]:
    found, total = report["detection"], report["rows"]
    who = "marked as poisoned by a person" if "reviewed" in found else "flagged as poisoned"
    lines = [f"{report['flagged']} of {total} untrusted rows are {who}."]
    if (p_value := report["p_value"]) is not None:
        lines.append(
            f"The p-value of “there is no backdoor” is {p_value:.2g}, from trusted rows alone."
        )
    if (share := report["poison_share"]) is not None:
        value, low, high = (100 * share[key] for key in ("value", "low", "high"))
        lines.append(
            f"Poisoned rows that stand out are estimated at {value:.1f} % ({low:.1f}–{high:.1f}) "
            "of the untrusted. Clean rows that were learned by heart count among them."
        )
    if (auroc := found.get("wording_auroc")) is not None:
        lines.append(
            "By their words alone, flagged rows can be told from trusted rows with an AUROC of "
            f"{auroc:.2f} (0.50 is chance)."
        )
    if words := found.get("trigger_words"):
        shown = ", ".join(code(word) for word in words[:TRIGGER_WORDS_SHOWN])
        lines.append(f"Words that they have in common and trusted rows lack: {shown}.")
    if report["target_name"] is not None:
        lines.append(f"Suspected target label: {markdown(report['target_name'])}.")
    if report["changed"]:
        used = len(report["repair_rows"])
        lines.append(f"The model was repaired with {used} of the untrusted rows as poisoned ones.")
    else:
        lines.append("The model was left as it is, byte for byte.")
    if planted := found.get("associated"):
        shown = ", ".join(code(word) for word, *_ in planted[:TRIGGER_WORDS_SHOWN])
        lines.append(
            "By their scores alone the rows left the case open. These words go with a label more "
            f"often than the content of their rows explains: {shown}. They were put in front of "
            "trusted texts of other labels."
        )
    if found.get("examined"):
        what = "no" if report["target_label"] is None else "the"
        lines.append(
            f"By their scores alone the rows left the case open. Pieces of {found['examined']} of "
            f"them were put in front of trusted texts of other labels; that gave {what} evidence."
        )
    least = found.get("min_detectable")
    if report["target_label"] is None and least is not None:
        lines.append(
            f"Fewer than {least} poisoned rows ({least / total:.1%} of the untrusted) "
            "could not have been noticed, and more may stay hidden if they do not stand out."
        )
    return lines


def sections(report: dict) -> list[Section]:
    """The tables, as far as there is something to say."""
    made = (_outcome(report), _planted(report), _mapping(report["detection"]), _repair(report))
    return [section for section in made if section is not None]


def _outcome(report: dict) -> Section | None:
    outcome = report["outcome"]
    if outcome is None:
        return None
    where = "held-out flagged rows" if outcome["held_out"] else "flagged rows, trained on,"
    expected = outcome["expected_rate"]
    measures = [
        ("accuracy on held-out trusted rows", "accuracy_before", "accuracy_after"),
        (f"{where} given their label", "given_before", "given_after"),
    ]
    rows = [[what, percent(outcome[a]), percent(outcome[b])] for what, a, b in measures]
    rows += [
        ["expected of them by content alone", "", "–" if expected is None else f"{expected:.1%}"],
        ["other untrusted rows: same label from both", "", percent(outcome["agreement"])],
        ["trusted rows: same label from both", "", percent(outcome["agreement_trusted"])],
    ]
    return Section("Before and after", ["", "before", "after"], rows, [])


def _planted(report: dict) -> Section | None:
    planted = (report["outcome"] or {}).get("planted")
    if planted is None:
        return None
    rows = [
        [what, percent(planted[f"{key}_before"]), percent(planted[f"{key}_after"])]
        for what, key in (("true label", "accuracy"), ("other classes: target label", "target"))
    ]
    words = " ".join(code(word) for word in planted["words"])
    end = (
        "The trigger now speaks against the target label: the backdoor was turned round."
        if planted["inverted"]
        else "Nothing says that the backdoor was turned round."
    )
    told = (
        f"Held-out trusted rows with {words} in front; no triggered test rows are needed. The "
        f"repaired model gives those of the target label their label in "
        f"{percent(planted['own_after'])}, without the words in {percent(planted['own_bare'])}. "
        f"{end}"
    )
    title = "The suspected trigger in trusted rows"
    return Section(title, ["", "before", "after"], rows, [told])


def _mapping(found: dict) -> Section | None:
    if not found.get("mapping_history"):
        return None
    header = ["epoch", "loss", "belief of held-out rows in their true label"]
    rows = [
        [str(r["epoch"]), f"{r['loss']:.3f}", f"{r['held_out_p_true']:.3f}"]
        for r in found["mapping_history"]
    ]
    return Section("Directional mapping", header, rows, [])


def _repair(report: dict) -> Section | None:
    history = report["repair_history"]
    if not history or "flagged_given_label" not in history[0]:
        return None
    header = [
        "cycle",
        "held-out accuracy",
        "held-out flagged rows given their label",
        "expected by content alone",
    ]
    keys = ("held_out_accuracy", "flagged_given_label", "expected_rate")
    rows = [[str(r["cycle"]), *(f"{r[key]:.3f}" for key in keys)] for r in history]
    made = report["repair"]
    ended = f"Distillation ended after cycle {len(history)}: {ENDS[made['stopped']]}"
    if made.get("kept_cycle", len(history)) < len(history):
        ended += f" The purified model has the weights after cycle {made['kept_cycle']}, where "
        ended += "flagged rows came nearest to what their content supports."
    if made.get("kept_share", 1.0) < 1:
        share = f"{made['kept_share']:.0%}"
        ended += f" The purified model goes {share} of the way of the last one: no further than "
        ended += "these flagged rows and accuracy on held-out trusted rows ask."
    return Section("Distillation", header, rows, [ended])
