"""The directional mapping module (DMM), stage 1 of BeDKD: which training rows are poisoned?

A copy of the suspect model (the student) is taught *flipped* labels on a few trusted rows. That
destroys the clean mapping and leaves the backdoor mapping, which no trusted row exercises.
Afterwards a clean row of the training set has lost its given label, a poisoned row still has it.

Source: arXiv 2508.01595, directional mapping module. Departures are options of
:class:`DirectionalMapping` and named there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from datasets import concatenate_datasets
from transformers import PreTrainedModel

from bedkd.case import Case
from bedkd.detectors.base import (
    Detection,
    Evidence,
    fdr_threshold,
    log_odds,
    min_detectable,
    p_value,
    too_few,
)
from bedkd.errors import InputError
from bedkd.run import Run
from bedkd.training.loop import Trainer
from bedkd.training.objectives import DistillationLoss
from bedkd.training.predict import Prediction, predict
from bedkd.training.student import student_lr, student_of, trained_weights


def flip(labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Flipped labels: y → (y + 1) mod K, which for two classes is a swap.

    >>> flip(np.array([0, 1, 2]), num_labels=3).tolist()
    [1, 2, 0]
    """
    return (np.asarray(labels) + 1) % num_labels


@dataclass(frozen=True)
class Scores:
    """What teacher and student say of N rows.

    Attributes:
        distance: d(x), mean over classes of ``|p_teacher − p_student|``, (N,), 0 to 1.
        p_given: p_student(given label), (N,), 0 to 1.
        fits_label: the teacher predicts the row's given label, (N,) bool.
    """

    distance: np.ndarray
    p_given: np.ndarray
    fits_label: np.ndarray


def compare(teacher: Prediction, student: Prediction, labels: np.ndarray) -> Scores:
    """Scores from what teacher and student say of the same N rows with given labels (N,)."""
    p_teacher, p_student = teacher.probabilities, student.probabilities
    labels = np.asarray(labels, int)
    return Scores(
        distance=np.abs(p_teacher - p_student).mean(axis=1),
        p_given=p_student[np.arange(len(labels)), labels],
        fits_label=teacher.labels == labels,
    )


@dataclass(frozen=True)
class Mapped:
    """A mapping student and its scores.

    Attributes:
        student: the model that unlearned the clean mapping.
        history: one record an epoch: mean loss, and ``held_out_p_true``, the student's mean
            probability of the true label of the monitored held-out rows.
        null: scores of the trusted rows with true labels that it did not see (tune, held out).
        untrusted: scores of the untrusted rows.
    """

    student: PreTrainedModel
    history: list[dict]
    null: Scores
    untrusted: Scores


