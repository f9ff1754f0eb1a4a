"""BeDKD from end to end: trusted rows and an untrusted training set in, a purified model out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd.data import balanced_split
from bedkd.detection import OWN_BACKDOOR, detect
from bedkd.distillation import DistillationConfig, distil, draw_suspects
from bedkd.errors import InputError
from bedkd.mapping import MappingConfig, Scores
from bedkd.splices import SpliceConfig


@dataclass(frozen=True)
class BeDKDConfig:
    """Both stages. ``BeDKDConfig()`` is our default, :meth:`paper` the published recipe,
    :meth:`quick` the default in sizes for a CPU.

    Attributes:
        mapping: the first stage.
        distillation: the second stage.
        held_out_per_class: trusted rows a class that no stage trains on; they set the threshold
            and the stopping points.
        content: whether a content witness is asked too (see :mod:`bedkd.witnesses`); the
            distillation's ``relabel`` needs it.
        surface: whether a surface witness is asked too.
        splices: how rows are examined if the other evidence is not enough for a verdict (see
            :mod:`bedkd.splices`); needs ``surface``, None does without.
        seed_share: largest estimated share of clean rows among the suspects that the surface
            witness first learns from; it may be larger than the mapping's ``false_share``, which
            holds for those it learns from next and for the final suspects.
        sure_share: the same for suspects that the repair is drawn from, with witnesses, and where
            any rows pass it. Clean rows that are hard to tell were learned by heart if the model
            was trained on them, and trusted rows were not: the estimate is too low for them.
        least_suspects: with fewer suspected rows the verdict is "no evidence of a backdoor".
        least_shared: with ``surface``, the same verdict if the suspects cannot be told from
            trusted rows by their words at least so well, an AUROC.
    """

    mapping: MappingConfig = field(default_factory=MappingConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    held_out_per_class: int = 100
    content: bool = True
    surface: bool = True
    splices: SpliceConfig | None = field(default_factory=SpliceConfig)
    seed_share: float = 0.2
    sure_share: float = 0.025
    least_suspects: int = 16
    least_shared: float = 0.7

    def __post_init__(self):
        if (self.content or self.surface) and self.mapping.score != "given-label":
            raise InputError(
                f"score={self.mapping.score!r}: witnesses add to the score 'given-label'; "
                "use that, or content=False and surface=False"
            )
        if self.distillation.punish == "relabel" and not self.content:
            raise InputError(
                "punish='relabel' asks the content witness what suspects deserve; "
                "use content=True, or punish='bounded'"
            )

    @classmethod
    def paper(cls) -> BeDKDConfig:
        """The published recipe: fixed epochs and cycles, γ = 0.1 on d(x), unbounded punishing.

        The padding mask of the hidden-state loss and ranking by score instead of file order are
        corrections kept here too.
        """
        return cls(
            mapping=MappingConfig(
                rows_per_class=80,
                epochs=20,
                patience=None,
                temperature=1.5,
                score="distance",
                gamma=0.1,
            ),
            distillation=DistillationConfig(
                rows_per_class=320,
                suspects=32,
                draw="top",
                cycles=50,
                temperature=2.5,
                alpha=0.3,
                lr=3e-5,
                batch_size=16,
                schedule="alternate",
                punish="unbounded",
                transplant_every=None,
                stop_neutral=None,
                patience=None,
            ),
            held_out_per_class=20,
            content=False,
            surface=False,
            splices=None,
        )

    @classmethod
    def quick(cls) -> BeDKDConfig:
        """The default with sizes for two CPU cores and the embedded tasks."""
        config = cls()
        return replace(
            config,
            mapping=replace(config.mapping, rows_per_class=40, epochs=5, patience=2, watch=100),
            distillation=replace(config.distillation, rows_per_class=100, suspects=192, cycles=4),
            held_out_per_class=60,
        )


@dataclass(frozen=True)
class Purified:
    """What :func:`purify` returns.

    Attributes:
        model: the purified model, or the model handed in when there was nothing to do.
        changed: whether ``model`` is a new one.
        target_label: the label most suspects carry, None without suspects.
        scores: the mapping module's evidence on every untrusted row.
        suspicion: (N,), all evidence together, larger is more suspicious.
        shared: how well suspects can be told from trusted rows by their words, an AUROC; None if
            the surface witness was not asked.
        marks: words that suspects have in common and trusted rows lack, the most telling first:
            often the trigger by name.
        suspected: (N,) bool, rows above the threshold.
        punished: indices of the untrusted rows that distillation used.
        threshold: on the suspicion score, or on the power of splices if rows were found by that.
        least_detectable: with fewer poisoned rows than that, "no evidence" was certain from the
            start. None if the threshold was fixed.
        examined: so many rows were examined by splicing; 0 if the other evidence was enough.
        mapping_history: one record an epoch.
        distillation_history: one record a cycle.
        stopped: why distillation ended (see :class:`~bedkd.distillation.Distilled`), None without.
        seconds: wall-clock by stage.
        warnings: what a careful reader should know.
        config: what was run.
        seed: with which seed.
    """

    model: PreTrainedModel
    changed: bool
    target_label: int | None
    scores: Scores
    suspicion: np.ndarray
    shared: float | None
    marks: list[str]
    suspected: np.ndarray
    punished: np.ndarray
    threshold: float
    least_detectable: int | None
    examined: int
    mapping_history: list[dict]
    distillation_history: list[dict]
    stopped: str | None
    seconds: dict[str, float]
    warnings: list[str]
    config: BeDKDConfig
    seed: int

    @property
    def verdict(self) -> str:
        """``backdoor suspected`` or ``no evidence of a backdoor``."""
        return (
            "backdoor suspected" if self.target_label is not None else "no evidence of a backdoor"
        )

    def to_dict(self) -> dict:
        """The report as a JSON object; rows by index, of their texts the marks alone."""
        return {
            "verdict": self.verdict,
            "changed": self.changed,
            "target_label": self.target_label,
            "rows": len(self.suspected),
            "suspected": int(self.suspected.sum()),
            "punished_rows": self.punished.tolist(),
            "threshold": self.threshold if np.isfinite(self.threshold) else None,
            "least_detectable": self.least_detectable,
            "examined": self.examined,
            "shared": self.shared,
            "marks": self.marks,
            "mapping_history": self.mapping_history,
            "distillation_history": self.distillation_history,
            "stopped": self.stopped,
            "seconds": self.seconds,
            "warnings": self.warnings,
            "seed": self.seed,
            "config": asdict(self.config),
        }


def divide_trusted(
    trusted: Dataset, config: BeDKDConfig, seed: int
) -> tuple[Dataset, Dataset, Dataset, list[str]]:
    """Divide trusted rows into mapping, distillation and held-out rows, disjoint and balanced.

    With fewer rows a class than the configuration asks for, all three shrink in proportion, and
    a warning says so.

    Raises:
        InputError: a class has fewer than 6 trusted rows.
    """
    wanted = np.array(
        [
            config.mapping.rows_per_class,
            config.distillation.rows_per_class,
            config.held_out_per_class,
        ]
    )
    labels, counts = np.unique(np.asarray(trusted["label"]), return_counts=True)
    if len(labels) < 2:
        raise InputError("the trusted set holds fewer than two classes; give rows of every class")
    smallest = int(counts.min())
    if smallest < 6:
        raise InputError(
            f"the trusted set has only {smallest} rows of label {labels[counts.argmin()]}; "
            "give at least 6 of every class"
        )
    notes = []
    if smallest < wanted.sum():
        notes.append(
            f"{smallest} trusted rows in the smallest class, {wanted.sum()} asked for: "
            "all parts were made smaller in proportion"
        )
        wanted = np.maximum(2, np.floor(wanted * smallest / wanted.sum())).astype(int)
        wanted[1] -= max(0, wanted.sum() - smallest)
    first, rest = balanced_split(trusted, int(wanted[0]), seed=seed)
    second, rest = balanced_split(rest, int(wanted[1]), seed=seed)
    third, _ = balanced_split(rest, int(wanted[2]), seed=seed)
    return first, second, third, notes


def purify(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trusted: Dataset,
    untrusted: Dataset,
    config: BeDKDConfig | None = None,
    *,
    seed: int = 0,
    force: bool = False,
    rows: Sequence[int] | None = None,
    watch: Callable[[PreTrainedModel], dict] | None = None,
    progress: bool = False,
) -> Purified:
    """Find suspected rows, and if there are any, distil the backdoor out of a copy of the model.

    Only the columns ``text`` and ``label`` are read, poison flags never.

    Args:
        model: a sequence classifier that may hold a backdoor; not changed.
        trusted: clean rows with true labels, best as common as they are in use: their shares say
            which label a doubtful suspect deserves.
        untrusted: the rows the model was trained on, or like them, with given labels.
        config: default ``BeDKDConfig()``.
        force: distil on the highest scores even if too few rows are suspected.
        rows: untrusted rows to distil with in place of those found, whatever the verdict: for an
            owner who knows them, and for experiments that part detection from repair.
        watch: recorded after every cycle for figures; nothing depends on it.

    Raises:
        InputError: too few trusted rows, empty sets, labels the model does not know, ``rows``
            outside the untrusted set.
    """
    if rows is not None and (
        len(rows) == 0 or min(rows) < 0 or max(rows) >= len(untrusted) or len(set(rows)) < len(rows)
    ):
        raise InputError(
            f"rows: give distinct row numbers from 0 to {len(untrusted) - 1}, at least one"
        )
    config = config or BeDKDConfig()
    trusted, untrusted = (part.select_columns(["text", "label"]) for part in (trusted, untrusted))
    mapping_rows, trust_rows, held_out, warnings = divide_trusted(trusted, config, seed)
    labels = np.asarray(trusted["label"], int)

    start = time.perf_counter()
    found = detect(
        model,
        tokenizer,
        mapping_rows,
        # The mapping student trains on neither: together they say best what clean rows look like.
        concatenate_datasets([trust_rows, held_out]),
        untrusted,
        config,
        # Both parts above are balanced; the whole set says how common a class is.
        prior=np.array([(labels == k).mean() for k in range(model.config.num_labels)]),
        seed=seed,
        progress=progress,
    )
    seconds = {"detection": time.perf_counter() - start}

    enough = found.evidence
    candidates = found.sure
    if not enough and force:
        candidates = found.scores.agrees
        warnings.append("forced: without evidence, on the rows with the highest scores")
    punished = np.empty(0, int)
    history: list[dict] = []
    repaired, stopped = model, None
    target = None
    if enough or force or rows is not None:
        if rows is not None:
            punished = np.asarray(rows, int)
            warnings.append(f"distilled with {len(punished)} rows that the caller named")
        else:
            stage = config.distillation
            if not enough:
                stage = replace(stage, draw="top")
            punished = draw_suspects(found.trigger, candidates, stage, seed)
        suspects = untrusted.select(punished)
        shares = np.bincount(np.asarray(suspects["label"])) / len(suspects)
        target = int(shares.argmax())
        if enough and (shares >= OWN_BACKDOOR).sum() > 1:
            several = ", ".join(f"{k}: {v:.0%}" for k, v in enumerate(shares) if v)
            warnings.append(
                f"suspects carry several labels ({several}): perhaps there is more than one "
                "backdoor; the repair treats all of them"
            )
        start = time.perf_counter()
        result = distil(
            model,
            tokenizer,
            trust_rows,
            suspects,
            held_out,
            config.distillation,
            deserved=None if found.deserved is None else found.deserved[punished],
            seed=seed,
            watch=watch,
            progress=progress,
        )
        seconds["distillation"] = time.perf_counter() - start
        repaired, history, stopped = result.student, result.history, result.stopped
    return Purified(
        model=repaired,
        changed=repaired is not model,
        target_label=target if enough else None,
        scores=found.scores,
        suspicion=found.suspicion,
        shared=found.shared,
        marks=found.marks,
        suspected=found.suspected,
        punished=punished,
        threshold=found.threshold,
        least_detectable=found.least_detectable,
        examined=found.examined,
        mapping_history=found.mapping_history,
        distillation_history=history,
        stopped=stopped,
        seconds=seconds,
        warnings=warnings,
        config=config,
        seed=seed,
    )
