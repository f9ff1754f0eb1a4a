"""The default detector: directional mapping, content, wording, and where they leave a case open
experiments on the suspect model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bedkd.case import Case
from bedkd.detectors.association import Association
from bedkd.detectors.base import Detection, Evidence, min_detectable, too_few
from bedkd.detectors.calibration import as_if_trained_on
from bedkd.detectors.content import Content
from bedkd.detectors.directional_mapping import DirectionalMapping
from bedkd.detectors.trigger_probe import TriggerProbe
from bedkd.detectors.wording import Wording, trigger_words
from bedkd.errors import InputError
from bedkd.run import Run


@dataclass(frozen=True)
class BeDKDDetector:
    """Evidence added up. Each piece but the first may be left out with None.

    Attributes:
        mapping: stage 1 of the paper; its evidence is enough for triggers that stand out.
        content: adds what the mapping student cannot see where a rewriting is the trigger.
        wording: likewise.
        association: asked if this is not enough for a verdict: dozens of poisoned rows with the
            same words are.
        probe: asked last; needs ``wording``.
        fdr: false discovery rate of the flagged rows, as estimated from trusted rows.
        seed_fdr: the same for the rows that ``wording`` first learns from; may be larger.
        repair_fdr: the same for the rows that a repair takes, where any rows pass it. Clean rows
            that are hard to tell were learned by heart if the model was trained on them, and
            trusted rows were not: the estimate is too low for them.
        null: which trusted rows say what clean rows look like: ``correct``, those that the model
            gets right; ``all``, see :func:`bedkd.detectors.calibration.as_if_trained_on`.
        min_flagged: minimum number of flagged rows for the verdict "backdoored".
        min_wording_auroc: the same, of the AUROC of flagged against trusted rows by wording.

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> found = BeDKDDetector(DirectionalMapping(epochs=1), probe=None).detect(case)
        >>> found.is_backdoored, sorted(found.evidence)
        (False, ['content', 'mapping'])
    """

    mapping: DirectionalMapping = DirectionalMapping()
    content: Content | None = Content()
    wording: Wording | None = Wording()
    association: Association | None = Association()
    probe: TriggerProbe | None = TriggerProbe()
    fdr: float = 0.05
    seed_fdr: float = 0.2
    repair_fdr: float = 0.025
    null: str = "all"
    min_flagged: int = 16
    min_wording_auroc: float = 0.7

    def __post_init__(self):
        if self.mapping.score != "given-label":
            raise InputError(
                f"score={self.mapping.score!r}: evidence adds up for 'given-label' only; use "
                "that, or DirectionalMapping as a detector of its own"
            )

        if self.null not in ("correct", "all"):
            raise InputError(f"null={self.null!r}: choose one of correct, all")

    def detect(self, case: Case, run: Run = Run()) -> Detection:
        """Score, flag, and judge the model."""
        if missing := self.missing(case):
            return Detection.undecided(case, missing)
        behaviour, mapped = self.mapping.evidence(case, run)
        if self.null == "all":
            behaviour = as_if_trained_on(behaviour, case)
        content = self.content.evidence(case, run) if self.content else None
        p = (behaviour + content).p_value()  # wording is learnt from the very rows that are judged
        wording, auroc = self._wording(case, behaviour + content)
        total = behaviour + content + wording
        flagged, threshold = total.flag(self.fdr), total.threshold(self.fdr)
        enough = int(flagged.sum()) >= self.min_flagged
        if self.wording:
            enough = enough and auroc is not None and auroc >= self.min_wording_auroc
        counts = int((behaviour.null > 0).sum()), int(behaviour.eligible.sum())
        details = {
            "mapping_history": mapped.history,
            "min_detectable": max(min_detectable(*counts, self.fdr), self.min_flagged),
            "wording_auroc": auroc,
            "examined": 0,
            "trigger_words": [],
            # How many trusted rows stand above the threshold: what clean rows do.
            "null": {
                "rows": counts[0],
                "above": round(float(total.null[total.trusted >= threshold].sum())),
            },
        }
        sure = flagged & total.flag(self.repair_fdr)
        pieces = {"mapping": behaviour, "content": content, "wording": wording}
        if not enough:
            found, asked = self._ask(case, total, run)
            least = details["min_detectable"], asked.pop("min_detectable", None)
            details |= {**asked, "min_detectable": min(v for v in least if v is not None)}
            if found is not None:
                del details["null"]  # of another threshold
                flagged = sure = found.flagged
                threshold, enough, p = found.threshold, True, found.p_value or p
                none = np.zeros(len(total.trusted))
                pieces |= {k: Evidence.of(v, none) for k, v in found.evidence.items()}
                total = sum((v for k, v in pieces.items() if k != "mapping"), behaviour)
        if enough:
            texts = case.untrusted.select(np.flatnonzero(flagged))["text"][:]
            details["trigger_words"] = trigger_words(texts, case.divided.all, case.tokenizer)
        # Without content: rows whose content disagrees most with their label are the easiest to
        # repair, and say too little of the others.
        order = (behaviour + pieces["wording"] + pieces.get("association")).untrusted
        usable = behaviour.eligible
        if enough and sure.any():
            usable = usable & ~(flagged & ~sure)
        return Detection(
            scores=total.untrusted,
            flagged=flagged,
            threshold=threshold,
            is_backdoored=enough,
            p_value=p,
            repair_scores=np.where(usable, order, -np.inf),
            details=details,
            evidence={name: piece.untrusted for name, piece in pieces.items() if piece is not None},
        )

    def _ask(self, case: Case, total: Evidence, run: Run) -> tuple[Detection | None, dict]:
        """Experiments on the suspect model: a detection, None if they show nothing; and figures."""
        found, details = None, {}
        if self.association:
            found, details = self.association.confirm(case, run)
        if found is None and self.wording and self.probe:
            found, probed = self.probe.confirm(case, total, run)
            details |= probed
        return found, details

    def missing(self, case: Case) -> list[str]:
        """Why neither scores nor probe could be enough; known before the student is trained."""
        null = len(case.divided.tune) + len(case.divided.held_out)
        missing = too_few(null, len(case.untrusted), self.fdr, self.min_flagged)
        if missing and self.wording and self.probe and not self.probe.missing(case):
            return []
        return missing

    def _wording(self, case: Case, others: Evidence) -> tuple[Evidence | None, float | None]:
        """Wording evidence, learnt generously from what the other evidence says, then strictly from
        what that has found; and its AUROC. None where too few rows are flagged to learn from."""
        wording, auroc = None, None
        for fdr in (self.seed_fdr, self.fdr) if self.wording else ():
            total = others + wording
            seeds = total.flag(fdr)
            if seeds.sum() < self.min_flagged:
                break
            wording, auroc = self.wording.evidence(case, seeds, total.untrusted)
        return wording, auroc
