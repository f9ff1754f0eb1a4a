"""Named settings: our default, the published recipe, sizes for a CPU, ablations and rivals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from bedkd.case import Parts
from bedkd.detectors import BeDKDDetector, Detector, DirectionalMapping
from bedkd.repairs import REPAIRS, AdversarialDistillation, Repair


class Preset(NamedTuple):
    """How trusted rows are divided, and what is done with them."""

    parts: Parts
    detector: Detector
    repair: Repair


def default() -> Preset:
    """Our default: a false discovery rate that holds, and a repair that takes presumed clean rows
    along, in one shuffled pass and, where that is not enough, one or two shorter ones.

    >>> parts, detector, repair = default()
    >>> parts
    Parts(flip=80, tune=240, held_out=100)
    """
    return Preset(Parts(), BeDKDDetector(), AdversarialDistillation())


# A repair in many short cycles, as the paper has it, with bounds that the paper has not.
_CYCLES = AdversarialDistillation(
    max_suspects=512,
    oversample=1.5,
    cycles=24,
    alpha=0.3,
    lr=3e-5,
    batch_size=16,
    schedule="interleave",
    presumed_clean=0,
    planted=0.0,
    decay=False,
    later_share=1.0,
)


def cycles() -> Preset:
    """The default before the present one: many short cycles on trusted and flagged rows alone, and
    flags that clean rows learnt by heart may get. The ablations take parts of it away."""
    return Preset(Parts(), BeDKDDetector(association=None, null="correct"), _CYCLES)


def paper() -> Preset:
    """The published recipe: fixed epochs and cycles, γ = 0.1 on d(x), unbounded punishing.

    The padding mask of the hidden-state loss and ranking by score instead of file order are
    corrections kept here too.
    """
    return Preset(
        Parts(flip=80, tune=320, held_out=20),
        DirectionalMapping(patience=None, score="distance", gamma=0.1),
        replace(
            _CYCLES,
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
    """``default`` with sizes for two CPU cores and the embedded tasks: what the chapters run."""
    _, detector, repair = default()
    mapping = replace(detector.mapping, epochs=5, patience=2, n_monitored=100)
    probe = replace(detector.probe, max_flagged=192)
    return Preset(
        Parts(flip=40, tune=100, held_out=60),
        replace(detector, mapping=mapping, probe=probe),
        replace(repair, max_suspects=384, presumed_clean=400),
    )


def cycles_quick() -> Preset:
    """``cycles`` in the sizes of ``quick``, but four cycles on at most 192 flagged rows."""
    parts, ours, _ = quick()
    detector = replace(cycles().detector, mapping=ours.mapping, probe=ours.probe)
    return Preset(parts, detector, replace(_CYCLES, max_suspects=192, cycles=4))


def _rival(name: str) -> Callable[[], Preset]:
    """The named repair in place of ours, after the same detection."""
    return lambda: default()._replace(repair=REPAIRS[name]())


def _repaired(**changes) -> Callable[[], Preset]:
    """``cycles`` with another second stage."""
    return lambda: cycles()._replace(repair=replace(_CYCLES, **changes))


PRESETS: dict[str, Callable[[], Preset]] = {
    "default": default,
    "cycles": cycles,
    "paper": paper,
    "quick": quick,
    "cycles-quick": cycles_quick,
    "bounded": _repaired(punish="bounded"),
    "transplants-alone": _repaired(punish="none"),
    "relabel-alone": _repaired(transplant_every=None),
    "punish-alone": _repaired(punish="bounded", transplant_every=None),
    "mapping-alone": lambda: Preset(
        Parts(), DirectionalMapping(), replace(_CYCLES, punish="bounded")
    ),
    "all-suspects": lambda: cycles()._replace(detector=replace(cycles().detector, repair_fdr=0.05)),
    "all-cycles": _repaired(patience=None),
    **{name: _rival(name) for name in REPAIRS if name != "bedkd"},
}
