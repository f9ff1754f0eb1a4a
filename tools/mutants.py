"""Break the library on purpose, one line at a time, and see whether the tests notice.

    python tools/mutants.py [NAME ...]

Every error below is put into a copy of the project, and the tests named beside it are run there. The
outcome is written to ``tests/mutants.json``; status 1 if one survives. The first 22 are errors that
once passed all tests, the others were thought up afterwards.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent.parent
OUTCOME = HERE / "tests" / "mutants.json"


class Mutant(NamedTuple):
    """An error: in ``file`` the text ``old``, which stands there once, becomes ``new``."""

    name: str
    file: str
    old: str
    new: str
    tests: str


D, R, T = "detectors", "repairs", "training"
DMM, WORDING, BASE = f"{D}/directional_mapping.py", f"{D}/wording.py", f"{D}/base.py"
PROBE, BEDKD, DISTIL = f"{D}/trigger_probe.py", f"{D}/bedkd.py", f"{R}/distillation.py"
SOFT, STOP, PLAN = f"{R}/soft_labels.py", f"{R}/stopping.py", f"{R}/schedule.py"
LOOP, LOSSES, GOALS = f"{T}/loop.py", f"{T}/losses.py", f"{T}/objectives.py"
POISON, RUNS, VICTIMS = "attacks/poison.py", "experiments/runs.py", "experiments/victims.py"
T_DMM, T_WORDING = "detectors/test_directional_mapping.py", "detectors/test_wording.py"
T_BEDKD, T_PROBE = (
    "detectors/test_bedkd.py detectors/test_real_settings.py",
    "detectors/test_trigger_probe.py",
)
T_DISTIL, T_LOOP = "repairs/test_distillation.py", "training/test_loop.py"
T_SOFT, T_PLAN = "repairs/test_soft_labels.py", "repairs/test_schedule.py"
T_GOALS = "training/test_objectives.py"

# One line each reads best here.
# fmt: off
# ruff: noqa: E501
MUTANTS = [
    # Errors that passed all tests before these were written.
    Mutant("null from the flipped rows", DMM, "np.append(np.zeros(flipped, bool), mapped.null.fits_label)", "np.append(mapped.null.fits_label, np.zeros(flipped, bool))", T_DMM),
    Mutant("wording null from the wrong rows", WORDING, "unseen[len(suspects) :][: len(trusted)]", "unseen[: len(trusted)]", T_WORDING),
    Mutant("threshold over rows that cannot be flagged", BASE, "self.trusted[used], self.untrusted[self.eligible],", "self.trusted[used], self.untrusted,", "detectors/test_base.py " + T_BEDKD),
    Mutant("presumed clean is the more suspicious half", BASE, "np.lexsort((draws, scores))", "np.lexsort((draws, -scores))", "detectors/test_base.py"),
    Mutant("probe without its floor of one half", PROBE, "max(fdr_threshold(null, rates[first], self.fdr), self.min_target_rate)", "fdr_threshold(null, rates[first], self.fdr)", T_PROBE),
    Mutant("uniform prior", "case.py", "(labels == k).mean() for k", "1 / self.num_labels for k", "test_case.py"),
    Mutant("soft labels without the prior", SOFT, "case.prior[k] / shares[k]", "1.0", T_SOFT),
    Mutant("presumed clean rows scored in-sample", WORDING, "scores[presumed_clean] = unseen", "_ = unseen", T_WORDING),
    Mutant("wording AUROC of the easier group", WORDING, "auroc = min(", "auroc = max(", T_WORDING),
    Mutant("transplants with wrong labels", PLAN, "strict=True)\n        ]\n        return EncodedTexts(self.tokenizer, texts, self.labels,", "strict=True)\n        ]\n        return EncodedTexts(self.tokenizer, texts, self.labels[::-1].copy(),", T_PLAN),
    Mutant("transplants with a negated teacher", DISTIL, "logits = torch.from_numpy(answers.logits)", "logits = torch.from_numpy(-answers.logits)", T_DISTIL),
    Mutant("no dropout after the first steps", LOOP, "self.model.train()", "self.model.train(self.steps_done == 0)", T_LOOP),
    Mutant("no weight decay", LOOP, "weight_decay=weight_decay, fused", "weight_decay=0.0, fused", T_LOOP),
    Mutant("no warm-up, no decay", LOOP, '"constant" if self.warmup_ratio is None else "linear"', '"constant"', T_LOOP),
    Mutant("the reference sees rows held out for testing", VICTIMS, "np.setdiff1d(np.arange(len(train)), sorted(held))", "np.arange(len(train))", "test_experiments.py"),
    Mutant("result files for their owner only", "files.py", 'encoding="utf-8", newline=""', 'encoding="utf-8", newline="", opener=lambda p, f: os.open(p, f, 0o600)', "test_files.py"),
    Mutant("no clipping", LOOP, "if self.max_grad_norm is not None:", "if False:", T_LOOP),
    Mutant("suspects scored in-sample", WORDING, "scores[suspects] = own", "_ = own", T_WORDING),
    Mutant("student's scores are the teacher's", DMM, "models = case.suspect, student", "models = case.suspect, case.suspect", T_DMM),
    Mutant("purify's preset is another", "cli/defend.py", '    output: Output,\n    config: Config = "default",', '    output: Output,\n    config: Config = "quick",', "test_cli.py"),
    Mutant("mislabelled rows are contaminated ones too", "conditions.py", "np.setdiff1d(np.arange(len(rows)), chosen)", "np.arange(len(rows))", "test_conditions.py"),
    Mutant("wording is told nothing of the scores", BEDKD, "self.wording.evidence(case, seeds, total.untrusted)", "self.wording.evidence(case, seeds, 0 * total.untrusted)", T_BEDKD),
    # Signs.
    Mutant("d(x) with the other sign", DMM, '(-1, "distance")', '(1, "distance")', T_DMM),
    Mutant("content speaks for the label", f"{D}/content.py", "return -log_odds(", "return log_odds(", "detectors/test_content.py"),
    Mutant("the paper's punishment is a reward", DISTIL, "s.temperature, s.alpha, sign=-1)", "s.temperature, s.alpha, sign=1)", T_DISTIL),
    Mutant("bounded punishing rewards", LOSSES, "-log_rest, torch.zeros_like", "log_rest, torch.zeros_like", "training/test_losses.py"),
    Mutant("agreement with the wrong sign", GOALS, "self.alpha * supervised + (1 - self.alpha) * agreement", "self.alpha * supervised - (1 - self.alpha) * agreement", T_GOALS),
    # Masks, denominators, axes.
    Mutant("padding counts in the hidden loss", LOSSES, "mask.unsqueeze(-1).to(student.dtype)", "torch.ones_like(mask).unsqueeze(-1).to(student.dtype)", "training/test_losses.py"),
    Mutant("hidden loss not divided by width", LOSSES, "weight.sum() * student.shape[-1]", "weight.sum()", "training/test_losses.py"),
    Mutant("KL over rows", LOSSES, "F.log_softmax(student / temperature, dim=-1)", "F.log_softmax(student / temperature, dim=0)", "training/test_losses.py"),
    Mutant("teacher not softened", LOSSES, "F.log_softmax(teacher / temperature, dim=-1)", "F.log_softmax(teacher, dim=-1)", "training/test_losses.py"),
    Mutant("d(x) over rows", DMM, "np.abs(p_teacher - p_student).mean(axis=1)", "np.abs(p_teacher - p_student).max(axis=1)", T_DMM),
    Mutant("p-value without the one", BASE, "(tail + 1) / (weights.sum() + 1)", "tail / (weights.sum() + 1)", "detectors/test_base.py"),
    Mutant("ties are no evidence against", BASE, 'np.searchsorted(null[order], scores, side="left")', 'np.searchsorted(null[order], scores, side="right")', "detectors/test_base.py"),
    Mutant("precision of all rows", "metrics.py", "precision=Share.of(poisoned[flagged])", "precision=Share.of(poisoned)", "test_metrics.py"),
    Mutant("recall is precision", "metrics.py", "recall=Share.of(flagged[poisoned])", "recall=Share.of(poisoned[flagged])", "test_metrics.py"),
    Mutant("spread of the population", "metrics.py", "ddof=1", "ddof=0", "test_metrics.py"),
    # Off by one, wrong half, wrong end.
    Mutant("flagging needs more than the threshold", BASE, "self.untrusted >= self.threshold(fdr)", "self.untrusted > self.threshold(fdr)", "detectors/test_base.py"),
    Mutant("no label changes", DMM, "(np.asarray(labels) + 1) % num_labels", "np.asarray(labels) % num_labels", T_DMM),
    Mutant("a verdict with one row less", BEDKD, ">= self.min_flagged\n        if", ">= self.min_flagged - 1\n        if", T_BEDKD),
    Mutant("stops after one good cycle", STOP, "1 if settled else 2", "1", "repairs/test_stopping.py"),
    Mutant("plateau without margin", STOP, "np.mean(before) - self.margin", "np.mean(before)", "repairs/test_stopping.py"),
    Mutant("mean weights of one cycle", STOP, "[*self.recent, _weights(student)][-self.patience :]", "[_weights(student)]", "repairs/test_stopping.py " + T_DISTIL),
    Mutant("goes all of the way", STOP, "(short, middle) if reached() else (middle, share)", "(short, share)", "repairs/test_stopping.py"),
    Mutant("goes on from the wrong end", STOP, "(short, middle) if reached() else (middle, share)", "(middle, share) if reached() else (short, middle)", "repairs/test_stopping.py"),
    Mutant("goes no further, whatever trusted rows say", DISTIL, "self.guard) >= least", "self.guard) >= 0 * least", T_DISTIL),
    Mutant("keeps the last epoch, not the best", DMM, 'student.load_state_dict(state["best_model"], strict=False)', "pass", T_DMM),
    Mutant("transplants never at the beginning", PLAN, "rng.random() < 0.5", "rng.random() < 0.0", T_PLAN),
    Mutant("windows that leave the last word out", PROBE, "last = max(len(words) - width, 0)", "last = max(len(words) - width - 1, 0)", T_PROBE),
    # Leaks.
    Mutant("flags reach the detector", "case.py", 'rows.select_columns(["text", "label"])', "rows", "test_case.py"),
    Mutant("held-out rows are trained on", DISTIL, "used = order[self.n_held_out :]", "used = order", T_DISTIL),
    Mutant("parts of the trusted rows overlap", "case.py", "part, rest = balanced_split(rest,", "part, _ = balanced_split(rest,", "test_case.py"),
    Mutant("copies of a row in several folds", f"{D}/content.py", '" ".join(t.lower().split()), len', "object(), len", "detectors/test_content.py"),
    Mutant("test rows among the training rows", "attacks/task.py", "np.setdiff1d(np.arange(len(train)), held_out)", "np.arange(len(train))", "test_attacks.py"),
    # Seeds.
    Mutant("dropout is not seeded", LOOP, "torch.manual_seed(seed)", "pass", T_LOOP),
    Mutant("every seed poisons the same rows", POISON, 'candidates, count, seed, "poison")', 'candidates, count, 0, "poison")', "test_attacks.py"),
    Mutant("resume with a fresh order of batches", DISTIL, 'rng.bit_generator.state, history = saved["rng"], saved["history"]', 'history = saved["history"]', T_DISTIL + " test_purify.py"),
    # Swapped arguments, wrong rows, wrong default.
    Mutant("rows of the lowest scores are repaired with", DISTIL, "np.lexsort((rows, -scores[rows]))", "np.lexsort((rows, scores[rows]))", T_DISTIL + " test_purify.py"),
    Mutant("rows that a repair must not take", DISTIL, "~np.isneginf(detection.repair_scores)", "np.ones(len(scores), bool)", T_DISTIL + " test_purify.py"),
    Mutant("poisoned rows keep their label", POISON, "new_labels[chosen] = wanted[chosen]", "pass", "test_attacks.py"),
    Mutant("ASR counts target rows", POISON, "np.flatnonzero(labels != wanted), list", "np.arange(len(labels)), list", "test_attacks.py"),
    Mutant("a probe of the row's own class", PROBE, "np.unique(true) if k != label", "np.unique(true)", T_PROBE),
    Mutant("the mapping student learns true labels", DMM, "rows.labels = flip(rows.labels, case.num_labels)", "pass", T_DMM),
    Mutant("the suspect model is trained itself", DISTIL, "student = student_of(case.suspect, frozen_embeddings=self.frozen_embeddings)", "student = case.suspect", T_DISTIL),
    Mutant("predictions in training mode", f"{T}/predict.py", "model.eval()", "pass", "training/test_predict.py"),
    Mutant("the aim is missed by nobody", "outcome.py", "self.given_after.low <=", "self.given_after.low * 0 <=", "test_outcome.py"),
    Mutant("another text is cut than the model cuts", "models.py", "return trained", "return 128", "test_cli.py"),
    Mutant("a class without trusted rows passes", "case.py", "(counts == 0) & (given > 0)", "(counts == 0) & (given < 0)", "test_verdict.py"),
]
# fmt: on


def check(mutant: Mutant, copy: Path) -> dict:
    """Put one error into the copy, run its tests there, and take it out again."""
    path = copy / "bedkd" / mutant.file
    before = path.read_text(encoding="utf-8")
    if before.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.name}: {mutant.old!r} stands {before.count(mutant.old)} times")
    path.write_text(before.replace(mutant.old, mutant.new), encoding="utf-8")
    start = time.perf_counter()
    tests = [f"tests/{name}" for name in mutant.tests.split()]
    line = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(line, cwd=copy, env=environment, capture_output=True, text=True)
    path.write_text(before, encoding="utf-8")
    failed = [row.split(" ")[1] for row in done.stdout.splitlines() if row.startswith("FAILED ")]
    if done.returncode not in (0, 1):
        failed = ["the tests cannot be collected"]
    record = {"file": mutant.file, "old": mutant.old, "new": mutant.new}
    record |= {"noticed": done.returncode != 0, "by": failed[0] if failed else None}
    return {**record, "seconds": round(time.perf_counter() - start, 1)}


def main(names: list[str]) -> int:
    """Check all errors, or those named."""
    if wrong := set(names) - {mutant.name for mutant in MUTANTS}:
        raise SystemExit(f"no such error: {', '.join(sorted(wrong))}")
    known = json.loads(OUTCOME.read_text(encoding="utf-8")) if OUTCOME.is_file() else {}
    with tempfile.TemporaryDirectory() as place:
        for part in ("bedkd", "tests", "tools"):
            shutil.copytree(HERE / part, Path(place) / part)
        shutil.copy(HERE / "pyproject.toml", place)
        for mutant in MUTANTS:
            if names and mutant.name not in names:
                continue
            known[mutant.name] = found = check(mutant, Path(place))
            print(
                "noticed " if found["noticed"] else "SURVIVED", mutant.name, found["by"], flush=True
            )
            ordered = {m.name: known[m.name] for m in MUTANTS if m.name in known}
            OUTCOME.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    survived = [name for name, found in known.items() if not found["noticed"]]
    print(f"{len(known) - len(survived)} of {len(known)} errors were noticed")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
