"""Stage 1, the directional mapping module (DMM): which rows of the training set are poisoned?

A copy of the suspect model (the student) is taught *flipped* labels on a few trusted rows. That
destroys the clean mapping and leaves the backdoor mapping, which no trusted row exercises.
Afterwards a clean row of the training set has lost its given label, a poisoned row still has it.

Source: arXiv 2508.01595, directional mapping module. Departures are options of
:class:`MappingConfig` and named there.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd.engine import Prediction, optimise, predict
from bedkd.errors import InputError
from bedkd.objectives import Distil
from bedkd.training import checked_rows

SCORES = ("given-label", "distance")


@dataclass(frozen=True)
class MappingConfig:
    """How the mapping student is trained and how rows are called suspected.

    Attributes:
        rows_per_class: trusted rows a class with flipped labels.
        epochs: at most so many passes over them.
        patience: keep the epoch after which *held-out* trusted rows believe least in their true
            label, and stop when so many epochs brought nothing lower; None trains all epochs
            (the paper). With few flipped rows the student soon learns them by heart and the
            clean mapping comes back; held-out rows show when.
        watch: at most so many held-out rows, drawn at random, are asked after every epoch; all of
            them are asked once, at the end.
        temperature: τ of the shared loss.
        alpha: α of the shared loss.
        score: ``given-label`` is p_student(given label), high for poisoned rows; ``distance`` is
            the paper's d(x), whose small values are suspected.
        gamma: with ``distance``, rows with d(x) < γ are suspected (the paper's 0.1). None sets
            the threshold from held-out trusted rows, see :func:`threshold_from_null`.
        false_share: with ``gamma=None``, the largest estimated share of clean rows among the
            suspected ones.
    """

    rows_per_class: int = 80
    epochs: int = 20
    patience: int | None = 3
    watch: int = 200
    temperature: float = 1.5
    alpha: float = 0.3
    lr: float = 3e-5
    batch_size: int = 16
    max_length: int = 128
    score: str = "given-label"
    gamma: float | None = None
    false_share: float = 0.05

    def __post_init__(self):
        if self.score not in SCORES:
            raise InputError(f"score={self.score!r}: choose one of {', '.join(SCORES)}")
        if self.gamma is not None and self.score != "distance":
            raise InputError("gamma is a threshold on d(x): it needs score='distance'")


def flip(labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Flipped labels: y → (y + 1) mod K, which for two classes is a swap."""
    return (np.asarray(labels) + 1) % num_labels


@dataclass(frozen=True)
class Scores:
    """The mapping module's evidence on N rows.

    Attributes:
        distance: d(x), mean over classes of ``|p_teacher − p_student|``, (N,), 0 to 1.
        given: p_student(given label), (N,), 0 to 1.
        agrees: the teacher predicts the row's given label, (N,) bool.
        kind: which of the two is the score.
    """

    distance: np.ndarray
    given: np.ndarray
    agrees: np.ndarray
    kind: str

    @property
    def suspicion(self) -> np.ndarray:
        """The score oriented so that larger is more suspicious, (N,)."""
        return self.given if self.kind == "given-label" else -self.distance


def compare(teacher: Prediction, student: Prediction, labels: np.ndarray, kind: str) -> Scores:
    """Scores from what teacher and student say of the same N rows with given labels (N,)."""
    p_teacher, p_student = teacher.probabilities, student.probabilities
    labels = np.asarray(labels, int)
    return Scores(
        distance=np.abs(p_teacher - p_student).mean(axis=1),
        given=p_student[np.arange(len(labels)), labels],
        agrees=teacher.labels == labels,
        kind=kind,
    )


def threshold_from_null(null: np.ndarray, suspicion: np.ndarray, false_share: float) -> float:
    """The lowest threshold at which the suspected rows are expected to be almost all poisoned.

    ``null`` are suspicion scores of trusted rows that the student did not train on: what clean
    rows look like. At a threshold t the number of clean rows suspected by mistake is at most
    about (share of the null ≥ t) · N; with add-one counts this is the conformal p-value, and the
    rule is Benjamini and Hochberg's.

    Args:
        null: (M,) suspicion of held-out trusted rows.
        suspicion: (N,) suspicion of untrusted rows.
        false_share: largest tolerated ratio of expected false to all suspected rows.

    Returns:
        The threshold: suspected are rows ≥ it. Infinity if no row qualifies.
    """
    ordered = np.sort(suspicion)[::-1]
    tail = len(null) - np.searchsorted(np.sort(null), ordered, side="left")
    expected_false = (tail + 1) / (len(null) + 1) * len(suspicion)
    ranks = np.searchsorted(-ordered, -ordered, side="right")
    passing = np.flatnonzero(expected_false <= false_share * ranks)
    return float(ordered[passing[-1]]) if len(passing) else float("inf")


def least_detectable(null: int, rows: int, false_share: float) -> int:
    """How many rows must stand above the whole null for :func:`threshold_from_null` to suspect any.

    Args:
        null: M, number of held-out trusted rows.
        rows: N, number of untrusted rows.
        false_share: as there.
    """
    return math.ceil(rows / ((null + 1) * false_share))


@dataclass
class DirectionalMapping:
    """A fitted mapping module. Make one with :meth:`fit`; the model handed in is not changed.

    Attributes:
        student: the model that unlearned the clean mapping.
        history: one record an epoch: mean loss, and ``held_out_given``, the student's mean
            probability of the true label of the watched held-out rows (None without any).
        null: scores of the held-out trusted rows.
        agrees: the teacher calls the rows with flipped labels by their true one, (rows,) bool.
    """

    config: MappingConfig
    teacher: PreTrainedModel
    student: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    history: list[dict] = field(default_factory=list)
    null: Scores | None = None
    agrees: np.ndarray | None = None

    @classmethod
    def fit(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        trusted: Dataset,
        held_out: Dataset | None = None,
        config: MappingConfig = MappingConfig(),
        *,
        seed: int = 0,
        progress: bool = False,
    ) -> DirectionalMapping:
        """Teach a copy of ``model`` the flipped labels of ``trusted``.

        Args:
            model: the suspect model, the teacher; not changed.
            trusted: clean rows with true labels, all of them used.
            held_out: other clean rows: they decide when to stop and what clean scores look like.

        Raises:
            InputError: empty sets, unknown labels, or ``patience`` without held-out rows.
        """
        if config.patience is not None and held_out is None:
            raise InputError("patience needs held-out trusted rows; give them or set it None")
        rows = checked_rows(model, tokenizer, trusted, config.max_length, "the trusted set")
        teacher_answers = predict(model, rows, hidden=True)
        agrees = teacher_answers.labels == rows.labels
        rows.labels = flip(rows.labels, model.config.num_labels)
        objective = Distil(teacher_answers, config.temperature, config.alpha)
        student = copy.deepcopy(model)
        fitted = cls(config, model, student, tokenizer, agrees=agrees)
        unseen = watched = None
        if held_out is not None:
            what = "the held-out trusted set"
            unseen = checked_rows(model, tokenizer, held_out, config.max_length, what)
            some = np.random.default_rng(seed).permutation(len(held_out))[: config.watch]
            watched = checked_rows(
                model, tokenizer, held_out.select(np.sort(some)), config.max_length, what
            )

        rng = np.random.default_rng(seed)
        per_epoch = -(-len(rows) // config.batch_size)
        best, best_state, since = float("inf"), None, 0

        def steps():
            while len(fitted.history) < config.epochs:
                if config.patience is not None and since >= config.patience:
                    return
                for batch in rows.epoch(config.batch_size, rng):
                    yield objective, rows, batch

        losses: list[float] = []

        def after_step(number: int, loss: float) -> None:
            nonlocal best, best_state, since
            losses.append(loss)
            if number % per_epoch:
                return
            record = {"epoch": number // per_epoch, "loss": float(np.mean(losses[-per_epoch:]))}
            record["held_out_given"] = None
            if watched is not None:
                beliefs = predict(student, watched).probabilities
                record["held_out_given"] = float(
                    beliefs[np.arange(len(watched)), watched.labels].mean()
                )
                since += 1
                if config.patience is not None and record["held_out_given"] < best:
                    best, since = record["held_out_given"], 0
                    best_state = copy.deepcopy(student.state_dict())
            fitted.history.append(record)

        optimise(
            student,
            steps(),
            total=config.epochs * per_epoch,
            lr=config.lr,
            clip=None,
            seed=seed,
            after_step=after_step,
            progress=progress,
            description="directional mapping",
        )
        if best_state is not None:
            student.load_state_dict(best_state)
        if unseen is not None:
            fitted.null = compare(
                predict(model, unseen), predict(student, unseen), unseen.labels, config.score
            )
        return fitted

    def score(self, dataset: Dataset, *, progress: bool = False) -> Scores:
        """Score untrusted rows; reads the columns ``text`` and ``label`` and nothing else."""
        rows = checked_rows(
            self.teacher, self.tokenizer, dataset, self.config.max_length, "the untrusted set"
        )
        return compare(
            predict(self.teacher, rows, progress=progress, description="teacher"),
            predict(self.student, rows, progress=progress, description="mapping student"),
            rows.labels,
            self.config.score,
        )

    def threshold(self, scores: Scores) -> float:
        """The suspicion from which a row is suspected: −γ, or set from the held-out rows."""
        if self.config.gamma is not None:
            return -self.config.gamma
        if self.null is None:
            raise InputError("gamma=None needs held-out trusted rows when fitting")
        return threshold_from_null(
            self.null.suspicion[self.null.agrees],
            scores.suspicion[scores.agrees],
            self.config.false_share,
        )

    def suspected(self, scores: Scores) -> np.ndarray:
        """Boolean (N,): at or above the threshold, and the teacher predicts the given label."""
        limit = self.threshold(scores)
        fixed = self.config.gamma is not None
        above = scores.suspicion > limit if fixed else scores.suspicion >= limit
        return above & scores.agrees
