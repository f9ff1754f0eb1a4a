"""Rename the keys of ``results/**/*.json`` to those of version 0.2, once; running it again changes
nothing. No number is changed or measured anew: settings that had no name then stand with the value
that the code had, ``p_value`` with null. ``command`` stays as it was run.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

from chapters import ROOT

from bedkd.case import Parts
from bedkd.detectors import BeDKDDetector, Content, DirectionalMapping, TriggerProbe
from bedkd.detectors.wording import Wording
from bedkd.files import write_json
from bedkd.presets import cycles

TOP = {
    "defence": "preset",
    "suspects": "rows_from",
    "punished_precision": "repair_precision",
}
CONDITIONS = {"trusted": "trusted_rows", "suspects": "max_suspects"}
MAPPING = {"watch": "n_monitored", "false_share": "fdr", "held_out_given": "held_out_p_true"}
CYCLE = {"suspects_given_label": "flagged_given_label", "neutral": "expected_rate"}
DISTILLATION = {
    "suspects": "max_suspects",
    "draw": "sampling",
    "breadth": "oversample",
    "aim": "target_probability",
    "stop_neutral": "stop_margin",
}
PROBE = {"hosts": "carriers", "depth": "texts_per_carrier"}
STOPPED = {"neutral": "converged", "levelled off": "plateau", "cycles used up": "max_cycles"}


def renamed(found: dict, names: dict[str, str], without: tuple[str, ...] = ()) -> dict:
    return {names.get(key, key): value for key, value in found.items() if key not in without}


def settings(old: dict) -> dict:
    """Parts, detector and repair as :meth:`bedkd.purify.Purified.to_dict` writes them."""
    first, second = old["mapping"], old["distillation"]
    elsewhere = ("rows_per_class", "max_length")
    least = old["least_suspects"]
    mapping = DirectionalMapping(**renamed(first, MAPPING, elsewhere), min_flagged=least)
    detector = mapping
    if old["content"] or old["surface"]:
        wording = Wording(min_auroc=old["least_shared"], min_seeds=least)
        probe = None
        if old.get("splices"):
            probe = TriggerProbe(
                **renamed(old["splices"], PROBE),
                fdr=mapping.fdr,
                min_flagged=least,
                max_flagged=second["suspects"],
                wording=wording,
            )
        detector = BeDKDDetector(
            mapping=mapping,
            content=Content() if old["content"] else None,
            wording=wording if old["surface"] else None,
            probe=probe,
            fdr=mapping.fdr,
            seed_fdr=old["seed_share"],
            # Before there was a second threshold, the repair took what passed the first.
            repair_fdr=old.get("sure_share", mapping.fdr),
            min_flagged=least,
            min_wording_auroc=old["least_shared"],
            association=None,
            null="correct",
        )
    repair = replace(cycles().repair, **renamed(second, DISTILLATION, elsewhere))
    if "patience" not in second:
        repair = replace(repair, patience=None)
    parts = Parts(first["rows_per_class"], second["rows_per_class"], old["held_out_per_class"])
    named = {"detector": detector, "repair": repair}
    return {
        "parts": asdict(parts),
        **{kind: {"name": type(m).__name__, **asdict(m)} for kind, m in named.items()},
    }


def report(old: dict) -> dict:
    history = [renamed(cycle, CYCLE) for cycle in old["distillation_history"]]
    return {
        **{key: old[key] for key in ("verdict", "changed", "target_label", "rows")},
        "flagged": old["suspected"],
        "threshold": old["threshold"],
        "p_value": None,
        "detection": {
            "mapping_history": [renamed(epoch, MAPPING) for epoch in old["mapping_history"]],
            "min_detectable": old["least_detectable"],
            "wording_auroc": old["shared"],
            "examined": old.get("examined", 0),
            "trigger_words": old["marks"],
        },
        "repair_history": history,
        "repair": {"stopped": STOPPED.get(old.get("stopped"))} if history else {},
        "seconds": renamed(old["seconds"], {"distillation": "repair"}),
        "warnings": old["warnings"],
        "seed": old["seed"],
        "max_length": old["config"]["mapping"]["max_length"],
        "settings": settings(old["config"]),
    }


def record(old: dict) -> dict:
    """A results file with the new names; one that has them already comes back as it is."""
    new = renamed(old, TOP)
    if "conditions" in new:
        new["conditions"] = renamed(new["conditions"], CONDITIONS)
    if "config" in new.get("report", {}):
        new["report"] = report(new["report"])
    return new


def numbers(found: object) -> Counter:
    """All numeric leaves, however they are named."""
    if isinstance(found, dict | list):
        parts = found.values() if isinstance(found, dict) else found
        return sum(map(numbers, parts), Counter())
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return Counter([found] if is_number else [])


def without_settings(record: dict) -> dict:
    """What was measured: all but what was configured."""
    configured = ("config", "settings", "max_length")
    kept = {k: v for k, v in record.get("report", {}).items() if k not in configured}
    return record | {"report": kept}


def main() -> None:
    changed, added, gone = 0, Counter(), Counter()
    for path in sorted((ROOT / "results").rglob("*.json")):
        old = json.loads(path.read_text(encoding="utf-8"))
        new = record(old)
        before, after = (numbers(without_settings(r)) for r in (old, new))
        more = after - before
        if before - after or set(more) - {0}:
            sys.exit(f"{path}: numbers would change: {before - after}, {more}")
        added, gone = added + (numbers(new) - numbers(old)), gone + (numbers(old) - numbers(new))
        if new != old:
            changed += 1
            write_json(new, Path(path))
    print(f"{changed} files renamed; no measured number is gone or changed")
    print(f"settings: numbers added {dict(added)}, gone {dict(gone)}")


if __name__ == "__main__":
    main()
