"""Named settings: our default, the published recipe, sizes for a CPU, ablations and rivals."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bedkd.case import Parts
from bedkd.detectors import Association, BeDKDDetector, Detector, DirectionalMapping, TriggerProbe
from bedkd.repairs import REPAIRS, AdversarialDistillation, Repair


class Preset(NamedTuple):
    """How trusted rows are divided, and what is done with them."""

    parts: Parts
    detector: Detector
    repair: Repair


def default() -> Preset:
    """Our default.

    >>> parts, detector, repair = default()
    >>> parts
    Parts(flip=80, tune=240, held_out=100)
    """
    return Preset(Parts(), BeDKDDetector(), AdversarialDistillation())


def paper() -> Preset:
    """The published recipe: fixed epochs and cycles, γ = 0.1 on d(x), unbounded punishing.

    The padding mask of the hidden-state loss and ranking by score instead of file order are
    corrections kept here too.
    """
    return Preset(
        Parts(flip=80, tune=320, held_out=20),
        DirectionalMapping(patience=None, score="distance", gamma=0.1),
        AdversarialDistillation(
            max_suspects=32,
            sampling="top",
            cycles=50,
            schedule="alternate",
            punish="unbounded",
            transplant_every=None,
            stop_margin=None,
            patience=None,
        ),
    )


def quick() -> Preset:
    """The default with sizes for two CPU cores and the embedded tasks."""
    mapping = DirectionalMapping(epochs=5, patience=2, n_monitored=100)
    return Preset(
        Parts(flip=40, tune=100, held_out=60),
        BeDKDDetector(mapping=mapping, probe=TriggerProbe(max_flagged=192)),
        AdversarialDistillation(max_suspects=192, cycles=4),
    )


def presumed_clean() -> Preset:
    """The default to be: a false discovery rate that holds, and a repair that takes presumed clean
    rows along, one shuffled pass or two."""
    repair = AdversarialDistillation(
        max_suspects=2048,
        oversample=1.0,
        cycles=2,
        alpha=1.0,
        lr=2e-4,
        batch_size=32,
        schedule="shuffle",
        presumed_clean=1500,
        planted=0.5,
        decay=True,
    )
    return Preset(Parts(), BeDKDDetector(null="all", association=Association()), repair)


def _rival(name: str) -> Callable[[], Preset]:
    """The named repair in place of ours, after the same detection."""
    return lambda: presumed_clean()._replace(repair=REPAIRS[name]())


def _repaired(**changes) -> Callable[[], Preset]:
    """The default with another second stage."""
    return lambda: default()._replace(repair=AdversarialDistillation(**changes))


PRESETS: dict[str, Callable[[], Preset]] = {
    "default": default,
    "paper": paper,
    "quick": quick,
    "bounded": _repaired(punish="bounded"),
    "transplants-alone": _repaired(punish="none"),
    "relabel-alone": _repaired(transplant_every=None),
    "punish-alone": _repaired(punish="bounded", transplant_every=None),
    "mapping-alone": lambda: Preset(
        Parts(), DirectionalMapping(), AdversarialDistillation(punish="bounded")
    ),
    "all-suspects": lambda: default()._replace(detector=BeDKDDetector(repair_fdr=0.05)),
    "all-cycles": _repaired(patience=None),
    "presumed-clean": presumed_clean,
    **{name: _rival(name) for name in REPAIRS if name != "bedkd"},
}
