"""Which rows are poisoned, and is there a backdoor at all? Directional mapping and two witnesses.

The mapping student's evidence is enough for triggers that stand out. Where a rewriting is the
trigger, clean and poisoned rows overlap in it; there the witnesses of :mod:`bedkd.witnesses` add
what the mapping student cannot see. Each is an option of
:class:`~bedkd.defence.BeDKDConfig`; without them this is the mapping module alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd import witnesses
from bedkd.mapping import DirectionalMapping, Scores, least_detectable, threshold_from_null
from bedkd.splices import splice

if TYPE_CHECKING:
    from bedkd.defence import BeDKDConfig

# Without a trigger, suspects deserve their given label less, or as much. If it is more by so much
# on average, what was taken out was content.
MARKS_ARE_CONTENT = 0.02

# A piece of a row commands a text of another class if that is then rather called the row's label.
COMMANDS = 0.5

# Labels that so large a share of the suspects carry may have a backdoor of their own. It lies above
# the share of clean rows that is tolerated among the first suspects.
OWN_BACKDOOR = 0.25


@dataclass(frozen=True)
class Detection:
    """What is known of N untrusted rows.

    Attributes:
        scores: the mapping module's own evidence.
        suspicion: all evidence together, (N,), larger is more suspicious.
        trigger: the same without the content witness, (N,). Rows for the repair are drawn by it:
            those whose content disagrees most with their label are the easiest to win back, and
            say too little of the others.
        suspected: (N,) bool.
        sure: (N,) bool, those of the suspected rows that also pass the stricter ``sure_share``; all
            of them if none does.
        threshold: on ``suspicion``, or on the power of splices if rows were found by that; infinity
            if no row is suspected.
        deserved: which labels the content deserves, (N, K), rows sum to 1; None if the content
            witness was not asked.
        marks: words that suspects have in common and trusted rows lack, the most telling first;
            empty if the content witness was not asked.
        shared: how well suspects can be told from trusted rows by their words, an AUROC; None if
            the surface witness was not asked.
        evidence: whether it is enough to speak of a backdoor.
        least_detectable: with fewer poisoned rows neither the threshold on suspicion nor splicing
            could have suspected any, however clear the case; None if the threshold was fixed.
        examined: so many rows were examined by splicing, because the other evidence was not enough;
            0 if it was.
        mapping_history: one record an epoch of the mapping student.
    """

    scores: Scores
    suspicion: np.ndarray
    trigger: np.ndarray
    suspected: np.ndarray
    sure: np.ndarray
    threshold: float
    deserved: np.ndarray | None
    marks: list[str]
    shared: float | None
    evidence: bool
    least_detectable: int | None
    examined: int
    mapping_history: list[dict]


def detect(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    mapping_rows: Dataset,
    unseen: Dataset,
    untrusted: Dataset,
    config: BeDKDConfig,
    *,
    prior: np.ndarray | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Detection:
    """Score untrusted rows and say which are suspected.

    Args:
        mapping_rows: trusted rows whose labels the mapping student sees flipped.
        unseen: the other trusted rows; they say what clean scores look like.
        untrusted: rows with given labels; nothing but ``text`` and ``label`` is read.
        prior: how common each class is among clean rows, (K,), sums to 1; by default as among
            ``mapping_rows`` and ``unseen``. What the content of a row deserves depends on it.
    """
    mapping = DirectionalMapping.fit(
        model, tokenizer, mapping_rows, unseen, config.mapping, seed=seed, progress=progress
    )
    scores = mapping.score(untrusted, progress=progress)
    least = None
    if config.mapping.gamma is None:
        counts = int(mapping.null.agrees.sum()), int(scores.agrees.sum())
        least = least_detectable(*counts, config.mapping.false_share)
    if not (config.content or config.surface):
        suspected = mapping.suspected(scores)
        return Detection(
            scores,
            scores.suspicion,
            scores.suspicion,
            suspected,
            suspected,
            mapping.threshold(scores),
            None,
            [],
            None,
            int(suspected.sum()) >= config.least_suspects,
            least,
            0,
            mapping.history,
        )

    def above(suspicion: np.ndarray, null: np.ndarray, share: float) -> tuple[np.ndarray, float]:
        limit = threshold_from_null(null[mapping.null.agrees], suspicion[scores.agrees], share)
        return (suspicion >= limit) & scores.agrees, limit

    trusted = concatenate_datasets([mapping_rows, unseen])
    student = witnesses.log_odds(scores.given)
    suspicion, null = student, witnesses.log_odds(mapping.null.given)
    said = None
    if config.content:
        said = witnesses.content(trusted, untrusted, seed=seed, progress=progress)
        suspicion = suspicion + said.untrusted
        null = null + said.trusted[len(mapping_rows) :]
    total, total_null, trigger, shared = suspicion, null, student, None
    # Twice: generously from what the other evidence says, then strictly from what that has found.
    shares = (config.seed_share, config.mapping.false_share)
    for share in shares if config.surface else ():
        seeds, _ = above(total, total_null, share)
        if seeds.sum() < config.least_suspects:
            break
        seen = _surface(trusted, untrusted, seeds, total, config, seed)
        total, trigger = suspicion + seen.untrusted, student + seen.untrusted
        total_null = null + seen.trusted[len(mapping_rows) :]
        shared = seen.shared
    suspected, limit = above(total, total_null, config.mapping.false_share)
    sure = suspected & above(total, total_null, config.sure_share)[0]
    enough = int(suspected.sum()) >= config.least_suspects
    if config.surface:
        enough = enough and shared is not None and shared >= config.least_shared
    examined = 0
    if not enough and config.surface and config.splices is not None:
        rightly = np.concatenate([mapping.agrees, mapping.null.agrees])
        found = _examine(
            mapping, trusted, rightly, untrusted, scores.agrees, total, config, seed, progress
        )
        examined = found.rows
        if least is not None and found.least is not None:
            least = min(least, found.least)
        if found.evidence:
            suspected, limit, enough = found.suspected, found.threshold, True
            sure = suspected
            total, trigger = suspicion + found.surface, student + found.surface
            shared = found.shared
    deserved, marks = None, []
    if said is not None:
        accused = np.flatnonzero(suspected)
        texts = list(untrusted["text"])
        marks = witnesses.marks([texts[i] for i in accused], trusted) if enough else []
        given, known = (np.asarray(rows["label"], int) for rows in (untrusted, trusted))
        innocent = np.setdiff1d(
            _least_suspicious(total), np.flatnonzero(suspected | ~scores.agrees)
        )
        if prior is None:
            prior = np.bincount(known, minlength=model.config.num_labels) / len(known)
        deserved = witnesses.deserved(said, known, given, innocent, prior)
        if marks:
            bare = witnesses.unmarked(said, untrusted, accused, marks, progress=progress)
            without = witnesses.deserved(bare, known, given, innocent, prior)
            own = (accused, given[accused])
            # A trigger speaks for the given label. Marks that speak against it are content.
            if (without[own] - deserved[own]).mean() <= MARKS_ARE_CONTENT:
                deserved = without
    return Detection(
        scores,
        total,
        trigger,
        suspected,
        sure if sure.any() else suspected,
        limit,
        deserved,
        marks,
        shared,
        enough,
        least,
        examined,
        mapping.history,
    )


@dataclass(frozen=True)
class _Examined:
    """What splicing found: how many rows were examined, with fewer than how many poisoned ones in
    the first round that had been in vain, and suspected rows (N,) or no evidence."""

    evidence: bool
    rows: int
    least: int | None
    suspected: np.ndarray
    threshold: float = float("inf")
    surface: np.ndarray | None = None
    shared: float | None = None


def _examine(
    mapping: DirectionalMapping,
    trusted: Dataset,
    rightly: np.ndarray,
    untrusted: Dataset,
    agrees: np.ndarray,
    suspicion: np.ndarray,
    config: BeDKDConfig,
    seed: int,
    progress: bool,
) -> _Examined:
    """Examine the most suspicious rows by splicing, then those written like the ones confirmed."""
    size, length = config.splices.rows, config.mapping.max_length
    texts, given = list(untrusted["text"]), np.asarray(untrusted["label"], int)
    true, rightly = np.asarray(trusted["label"], int), np.flatnonzero(rightly)
    nobody = np.zeros(len(texts), bool)
    if len(np.unique(true[rightly])) < 2:  # it calls everything the same, whatever is said
        return _Examined(False, 0, None, nobody)
    hosts, power = trusted.select(rightly), np.full(len(texts), -np.inf)

    def powers(rows: Sequence[str], labels: np.ndarray) -> np.ndarray:
        asked = (mapping.teacher, mapping.tokenizer, rows, labels, hosts, config.splices)
        return splice(*asked, max_length=length, seed=seed, progress=progress).power

    def ask(rows: np.ndarray) -> None:
        power[rows] = powers([texts[i] for i in rows], given[rows])

    def next_rows(order: np.ndarray) -> np.ndarray:
        left = np.flatnonzero(agrees & np.isneginf(power))
        return left[np.argsort(-order[left], kind="stable")][:size]

    some = rightly[np.random.default_rng(seed).permutation(len(rightly))[:size]]
    null = powers(list(trusted.select(some)["text"]), true[some])
    first = next_rows(suspicion)
    ask(first)
    limit = threshold_from_null(null, power[first], config.mapping.false_share)
    limit = max(limit, COMMANDS)
    least = least_detectable(len(some), len(first), config.mapping.false_share)
    least = max(least, config.least_suspects)
    confirmed = power >= limit
    while confirmed.sum() >= config.least_suspects:
        seen = _surface(trusted, untrusted, confirmed, suspicion, config, seed)
        if seen.shared < config.least_shared:
            break
        rows = next_rows(suspicion + seen.untrusted)
        before = confirmed.sum()
        if len(rows) and before < config.distillation.suspects:
            ask(rows)
            confirmed = power >= limit
        if confirmed.sum() - before < size / 2:
            examined = int(np.isfinite(power).sum())
            return _Examined(True, examined, least, confirmed, limit, seen.untrusted, seen.shared)
    return _Examined(False, int(np.isfinite(power).sum()), least, nobody)


def _least_suspicious(suspicion: np.ndarray) -> np.ndarray:
    """Indices of the less suspicious half of the rows."""
    return np.argsort(suspicion, kind="stable")[: len(suspicion) // 2]


def _surface(
    trusted: Dataset,
    untrusted: Dataset,
    seeds: np.ndarray,
    suspicion: np.ndarray,
    config: BeDKDConfig,
    seed: int,
) -> witnesses.Surface:
    """The surface witness, taught with the seeds of one given label against the less suspicious
    half of the rows. There may be several backdoors: every label that a good part of the seeds
    carry is asked about, and a row is as suspicious as the most suspicious answer."""
    given = np.asarray(untrusted["label"], int)
    counts = np.bincount(given[seeds])
    labels = np.flatnonzero(counts >= max(OWN_BACKDOOR * seeds.sum(), config.least_suspects))
    texts, answers = list(untrusted["text"]), []
    for label in {int(counts.argmax()), *labels.tolist()}:
        suspects = np.flatnonzero(seeds & (given == label))
        innocent = np.setdiff1d(_least_suspicious(suspicion), suspects)
        answers.append(witnesses.surface(trusted, texts, suspects, innocent, label, seed=seed))
    # Suspects without anything in common are no backdoor of their own.
    best = max(answers, key=lambda answer: answer.shared)
    others = [a for a in answers if a is not best and a.shared >= config.least_shared]
    return witnesses.Surface(
        np.max([a.trusted for a in (best, *others)], axis=0),
        np.max([a.untrusted for a in (best, *others)], axis=0),
        best.shared,
    )
