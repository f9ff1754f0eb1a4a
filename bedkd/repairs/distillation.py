"""Adversarial knowledge distillation (AKD), stage 2 of BeDKD: make the student forget the backdoor.

A copy of the suspect model (the student) learns from two sides. *Trust* batches hold it to the true
labels of clean rows and to the teacher's answers on them. Against that, *punish* batches push
flagged rows away from their given label. Punishing alone teaches that the trigger means "not the
target". Our default therefore adds *transplants*, spans of flagged rows in trusted rows of every
class, whose label must not change; and where punishing asks only for "less of the given label", it
*relabels*: flagged rows are taught the labels that their content supports.

Source: arXiv 2508.01595, adversarial knowledge distillation. Departures are options of
:class:`AdversarialDistillation` and named there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from bedkd.case import Case
from bedkd.data.rows import labels_of
from bedkd.detectors.base import Detection, least_suspicious
from bedkd.detectors.wording import suspected_words
from bedkd.errors import InputError
from bedkd.repairs.base import Repaired
from bedkd.repairs.schedule import Planted, Schedule, Transplants
from bedkd.repairs.soft_labels import soft_labels
from bedkd.repairs.stopping import MAX_CYCLES, Stopping, no_further
from bedkd.run import Run
from bedkd.training.batches import EncodedTexts
from bedkd.training.loop import Objective, Trainer
from bedkd.training.objectives import (
    BoundedPunishLoss,
    DistillationLoss,
    SoftLabelLoss,
    TransplantLoss,
    cross_entropy,
)
from bedkd.training.predict import predict
from bedkd.training.student import student_lr, student_of

CHOICES = {
    "punish": ("unbounded", "bounded", "relabel", "none"),
    "schedule": ("alternate", "interleave", "shuffle"),
    "sampling": ("top", "random"),
}


@dataclass(frozen=True)
class AdversarialDistillation:
    """How the student is made to forget. ``case.parts.tune`` trusted rows a class are what a cycle
    goes over; with ``interleave``, where there are fewer, several times.

    Attributes:
        max_suspects: maximum number of flagged rows used.
        sampling: ``top`` takes the highest repair scores; ``random`` draws from the ``oversample``
            · ``max_suspects`` highest, so that rare trigger words are represented too.
        oversample: see ``random``; at least 1.
        cycles: maximum number of trust and punish cycles.
        temperature: τ of the shared loss, above 0; larger is softer.
        alpha: α of the shared loss, 0 to 1; larger weighs labels more than the teacher, and at 1
            labels alone count.
        lr: learning rate of AdamW.
        batch_size: rows in a batch.
        schedule: ``alternate`` is a whole trust pass, then a whole punish pass (the paper);
            ``interleave`` spreads the other batches between trust batches; ``shuffle`` is one pass
            over trusted rows, half of them as transplants, presumed clean and flagged rows, in
            random order.
        punish: ``unbounded`` minimises −L (the paper), ``bounded`` minimises −log(1 − p(given
            label)) where p > ``target_probability``, ``relabel`` teaches soft labels (see
            :mod:`bedkd.repairs.soft_labels`), ``none`` does not punish.
        target_probability: see ``bounded``, 0 to 1.
        punish_every: with ``interleave``, trust batches between two punish batches.
        transplant_every: with ``interleave``, trust batches between two transplant batches; None
            for no transplants.
        presumed_clean: with ``shuffle``, maximum number of untrusted rows from the less suspicious
            half that are trained on with their given labels, as common by class as trusted rows
            are; more come closer to training again, and take longer.
        planted: share of these rows in which suspected trigger words are put, 0 to 1, as far as
            there are any. All flagged rows say "not the target"; these say that the words mean
            nothing.
        decay: in every cycle let the learning rate rise over the first tenth of the steps and then
            fall to 0; one cycle is then enough for the stopping rule. Where it takes more, the
            student goes only as far into the last one as that asks, as long as it knows held-out
            trusted rows no worse than at its end (``details["kept_share"]``); where none is enough,
            it keeps the weights of the one that came nearest to the rate expected
            (``details["kept_cycle"]``).
        later_share: with ``shuffle``, share of the presumed clean rows, above 0 to 1, that cycles
            after the first go over. These have all trusted rows as transplants and flagged rows
            twice: what is left of the backdoor weighs more, and each takes less time.
        frozen_embeddings: leave the token embeddings as they are, which saves time and memory in a
            small model, most of whose weights they are. What was written into those of trigger
            words stays.
        stop_margin: see :class:`~bedkd.repairs.stopping.Stopping`; a quarter of the flagged rows is
            then never trained on. None runs all cycles (the paper). The rate expected of held-out
            flagged rows is that of their soft labels with ``relabel``, and otherwise how often
            trusted rows of other classes are called the target.
        patience: cycles, see :class:`~bedkd.repairs.stopping.Stopping`; None goes on.

    Example:
        >>> from bedkd.detectors import Given
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> found = Given(tuple(range(12))).detect(case)
        >>> made = AdversarialDistillation(presumed_clean=20).repair(case, found)
        >>> made.details["held_out_flagged"], len(made.history) in (1, 2)
        (3, True)
    """

    max_suspects: int = 2048
    sampling: str = "random"
    oversample: float = 1.0
    cycles: int = 3
    temperature: float = 2.5
    alpha: float = 1.0
    lr: float = 2e-4
    batch_size: int = 32
    schedule: str = "shuffle"
    punish: str = "relabel"
    target_probability: float = 0.5
    punish_every: int = 2
    transplant_every: int | None = 1
    presumed_clean: int = 1500
    planted: float = 0.5
    decay: bool = True
    later_share: float = 0.5
    frozen_embeddings: bool = False
    stop_margin: float | None = 0.05
    patience: int | None = 4

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                value = getattr(self, name)
                raise InputError(f"{name}={value!r}: choose one of {', '.join(choices)}")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"patience={self.patience}: must be at least 1, or None")
        if self.oversample < 1:
            raise InputError(f"oversample={self.oversample}: must be at least 1")
        if self.schedule == "alternate" and self.transplant_every is not None:
            raise InputError("transplants need schedule='interleave' or 'shuffle'")
        if self.presumed_clean < 0 or (self.presumed_clean and self.schedule != "shuffle"):
            raise InputError(
                f"presumed_clean={self.presumed_clean}: give 0, or a number of rows together with "
                "schedule='shuffle'"
            )
        if not 0 <= self.planted <= 1:
            raise InputError(f"planted={self.planted}: give 0 to 1")
        if not 0 < self.later_share <= 1:
            raise InputError(f"later_share={self.later_share}: give more than 0, at most 1")

    def choose(self, detection: Detection, seed: int) -> np.ndarray:
        """Indices of the rows to work with, most suspicious first, (≤ max_suspects,): flagged ones,
        or without a verdict the highest scores."""
        scores, usable = detection.repair_scores, ~np.isneginf(detection.repair_scores)
        sampling = self.sampling if detection.is_backdoored else "top"
        rows = np.flatnonzero(usable & detection.flagged if detection.is_backdoored else usable)
        rows = rows[np.lexsort((rows, -scores[rows]))]
        if sampling == "random":
            rows = rows[: round(self.oversample * self.max_suspects)]
            keep = np.random.default_rng(seed).permutation(len(rows))[: self.max_suspects]
            rows = rows[np.sort(keep)]
        return rows[: self.max_suspects]

    def repair(self, case: Case, detection: Detection, run: Run = Run()) -> Repaired:
        """Train a copy of the suspect model to keep the clean mapping and lose the backdoor.

        ``history`` has one record a cycle: losses by kind, accuracy on held-out trusted rows, how
        often held-out flagged rows get their given label (``flagged_given_label``) and how often
        they would if nothing but their content counted (``expected_rate``), and whatever
        ``run.callback`` returned. ``details["stopped"]`` says why it ended; after a plateau the
        student has mean weights, which no single record describes.
        """
        rows = self.choose(detection, case.seed)
        if not len(rows):
            raise InputError("no untrusted row can be used: the model fits the label of none")
        labels = soft_labels(case, detection, rows) if self.punish == "relabel" else None
        work = _Work(self, case, detection, rows, labels)
        student = student_of(case.suspect, frozen_embeddings=self.frozen_embeddings)
        rng, steps = np.random.default_rng(case.seed), work.schedule.steps_per_cycle
        trainer = Trainer(
            student,
            num_steps=steps if self.decay else self.cycles * steps,
            lr=student_lr(student, self.lr),
            max_grad_norm=None if self.punish == "unbounded" else 1.0,
            warmup_ratio=0.1 if self.decay else None,
            seed=case.seed,
            description="distillation" if run.progress else None,
        )
        history: list[dict] = []
        stopping = Stopping(self.stop_margin, self.patience, work.n_held_out, settled=self.decay)
        if (saved := run.load("distillation")) is not None:
            trainer.load_state_dict(saved["trainer"])
            stopping.load_state_dict(saved["stopping"])
            rng.bit_generator.state, history = saved["rng"], saved["history"]
        while not stopping.reason and len(history) < self.cycles:
            kinds, batches = zip(*work.schedule.cycle(rng, later=bool(history)), strict=True)
            if self.decay and history:
                trainer.restart(len(batches))
            losses = trainer.train(batches)
            record = work.record(student, kinds, losses) | trainer.notes
            record |= run.callback(student) if run.callback else {}
            history.append({"cycle": len(history) + 1, **record})
            stopping.after_cycle(history, student)
            run.save(
                "distillation",
                lambda: {
                    "trainer": trainer.state_dict(),
                    "stopping": stopping.state_dict(),
                    "rng": rng.bit_generator.state,
                    "history": history,
                },
            )
        student.load_state_dict(stopping.final_weights(), strict=False)
        details = {"stopped": stopping.reason or MAX_CYCLES, "held_out_flagged": work.n_held_out}
        if self.decay and stopping.reason and len(history) > 1:
            reached = work.as_good(student, history[-1], self.stop_margin)
            details["kept_share"] = no_further(student, *stopping.recent, reached)
        elif stopping.nearest:
            details["kept_cycle"] = stopping.nearest["cycle"]
        supported = work.expected if work.n_held_out else None
        return Repaired(student, history, rows, details, work.held_out, supported)


def presumed_clean(case: Case, detection: Detection, most: int) -> np.ndarray:
    """Indices of untrusted rows from the less suspicious half, none of them flagged or closed to
    repairs; drawn at random, at most ``most``, each class as common as among trusted rows."""
    doubtful = detection.flagged | np.isneginf(detection.repair_scores)
    rows = least_suspicious(detection.scores, case.draws)
    rows = rows[~doubtful[rows]]
    rows = rows[np.argsort(case.draws[rows], kind="stable")]
    labels = case.labels[rows]
    drawn = [rows[labels == k][: round(most * case.prior[k])] for k in range(case.num_labels)]
    return np.sort(np.concatenate(drawn))


class _Work:
    """Rows, objectives and schedule of one repair."""

    def __init__(
        self,
        settings: AdversarialDistillation,
        case: Case,
        detection: Detection,
        rows: np.ndarray,
        labels: np.ndarray | None,
    ):
        self.settings, self.case = settings, case
        order = np.random.default_rng(case.seed).permutation(len(rows))
        self.n_held_out = len(rows) // 4 if settings.stop_margin is not None else 0
        used = order[self.n_held_out :]
        kept = order[: self.n_held_out] if self.n_held_out else used
        self.held_out = rows[order[: self.n_held_out]]
        flagged = case.untrusted.select(rows)
        self.guard = case.encoded(case.divided.held_out, "the held-out trusted set")
        self.monitored = case.encoded(flagged.select(kept), "the flagged rows")
        self.expected = None if labels is None else labels[kept].argmax(axis=1)
        texts = flagged.select(used)["text"][:]
        encoded = case.encoded(flagged.select(used), "the flagged rows")
        labels = None if labels is None else labels[used]
        self.schedule = self._schedule(encoded, texts, labels, detection)

    def _schedule(
        self,
        flagged: EncodedTexts,
        texts: list[str],
        labels: np.ndarray | None,
        detection: Detection,
    ) -> Schedule:
        s, case = self.settings, self.case
        trusted = case.encoded(case.divided.tune, "the trusted set")
        trust = transplant = cross_entropy
        if s.alpha < 1:  # else labels alone count, and the teacher need not be asked
            answers = predict(case.suspect, trusted, hidden=True)
            trust = DistillationLoss(answers, s.temperature, s.alpha)
            logits = torch.from_numpy(answers.logits)
            transplant = TransplantLoss(logits, s.temperature, s.alpha)
        wanted = case.parts.tune * len(np.unique(trusted.labels))
        several = max(1, round(wanted / len(trusted)))
        words = suspected_words(case, detection) if s.planted else []
        presumed = presumed_clean(case, detection, s.presumed_clean)
        drawn = np.random.default_rng(case.seed).permutation(presumed)
        count = round(s.planted * len(drawn)) if words else 0
        hosts, plain = (case.untrusted.select(np.sort(part)) for part in np.split(drawn, [count]))
        return Schedule(
            trust=trust,
            trusted=trusted,
            punish=self._punishment(flagged, labels),
            flagged=flagged,
            transplant=transplant if s.transplant_every else None,
            transplants=Transplants(
                case.tokenizer, case.divided.tune["text"][:], texts, trusted.labels, case.max_length
            ),
            presumed=case.encoded(plain, "presumed clean rows") if len(plain) else None,
            planted=Planted(
                case.tokenizer, hosts["text"][:], words, labels_of(hosts), case.max_length
            )
            if count
            else None,
            passes=1 if s.schedule == "alternate" else several,
            order=s.schedule,
            punish_every=s.punish_every,
            transplant_every=s.transplant_every or 1,
            batch_size=s.batch_size,
            later_share=s.later_share,
        )

    def _punishment(self, flagged: EncodedTexts, labels: np.ndarray | None) -> Objective | None:
        s = self.settings
        if s.punish == "none":
            return None
        if s.punish == "relabel":
            return SoftLabelLoss(torch.from_numpy(labels))
        if s.punish == "bounded":
            return BoundedPunishLoss(s.target_probability)
        answers = predict(self.case.suspect, flagged, hidden=True)
        return DistillationLoss(answers, s.temperature, s.alpha, sign=-1)

    def record(self, student, kinds: tuple[str, ...], losses: list[float]) -> dict:
        """What a cycle left, for the history."""
        by_kind = {
            f"{kind}_loss": float(
                np.mean([x for k, x in zip(kinds, losses, strict=True) if k == kind])
            )
            for kind in dict.fromkeys(kinds)
        }
        clean = predict(student, self.guard).labels
        return {
            **by_kind,
            "held_out_accuracy": float((clean == self.guard.labels).mean()),
            "flagged_given_label": _agreement(student, self.monitored),
            "expected_rate": self._expected_rate(clean),
        }

    def as_good(self, student, last: dict, margin: float) -> Callable[[], bool]:
        """Whether the student reaches the aim with the weights it has when asked, and knows
        held-out trusted rows no worse than after the last cycle, whose record is given."""
        most, least = last["expected_rate"] + margin, last["held_out_accuracy"]

        def good() -> bool:
            reached = _agreement(student, self.monitored) <= most
            return reached and _agreement(student, self.guard) >= least

        return good

    def _expected_rate(self, answers: np.ndarray) -> float:
        """How often held-out flagged rows would get their given label without a trigger."""
        if self.expected is not None:
            return float((self.expected == self.monitored.labels).mean())
        target = np.bincount(self.monitored.labels).argmax()
        others = self.guard.labels != target
        return float((answers[others] == target).mean()) if others.any() else 0.0


def _agreement(student, rows: EncodedTexts) -> float:
    """Share of rows that get the label they carry."""
    return float((predict(student, rows).labels == rows.labels).mean())