@dataclass(frozen=True)
class DirectionalMapping:
    """The mapping module as a detector of its own, and as evidence for others.

    Attributes:
        epochs: maximum number of epochs over the flipped rows.
        patience: keep the epoch after which held-out trusted rows believe least in their true
            label, and stop after this number of epochs without a lower value; None trains all
            epochs (the paper). With few flipped rows the student soon learns them by heart and
            the clean mapping comes back; held-out rows show when.
        n_monitored: maximum number of held-out rows, drawn at random, asked after every epoch.
        temperature: τ of the shared loss, above 0; larger is softer.
        alpha: α of the shared loss, 0 to 1; larger weighs the flipped labels more.
        lr: learning rate of AdamW.
        batch_size: rows in a batch.
        score: ``given-label`` is p_student(given label), high for poisoned rows; ``distance`` is
            the paper's d(x), whose small values are suspicious.
        gamma: with ``distance``, rows with d(x) < γ are flagged (the paper's 0.1). None sets the
            threshold by ``fdr``.
        fdr: false discovery rate of the flagged rows, as estimated from held-out trusted rows.
        min_flagged: minimum number of flagged rows for the verdict "backdoored".

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> found = DirectionalMapping(epochs=1).detect(case)
        >>> found.is_backdoored, list(found.details["mapping_history"][0])
        (False, ['epoch', 'loss', 'held_out_p_true'])
    """

    epochs: int = 20
    patience: int | None = 3
    n_monitored: int = 200
    temperature: float = 1.5
    alpha: float = 0.3
    lr: float = 3e-5
    batch_size: int = 16
    score: str = "given-label"
    gamma: float | None = None
    fdr: float = 0.05
    min_flagged: int = 16

    def __post_init__(self):
        if self.score not in ("given-label", "distance"):
            raise InputError(f"score={self.score!r}: choose one of given-label, distance")
        if self.gamma is not None and self.score != "distance":
            raise InputError("gamma is a threshold on d(x): it needs score='distance'")

    def fit(self, case: Case, run: Run = Run()) -> tuple[PreTrainedModel, list[dict]]:
        """Teach a copy of the suspect model flipped labels; returns it and its history."""
        rows = case.encoded(case.divided.flip, "the trusted set")
        answers = predict(case.suspect, rows, hidden=True)
        rows.labels = flip(rows.labels, case.num_labels)
        objective = DistillationLoss(answers, self.temperature, self.alpha)
        unseen = _unseen(case)
        some = np.random.default_rng(case.seed).permutation(len(unseen))[: self.n_monitored]
        monitored = case.encoded(unseen.select(np.sort(some)), "the held-out trusted set")

        student, rng = student_of(case.suspect), np.random.default_rng(case.seed)
        trainer = Trainer(
            student,
            num_steps=self.epochs * -(-len(rows) // self.batch_size),
            lr=student_lr(student, self.lr),
            max_grad_norm=None,
            seed=case.seed,
            description="directional mapping" if run.progress else None,
        )
        state = {"history": [], "best": float("inf"), "best_model": None, "bad_epochs": 0}
        if (saved := run.load("mapping")) is not None:
            trainer.load_state_dict(saved["trainer"])
            rng.bit_generator.state = saved["rng"]
            state = saved["state"]
        while len(state["history"]) < self.epochs and not self._done(state):
            batches = rows.epoch(self.batch_size, rng)
            losses = trainer.train((objective, rows, batch) for batch in batches)
            beliefs = predict(student, monitored).probabilities
            believed = float(beliefs[np.arange(len(monitored)), monitored.labels].mean())
            record = {"loss": float(np.mean(losses)), "held_out_p_true": believed, **trainer.notes}
            state["history"].append({"epoch": len(state["history"]) + 1, **record})
            state["bad_epochs"] += 1
            if self.patience is not None and believed < state["best"]:
                state |= {"best": believed, "bad_epochs": 0}
                # Not on the accelerator, where a second copy may not fit.
                weights = trained_weights(student).items()
                state["best_model"] = {k: w.cpu().clone() for k, w in weights}
            run.save("mapping", lambda: _saved(trainer, rng, state))  # noqa: B023
        if state["best_model"] is not None:
            student.load_state_dict(state["best_model"], strict=False)
        return student, state["history"]

    def _done(self, state: dict) -> bool:
        return self.patience is not None and state["bad_epochs"] >= self.patience

    def missing(self, case: Case) -> list[str]:
        """Why no score of this case could be enough; known before the student is trained."""
        null = len(case.divided.tune) + len(case.divided.held_out)
        return too_few(null, len(case.untrusted), self.fdr, self.min_flagged)

    def map(self, case: Case, run: Run = Run()) -> Mapped:
        """Fit the student and compare it with the suspect model on all rows."""
        student, history = self.fit(case, run)

        models = case.suspect, student

        def scan(name: str, labels: np.ndarray, ask: Callable[[], list[Prediction]]) -> dict:
            """Scores of some rows, kept as soon as they are there."""
            if (saved := run.load(f"scan-{name}")) is None:
                saved = asdict(compare(*ask(), labels))
                run.save(f"scan-{name}", lambda: saved)
            return saved

        rows = case.encoded(_unseen(case), "the held-out trusted set")
        null = scan("null", rows.labels, lambda: [predict(model, rows) for model in models])
        found, parts = [], case.scans
        for k, part in enumerate(parts, start=1):
            where = f", part {k} of {len(parts)}" if len(parts) > 1 else ""
            bar = {"progress": run.progress, "description": f"scan{where}"}
            found.append(scan(str(k), case.labels[part], partial(case.ask, models, part, **bar)))
        merged = {name: np.concatenate([part[name] for part in found]) for name in null}
        return Mapped(student, history, Scores(**null), Scores(**merged))

    def evidence(self, case: Case, run: Run = Run()) -> tuple[Evidence, Mapped]:
        """Log-odds of p_student(given label), and the scores behind it."""
        mapped = self.map(case, run)
        # Of the flipped rows nothing can be said: the student was trained on them.
        flipped = len(case.divided.flip)
        return Evidence(
            untrusted=log_odds(mapped.untrusted.p_given),
            eligible=mapped.untrusted.fits_label,
            trusted=np.append(np.full(flipped, np.nan), log_odds(mapped.null.p_given)),
            null=np.append(np.zeros(flipped, bool), mapped.null.fits_label),
        ), mapped

    def detect(self, case: Case, run: Run = Run()) -> Detection:
        """Flag rows by the mapping student alone."""
        if self.gamma is None and (missing := self.missing(case)):
            return Detection.undecided(case, missing)
        mapped = self.map(case, run)
        fits, clean = mapped.untrusted.fits_label, mapped.null.fits_label
        sign, name = (1, "p_given") if self.score == "given-label" else (-1, "distance")
        scores = sign * getattr(mapped.untrusted, name)
        null = sign * getattr(mapped.null, name)[clean]
        details: dict = {"mapping_history": mapped.history}
        if self.gamma is not None:
            threshold = -self.gamma
            flagged = (scores > threshold) & fits
        else:
            threshold = fdr_threshold(null, scores[fits], self.fdr)
            flagged = (scores >= threshold) & fits
            least = min_detectable(len(null), int(fits.sum()), self.fdr)
            details["min_detectable"] = max(least, self.min_flagged)
        return Detection(
            scores=scores,
            flagged=flagged,
            threshold=threshold,
            is_backdoored=int(flagged.sum()) >= self.min_flagged,
            p_value=p_value(null, scores[fits]),
            repair_scores=np.where(fits, scores, -np.inf),
            details=details,
            evidence={"mapping": scores},
        )


def _unseen(case: Case):
    """Trusted rows that the mapping student does not train on."""
    return concatenate_datasets([case.divided.tune, case.divided.held_out])


def _saved(trainer: Trainer, rng: np.random.Generator, state: dict) -> dict:
    return {"trainer": trainer.state_dict(), "rng": rng.bit_generator.state, "state": state}
