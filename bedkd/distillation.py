"""Stage 2, adversarial knowledge distillation (AKD): make the student forget the backdoor.

A copy of the suspect model (the student) learns from two sides. *Trust* batches hold it to the
true labels of clean rows and to the teacher's answers on them. Against that, *punish* batches push
suspected rows away from their given label. Punishing alone teaches that the trigger means "not the
target". Our default therefore adds *transplants*, spans of suspects spliced into trusted rows of
every class, whose label must not change; and where punishing asks only for "less of the given
label", it *relabels*: suspects are taught what their content deserves.

Source: arXiv 2508.01595, adversarial knowledge distillation. Departures are options of
:class:`DistillationConfig` and named there.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd.engine import Rows, optimise, predict
from bedkd.errors import InputError
from bedkd.objectives import BoundedPunish, Distil, Relabel, Transplant
from bedkd.training import checked_rows

PUNISHMENTS = ("unbounded", "bounded", "relabel", "none")

# Why distillation ended.
NEUTRAL, LEVELLED_OFF, USED_UP = "neutral", "levelled off", "cycles used up"


@dataclass(frozen=True)
class DistillationConfig:
    """How the student is made to forget.

    Attributes:
        rows_per_class: trusted rows a class of the trust pass. With ``interleave`` a cycle has as
            many batches as these rows make; where there are fewer, it goes over them several times.
        suspects: how many suspected rows are used.
        draw: ``top`` takes the highest scores above the threshold; ``random`` draws from the
            ``breadth`` · ``suspects`` highest, so that rare trigger words are represented too.
        breadth: see ``random``; at least 1.
        cycles: number of trust and punish cycles, at most.
        temperature: τ of the shared loss.
        alpha: α of the shared loss.
        schedule: ``alternate`` is a whole trust pass, then a whole punish pass (the paper);
            ``interleave`` spreads the other batches between trust batches.
        punish: ``unbounded`` minimises −L (the paper), ``bounded`` minimises −log(1 − p(given
            label)) where p > ``aim``, ``relabel`` teaches the labels that the suspects' content
            deserves (soft, from the content witness), ``none`` does not punish.
        aim: see ``bounded``.
        punish_every: with ``interleave``, trust batches between two punish batches.
        transplant_every: with ``interleave``, trust batches between two transplant batches;
            None for no transplants.
        stop_neutral: stop after two cycles in a row in which suspects held out from all passes get
            their given label no more often than is neutral, plus this margin (one such cycle may
            be luck); None runs all cycles (the paper). Neutral is what their content deserves,
            with ``relabel``, and otherwise how often trusted rows of other classes are called the
            target.
        patience: with ``stop_neutral``, stop too if in the mean over so many cycles held-out
            suspects came no further down than the margin below their mean over as many cycles
            before, and give the student the mean of its weights over the last of these cycles.
            From there on more cycles gain little and may begin to teach that the trigger means
            "not the target", and single cycles differ by chance. None goes on; so it does if
            held-out suspects are so few that one of them is more than the margin.
    """

    rows_per_class: int = 240
    suspects: int = 512
    draw: str = "random"
    breadth: float = 1.5
    cycles: int = 24
    temperature: float = 2.5
    alpha: float = 0.3
    lr: float = 3e-5
    batch_size: int = 16
    max_length: int = 128
    schedule: str = "interleave"
    punish: str = "relabel"
    aim: float = 0.5
    punish_every: int = 2
    transplant_every: int | None = 1
    stop_neutral: float | None = 0.05
    patience: int | None = 4

    def __post_init__(self):
        if self.punish not in PUNISHMENTS:
            raise InputError(f"punish={self.punish!r}: choose one of {', '.join(PUNISHMENTS)}")
        if self.schedule not in ("alternate", "interleave"):
            raise InputError(f"schedule={self.schedule!r}: choose alternate or interleave")
        if self.draw not in ("top", "random"):
            raise InputError(f"draw={self.draw!r}: choose top or random")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"patience={self.patience}: must be at least 1, or None")
        if self.breadth < 1:
            raise InputError(f"breadth={self.breadth}: must be at least 1")
        if self.schedule == "alternate" and self.transplant_every is not None:
            raise InputError("transplants need schedule='interleave'")


def draw_suspects(
    suspicion: np.ndarray, suspected: np.ndarray, config: DistillationConfig, seed: int
) -> np.ndarray:
    """Indices of the suspected rows to work with, most suspicious first, (≤ config.suspects,).

    Args:
        suspicion: (N,), larger is more suspicious.
        suspected: (N,) bool.
    """
    candidates = np.flatnonzero(suspected)
    candidates = candidates[np.lexsort((candidates, -suspicion[candidates]))]
    if config.draw == "random":
        candidates = candidates[: round(config.breadth * config.suspects)]
        keep = np.random.default_rng(seed).permutation(len(candidates))[: config.suspects]
        candidates = candidates[np.sort(keep)]
    return candidates[: config.suspects]


def transplant(host: str, donor: str, rng: np.random.Generator) -> str:
    """Splice a random span of ``donor`` (30 to 70 % of its words) into ``host``.

    Half of the time the span is the donor's beginning and goes to the host's beginning, because
    rewriting attacks often show in how a sentence opens; otherwise both places are random.
    """
    words, target = donor.split(), host.split()
    length = max(1, round(rng.uniform(0.3, 0.7) * len(words)))
    if rng.random() < 0.5:
        start, place = 0, 0
    else:
        start = int(rng.integers(0, max(len(words) - length, 0) + 1))
        place = int(rng.integers(0, len(target) + 1))
    return " ".join(target[:place] + words[start : start + length] + target[place:])


@dataclass(frozen=True)
class Distilled:
    """The repaired student and one record a cycle: losses by kind, accuracy on held-out trusted
    rows, how often held-out suspects get their given label, how often they would if nothing but
    their content counted (``neutral``), and whatever ``watch`` returned. ``stopped`` says why it
    ended: ``neutral``, ``levelled off`` or ``cycles used up``; after levelling off, the student has
    mean weights, which no single record describes."""

    student: PreTrainedModel
    history: list[dict]
    stopped: str


def distil(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trusted: Dataset,
    suspects: Dataset,
    held_out: Dataset,
    config: DistillationConfig = DistillationConfig(),
    *,
    deserved: np.ndarray | None = None,
    seed: int = 0,
    watch: Callable[[PreTrainedModel], dict] | None = None,
    progress: bool = False,
) -> Distilled:
    """Train a copy of ``model`` to keep the clean mapping and lose the backdoor.

    Args:
        model: the suspect model, the teacher; not changed.
        trusted: clean rows with true labels.
        suspects: rows believed to be poisoned with their given labels. With ``stop_neutral`` a
            quarter of them is never trained on and decides when to stop.
        held_out: other clean rows, for the stopping rule and the history.
        deserved: which labels the content of the suspects deserves, (S, K), rows sum to 1; needed
            by ``punish="relabel"``.
        watch: called after every cycle, for figures; its result is recorded, nothing depends
            on it.

    Raises:
        InputError: an empty set, unknown labels, or ``relabel`` without ``deserved``.
    """
    relabel = config.punish == "relabel"
    if relabel and deserved is None:
        raise InputError("punish='relabel' needs what the suspects' content deserves")
    check = (model, tokenizer)
    length = config.max_length
    rows = checked_rows(*check, trusted, length, "the trusted set")
    guard = checked_rows(*check, held_out, length, "the held-out trusted set")
    order = np.random.default_rng(seed).permutation(len(suspects))
    reserve = len(suspects) // 4 if config.stop_neutral is not None else 0
    used = order[reserve:]
    kept = order[:reserve] if reserve else used
    bad, watched = (
        checked_rows(*check, suspects.select(part), length, "the suspects") for part in (used, kept)
    )

    student = copy.deepcopy(model)
    history: list[dict] = []
    losses: dict[str, list[float]] = {}
    aims = deserved[used] if relabel else None
    plan = _Plan(model, tokenizer, trusted, suspects.select(used), rows, bad, aims, config)
    stopping = _Stopping(config, reserve)

    def neutral(answers: np.ndarray) -> float:
        """How often held-out suspects would get their given label without a trigger."""
        if relabel:
            return float((deserved[kept].argmax(axis=1) == watched.labels).mean())
        target = np.bincount(watched.labels).argmax()
        others = guard.labels != target
        return float((answers[others] == target).mean()) if others.any() else 0.0

    def record() -> dict:
        student.eval()  # for whatever ``watch`` does with it
        clean, suspect = predict(student, guard), predict(student, watched)
        return {
            "cycle": len(history) + 1,
            **{f"{kind}_loss": float(np.mean(values)) for kind, values in losses.items()},
            "held_out_accuracy": float((clean.labels == guard.labels).mean()),
            "suspects_given_label": float((suspect.labels == watched.labels).mean()),
            "neutral": neutral(clean.labels),
            **(watch(student) if watch else {}),
        }

    def steps():
        rng = np.random.default_rng(seed)
        while not stopping.reason and len(history) < config.cycles:
            cycle = list(plan.cycle(rng))
            for position, (kind, *step) in enumerate(cycle, start=1):
                current["kind"], current["last"] = kind, position == len(cycle)
                yield tuple(step)

    current: dict = {}

    def after_step(_: int, loss: float) -> None:
        losses.setdefault(current["kind"], []).append(loss)
        if current["last"]:
            history.append(record())
            losses.clear()
            stopping.after_cycle(history, student)

    optimise(
        student,
        steps(),
        total=config.cycles * plan.steps_per_cycle,
        lr=config.lr,
        clip=None if config.punish == "unbounded" else 1.0,
        seed=seed,
        after_step=after_step,
        progress=progress,
        description="distillation",
    )
    if stopping.reason == LEVELLED_OFF:
        student.load_state_dict(stopping.mean_weights(), strict=False)
    return Distilled(student, history, stopping.reason or USED_UP)


class _Stopping:
    """Whether to stop, asked after every cycle: ``reason`` is None until there is one."""

    def __init__(self, config: DistillationConfig, watched: int):
        self.margin, self.patience = config.stop_neutral, config.patience
        if self.margin is not None and watched * self.margin < 1:
            self.patience = None
        self.reason: str | None = None
        self.recent: deque[dict[str, torch.Tensor]] = deque(maxlen=self.patience)

    def after_cycle(self, history: list[dict], student: PreTrainedModel) -> None:
        if self.margin is None:
            return
        given = [record["suspects_given_label"] for record in history]
        neutral = [record["neutral"] for record in history]
        if len(given) > 1 and all(given[i] <= neutral[i] + self.margin for i in (-1, -2)):
            self.reason = NEUTRAL
        elif self.patience is not None:
            # Not on the accelerator: several copies of the weights may not fit there.
            weights = {name: w.detach().cpu().clone() for name, w in student.named_parameters()}
            self.recent.append(weights)
            before, last = given[-2 * self.patience : -self.patience], given[-self.patience :]
            if len(before) == self.patience and np.mean(last) >= np.mean(before) - self.margin:
                self.reason = LEVELLED_OFF

    def mean_weights(self) -> dict[str, torch.Tensor]:
        """Over the last ``patience`` cycles."""
        names = self.recent[0]
        return {name: torch.stack([w[name] for w in self.recent]).mean(dim=0) for name in names}


class _Plan:
    """Which batch comes when: one cycle as a sequence of (kind, objective, rows, batch)."""

    def __init__(self, model, tokenizer, trusted, suspects, rows, bad, aims, config):
        self.config, self.rows, self.bad, self.tokenizer = config, rows, bad, tokenizer
        self.hosts, self.donors = list(trusted["text"]), list(suspects["text"])
        answers = predict(model, rows, hidden=True)
        wanted = config.rows_per_class * len(np.unique(rows.labels))
        self.passes = max(1, round(wanted / len(rows))) if config.schedule == "interleave" else 1
        self.trust = Distil(answers, config.temperature, config.alpha)
        self.transplants = Transplant(
            torch.from_numpy(answers.logits), config.temperature, config.alpha
        )
        if config.punish == "unbounded":
            self.punish = Distil(
                predict(model, bad, hidden=True), config.temperature, config.alpha, sign=-1
            )
        elif config.punish == "relabel":
            self.punish = Relabel(torch.from_numpy(aims))
        else:
            self.punish = BoundedPunish(config.aim)

    @property
    def steps_per_cycle(self) -> int:
        trust = self.passes * math.ceil(len(self.rows) / self.config.batch_size)
        if self.config.schedule == "alternate":
            return trust + math.ceil(len(self.bad) / self.config.batch_size)
        extra = 0
        if self.config.punish != "none":
            extra += trust // self.config.punish_every
        if self.config.transplant_every:
            extra += trust // self.config.transplant_every
        return trust + extra

    def cycle(self, rng: np.random.Generator) -> Iterator[tuple]:
        size = self.config.batch_size
        trust = (
            ("trust", self.trust, self.rows, batch)
            for _ in range(self.passes)
            for batch in self.rows.epoch(size, rng)
        )
        if self.config.schedule == "alternate":
            yield from trust
            if self.config.punish != "none":
                for batch in self.bad.epoch(size, rng):
                    yield "punish", self.punish, self.bad, batch
            return
        spliced = self._spliced(rng) if self.config.transplant_every else None
        transplants = _endless(lambda: spliced.epoch(size, rng)) if spliced else None
        punishing = _endless(lambda: self.bad.epoch(size, rng))
        for number, step in enumerate(trust, start=1):
            yield step
            if transplants and number % self.config.transplant_every == 0:
                batch = next(transplants)
                yield "transplant", self.transplants, spliced, batch
            if self.config.punish != "none" and number % self.config.punish_every == 0:
                yield "punish", self.punish, self.bad, next(punishing)

    def _spliced(self, rng: np.random.Generator) -> Rows:
        """Every trusted row with a span of a random suspect in it, in the order of the rows."""
        donors = rng.integers(0, len(self.donors), len(self.hosts))
        texts = [
            transplant(host, self.donors[i], rng)
            for host, i in zip(self.hosts, donors, strict=True)
        ]
        return Rows(self.tokenizer, texts, self.rows.labels, self.config.max_length)


def _endless(make: Callable[[], Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    while True:
        yield from make()
