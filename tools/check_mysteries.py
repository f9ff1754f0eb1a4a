"""Do the ten mystery models of the book hold what they promise? Each is trained, judged with its
own test rows, and given to ``purify`` as a learner would.

    python tools/check_mysteries.py

Writes ``results/checks/mysteries.json``: seconds of training by number, and everything else by
what was done to the model, in alphabetical order, so that the file does not say which is which.
Finished mysteries are not judged again.
"""

from __future__ import annotations

import sys
import time

from chapters import ROOT
from transformers.utils import logging

from bedkd import Case, attacks, data, presets, purify, report
from bedkd.evaluation import evaluate
from bedkd.files import read_json, write_json
from bedkd.teaching import mysteries
from bedkd.teaching.mysteries import recipes, sealing

OUTPUT = ROOT / "results" / "checks" / "mysteries.json"


def judged(number: int) -> tuple[float, dict]:
    """Seconds to make a mystery, and what became of it."""
    made = recipes.recipe(number, mysteries.SEED)
    start = time.process_time()
    mystery = mysteries.load(number)
    seconds = time.process_time() - start
    sealed = read_json(mystery.folder / "sealed.json")
    tests = sealing.open_tests(sealed, list(made.words))
    found = {
        "kind": made.kind,
        "task": made.task,
        "limits": tests["limits"],
        "before": shares(tests, mystery.model, mystery.tokenizer),
    }
    preset = presets.quick()
    case = Case(mystery.model, mystery.tokenizer, mystery.trusted, mystery.training, preset.parts)
    done = purify(case, preset.detector, preset.repair)
    target = None if made.target is None else made.target == done.target_label
    named = set(done.detection.details.get("trigger_words", []))
    return seconds, {
        **found,
        "verdict": done.verdict,
        "target_found": target,
        "words_found": f"{len(named & set(made.words))} of {len(set(made.words))}",
        "after": shares(tests, done.model, mystery.tokenizer),
    }


def shares(tests: dict, model, tokenizer) -> dict[str, float]:
    """CACC, ASR, and RACC of the target class, as the marking measures them."""
    rows = {"clean": data.make(tests["clean"]["text"], tests["clean"]["label"], None)}
    if "triggered" in tests:
        given = tests["triggered"]
        rows["triggered"] = data.make(given["text"], given["label"], True)
        rows["poisoned"] = attacks.attack_rows(rows["triggered"], tests["target"])
    found = evaluate(model, tokenizer, **rows)
    kept = {"cacc": found["cacc"]["value"]}
    if "triggered" in tests:
        kept["asr"] = found["asr"]["value"]
        kept["racc"] = found["racc_by_class"][str(tests["target"])]["value"]
    return kept


def main() -> None:
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    record = read_json(OUTPUT) if OUTPUT.is_file() else {}
    seconds, models = record.get("seconds", {}), record.get("models", [])
    for number in mysteries.NUMBERS:
        if str(number) in seconds:
            continue
        spent, found = judged(number)
        seconds[str(number)] = spent
        models = sorted([*models, found], key=lambda model: model["kind"])
        made = report.provenance("python tools/check_mysteries.py", seed=mysteries.SEED)
        write_json({**made, "seconds": seconds, "models": models}, OUTPUT)
        sys.stderr.write(f"{number}: {spent:.0f} s\n")


if __name__ == "__main__":
    main()
