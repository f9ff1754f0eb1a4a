"""Named settings."""

from dataclasses import asdict

import pytest

from bedkd import Parts, presets
from bedkd.detectors.association import Association


def test_the_paper_preset_is_the_published_recipe():
    parts, stage1, stage2 = presets.paper()
    assert (parts.flip, stage1.epochs, stage1.temperature) == (80, 20, 1.5)
    assert (stage1.score, stage1.gamma, stage1.patience) == ("distance", 0.1, None)
    assert (parts.tune, stage2.max_suspects, stage2.cycles) == (320, 32, 50)
    assert (stage2.temperature, stage2.schedule, stage2.punish) == (2.5, "alternate", "unbounded")
    assert (stage2.sampling, stage2.transplant_every) == ("top", None)
    assert (stage2.stop_margin, stage2.patience) == (None, None)
    for stage in (stage1, stage2):
        assert (stage.alpha, stage.lr, stage.batch_size) == (0.3, 3e-5, 16)


@pytest.mark.parametrize(
    ("small", "whole"),
    [(presets.quick, presets.default), (presets.cycles_quick, presets.cycles)],
)
def test_the_small_forms_differ_in_sizes_only(small, whole):
    quick, whole = small(), whole()
    sizes = {"max_suspects", "max_flagged", "presumed_clean", "cycles"}
    sizes |= {"epochs", "patience", "n_monitored"}
    pairs = [
        (quick.detector.mapping, whole.detector.mapping),
        (quick.detector.probe, whole.detector.probe),
        (quick.repair, whole.repair),
    ]
    for one, two in pairs:
        ours, theirs = asdict(one), asdict(two)
        assert {key for key in ours if ours[key] != theirs[key]} <= sizes
    same = {"mapping": whole.detector.mapping, "probe": whole.detector.probe}
    assert vars(quick.detector) | same == vars(whole.detector)


def test_the_default_holds_the_documented_numbers():
    parts, detector, repair = presets.default()
    assert parts == Parts(80, 240, 100)
    assert (detector.fdr, detector.seed_fdr, detector.repair_fdr) == (0.05, 0.2, 0.025)
    assert (detector.min_flagged, detector.min_wording_auroc) == (16, 0.7)
    assert (detector.null, detector.association) == ("all", Association())
    assert (detector.probe.max_flagged, repair.max_suspects) == (512, 2048)
    assert (repair.schedule, repair.cycles, repair.decay) == ("shuffle", 3, True)
    assert (repair.presumed_clean, repair.planted, repair.later_share) == (1500, 0.5, 0.5)


def test_each_preset_makes_its_own_settings():
    made = {name: make() for name, make in presets.PRESETS.items()}
    assert len({repr(preset) for preset in made.values()}) == len(made)
