"""What evidence adds up to, at the settings that are in use.

The pieces are stand-ins with planted answers, given as settings; what is tested is what the
detector makes of them.
"""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest

from bedkd import Case, Parts, data
from bedkd.detectors import BeDKDDetector, Detection, DirectionalMapping, Evidence
from bedkd.errors import InputError

N, POISONED = 300, 40  # the first ones are poisoned
FLIP, M = 40, 240


@pytest.fixture
def held(toy):
    """A case of toy rows whose model is never asked."""
    unused = SimpleNamespace(config=SimpleNamespace(num_labels=2))
    return Case(
        unused, None, toy.rows(M, 5), toy.rows(N, 6), parts=Parts(20, 50, 50), max_length=32
    )


@dataclass(frozen=True)
class Mapping:
    found: Evidence
    score: str = "given-label"

    def evidence(self, case, run=None):
        assert len(case.divided.flip) == FLIP
        return self.found, SimpleNamespace(history=[{"epoch": 1}])


@dataclass(frozen=True)
class Content:
    found: Evidence

    def evidence(self, case, run=None):
        return self.found


@dataclass(frozen=True)
class Wording:
    """Notes the seeds and the scores it is given."""

    found: Evidence
    auroc: float = 0.9
    asked: list = field(default_factory=list)

    def evidence(self, case, seeds, scores):
        self.asked.append((seeds, scores))
        return self.found, self.auroc


@dataclass(frozen=True)
class Probe:
    found: Detection | None = None
    least: int | None = 30
    asked: list = field(default_factory=list)

    def confirm(self, case, evidence, run=None):
        self.asked.append(evidence)
        return self.found, {"examined": 96, "min_detectable": self.least}


def behaviour(untrusted, eligible=None, unseen=None, fits=None):
    """Of the mapping student: nothing of the flipped rows, and 0 of the others by default."""
    unseen = np.zeros(M - FLIP) if unseen is None else unseen
    fits = np.ones(M - FLIP, bool) if fits is None else fits
    return Evidence(
        np.asarray(untrusted, float),
        np.ones(N, bool) if eligible is None else eligible,
        np.append(np.full(FLIP, np.nan), unseen),
        np.append(np.zeros(FLIP, bool), fits),
    )


def free(untrusted, trusted=None):
    return Evidence.of(np.asarray(untrusted, float), np.zeros(M) if trusted is None else trusted)


def bumps(rows, height=5.0, count=N):
    scores = np.zeros(count)
    scores[rows] = height
    return scores


POISON = np.arange(N) < POISONED
NOTHING = free(np.zeros(N))


def detector(mapping, content=NOTHING, wording=NOTHING, auroc=0.9, probe=None, **settings):
    return BeDKDDetector(
        mapping=Mapping(mapping),
        content=content and Content(content),
        wording=wording and Wording(wording, auroc),
        probe=probe or Probe(),
        **{"association": None, "null": "correct"} | settings,
    )


def test_the_settings_in_use():
    found = BeDKDDetector()
    assert (found.fdr, found.seed_fdr, found.repair_fdr) == (0.05, 0.2, 0.025)
    assert (found.min_flagged, found.min_wording_auroc) == (16, 0.7)


@pytest.mark.parametrize(("least", "verdict"), [(POISONED, True), (POISONED + 1, False)])
def test_a_verdict_needs_enough_flagged_rows(held, least, verdict):
    asked = detector(behaviour(bumps(range(POISONED))), wording=None, min_flagged=least)
    found = asked.detect(held)
    assert found.flagged.sum() == POISONED
    assert found.is_backdoored is verdict


def test_a_null_of_all_rows_counts_those_that_the_model_gets_wrong(held):
    """Their content speaks against their label as much as that of the poisoned rows."""
    fits = np.arange(M - FLIP) >= 30
    content = free(bumps(range(POISONED)), bumps(range(FLIP, FLIP + 30), count=M))
    given = behaviour(np.zeros(N), fits=fits)
    lenient = detector(given, content, wording=None).detect(held)
    strict = detector(given, content, wording=None, null="all").detect(held)
    assert np.array_equal(lenient.flagged, POISON)
    assert not strict.flagged.any()
    assert not strict.is_backdoored
    assert strict.p_value > 0.1 > 0.05 > lenient.p_value  # of behaviour and content, as calibrated
    with pytest.raises(InputError, match=r"null='some': choose one of correct, all"):
        BeDKDDetector(null="some")


@pytest.mark.parametrize("null", ["correct", "all"])
def test_the_report_learns_how_many_trusted_rows_lie_above(held, null):
    content = free(bumps(range(POISONED)), bumps(range(FLIP, FLIP + 4), count=M))
    asked = detector(behaviour(np.zeros(N)), content, wording=None, null=null, fdr=0.9)
    found = asked.detect(held)
    assert np.array_equal(found.flagged, POISON)
    assert found.details["null"] == {"rows": M - FLIP, "above": pytest.approx(4, abs=1)}


def test_evidence_adds_up(held):
    """Each piece speaks of other poisoned rows, and all of them of none that is clean."""
    pieces = [bumps(range(0, 20)), bumps(range(10, 30), 6), bumps(range(20, 40), 7)]
    asked = detector(behaviour(pieces[0]), free(pieces[1]), free(pieces[2]))
    found = asked.detect(held)
    assert np.array_equal(found.scores, sum(pieces))
    assert np.array_equal(found.flagged, POISON)
    assert found.threshold == 5
    assert found.is_backdoored
    for name, piece in zip(("mapping", "content", "wording"), pieces, strict=True):
        assert np.array_equal(found.evidence[name], piece)
    # Rows for the repair are drawn without content.
    assert np.array_equal(found.repair_scores, pieces[0] + pieces[2])
    assert found.details["wording_auroc"] == 0.9
    assert found.details["mapping_history"] == [{"epoch": 1}]
    assert found.details["examined"] == 0
    assert not asked.probe.asked


def test_the_threshold_by_hand(held):
    """200 clean rows in the null, 300 rows: 30 above all of them have 300 / 201 / 30 = 0.0498;
    29 have 0.0515, which is too much for 0.05."""
    for count, seen in ((29, False), (30, True)):
        found = detector(behaviour(bumps(range(count)))).detect(held)
        assert found.flagged.sum() == (count if seen else 0)
        assert found.is_backdoored == seen
        assert np.isfinite(found.threshold) == seen
        assert found.details["min_detectable"] == 30
        assert found.p_value == pytest.approx(N / 201 / count)


@pytest.mark.parametrize("piece", ["content", "wording"])
def test_what_content_and_wording_say_of_trusted_rows_meets_the_right_ones(held, piece):
    """The null are trusted rows that the student did not see and the model gets right. The others
    may have any score; these may not."""
    unseen_right = np.ones(M - FLIP, bool)
    unseen_right[-30:] = False
    null = np.append(np.zeros(FLIP, bool), unseen_right)
    mapping = behaviour(bumps(range(POISONED)), fits=unseen_right)

    def flagged(trusted):
        pieces = {piece: free(np.zeros(N), trusted)}
        return detector(mapping, **pieces).detect(held).flagged

    assert np.array_equal(flagged(np.where(null, 0.0, 99.0)), POISON)
    assert not flagged(np.where(null, 99.0, 0.0)).any()
    # Row by row: one that counts is enough, 300 · 2 / 171 / 40 = 0.088 instead of 0.044.
    asked = detector(mapping)
    for row in (0, FLIP - 1, FLIP, FLIP + 1, M - 31, M - 30, M - 1):
        said = free(np.zeros(N), bumps([row], 99.0, M))
        one = replace(asked, **{piece: replace(getattr(asked, piece), found=said)})
        assert one.detect(held).flagged.any() == (not null[row])


def test_the_threshold_is_of_eligible_rows_alone(held):
    """20 of 100 eligible rows: 100 / 201 / 20 = 0.025; of all 300 rows it would be 0.075."""
    eligible = np.arange(N) < 100
    found = detector(behaviour(bumps(range(20)), eligible)).detect(held)
    assert np.array_equal(found.flagged, np.arange(N) < 20)
    assert found.p_value == pytest.approx(100 / 201 / 20)
    assert found.details["min_detectable"] == 16
    # Nor do ineligible rows help: 10 of 100 would need the other 200 to pass.
    scores = bumps([*range(8), *range(100, N)])
    found = detector(behaviour(scores, eligible)).detect(held)
    assert not found.flagged.any()
    assert not found.is_backdoored


def test_rows_whose_label_the_model_does_not_predict_are_neither_flagged_nor_repaired(held):
    eligible = np.arange(N) % 10 != 0
    found = detector(behaviour(bumps(range(POISONED)), eligible)).detect(held)
    assert np.array_equal(found.flagged, POISON & eligible)
    assert np.array_equal(np.isneginf(found.repair_scores), ~eligible)


def test_wording_learns_generously_first_and_then_strictly(held):
    """First from rows with an FDR of 0.2, then, with what it said, from rows with 0.05."""
    unseen = np.zeros(M - FLIP)
    unseen[:3] = 4.0
    first = bumps(range(40), 5.0) + bumps(range(40, 60), 3.0)
    asked = detector(behaviour(first, unseen=unseen), wording=free(bumps(range(35), 8.0)))
    asked.detect(held)
    (seeds, scores), (again, total) = asked.wording.asked
    # At 3 there are three of the null above: (3 + 1) / 201 · 300 / 60 = 0.0995.
    assert np.array_equal(seeds, np.arange(N) < 60)
    assert np.array_equal(scores, first)
    # At 5: 1 / 201 · 300 / 40 = 0.037.
    assert np.array_equal(again, np.arange(N) < 40)
    assert np.array_equal(total, first + bumps(range(35), 8.0))


def test_content_counts_for_the_seeds(held):
    content = free(bumps(range(POISONED)))
    asked = detector(behaviour(np.zeros(N)), content)
    asked.detect(held)
    assert np.array_equal(asked.wording.asked[0][0], POISON)
    assert np.array_equal(asked.wording.asked[0][1], content.untrusted)


def test_too_few_seeds_teach_nothing(held):
    """15 rows of 100 pass the FDR, but wording is not asked about fewer than 16."""
    eligible = np.arange(N) < 100
    for count, times in ((15, 0), (16, 2)):
        asked = detector(behaviour(bumps(range(count)), eligible))
        found = asked.detect(held)
        assert len(asked.wording.asked) == times
        assert found.flagged.sum() == count
        assert found.is_backdoored == bool(times)
        assert ("wording" in found.evidence) == bool(times)


@pytest.mark.parametrize(("auroc", "verdict"), [(0.69, False), (0.7, True)])
def test_flagged_rows_must_have_a_wording_in_common(held, auroc, verdict):
    asked = detector(behaviour(bumps(range(POISONED))), auroc=auroc)
    found = asked.detect(held)
    assert found.flagged.sum() == POISONED
    assert found.is_backdoored == verdict
    assert len(asked.probe.asked) == (not verdict)


def test_without_wording_the_count_decides(held):
    for content in (NOTHING, None):
        found = detector(behaviour(bumps(range(POISONED))), content, wording=None).detect(held)
        assert found.is_backdoored
        assert found.details["wording_auroc"] is None
        assert "wording" not in found.evidence
    assert set(found.evidence) == {"mapping"}


def test_the_probe_is_asked_where_the_rest_is_not_enough_and_decides(held):
    mapping = behaviour(bumps(range(10)))
    nothing = detector(mapping)
    found = nothing.detect(held)
    assert not found.is_backdoored
    assert found.details["examined"] == 96
    assert found.details["min_detectable"] == 30
    (evidence,) = nothing.probe.asked
    assert np.array_equal(evidence.untrusted, mapping.untrusted)
    confirmed = np.arange(N) % 10 == 0
    wording = bumps(np.flatnonzero(confirmed), 9.0)
    detection = Detection(mapping.untrusted, confirmed, 0.8, True, evidence={"wording": wording})
    found = detector(mapping, probe=Probe(detection, least=20)).detect(held)
    assert found.is_backdoored
    assert np.array_equal(found.flagged, confirmed)
    assert found.threshold == 0.8
    assert found.details["min_detectable"] == 20
    assert np.array_equal(found.evidence["wording"], wording)
    assert np.array_equal(found.scores, mapping.untrusted + wording)
    assert np.array_equal(found.repair_scores, mapping.untrusted + wording)


def test_without_a_probe_the_rest_decides(held):
    asked = replace(detector(behaviour(bumps(range(10)))), probe=None)
    found = asked.detect(held)
    assert not found.is_backdoored
    assert found.details["examined"] == 0


def test_a_repair_takes_only_rows_that_pass_the_stricter_rate(held):
    """At 0.05 all 70 rows pass, at 0.025 those above the whole null: 300 / 201 / 60 = 0.02488."""
    unseen = np.zeros(M - FLIP)
    unseen[0] = 4.0
    mapping = behaviour(bumps(range(60)) + bumps(range(60, 70), 3.0), unseen=unseen)
    found = detector(mapping).detect(held)
    assert np.array_equal(found.flagged, np.arange(N) < 70)  # 2 / 201 · 300 / 70 = 0.043
    taken = np.isfinite(found.repair_scores)
    assert np.array_equal(taken, ~((np.arange(N) >= 60) & (np.arange(N) < 70)))
    # Where no row passes it, all flagged rows are taken.
    mapping = behaviour(bumps(range(40)))
    found = detector(mapping).detect(held)
    assert found.is_backdoored
    assert np.isfinite(found.repair_scores).all()


def test_trigger_words_are_named_for_a_backdoor(held):
    texts, labels = held.untrusted["text"][:], held.untrusted["label"][:]
    texts = [f"cf {text}" if i < POISONED else text for i, text in enumerate(texts)]
    case = replace(held, untrusted=data.make(texts, labels, None))
    found = detector(behaviour(bumps(range(POISONED)))).detect(case)
    assert found.details["trigger_words"][0] == "cf"
    found = detector(behaviour(bumps(range(POISONED))), auroc=0.5).detect(case)
    assert found.details["trigger_words"] == []


def test_evidence_of_the_papers_distance_does_not_add_up():
    with pytest.raises(InputError, match="score='distance': evidence adds up for 'given-label'"):
        BeDKDDetector(mapping=DirectionalMapping(score="distance"))


@dataclass(frozen=True)
class Words:
    """Association's stand-in."""

    found: Detection | None = None
    asked: list = field(default_factory=list)

    def confirm(self, case, run=None):
        self.asked.append(case)
        return self.found, {"associated": [["cf", 1, 20, 0.001, 0.5]]}


def test_words_are_asked_where_scores_are_not_enough_and_then_no_probe(held):
    said = bumps(range(20), 9.0)
    words = Words(Detection(said, said > 0, 9.0, True, 0.001, evidence={"association": said}))
    asked = detector(behaviour(bumps(range(10))), association=words)
    found = asked.detect(held)
    assert np.array_equal(found.flagged, np.arange(N) < 20)
    assert found.is_backdoored
    assert (found.threshold, found.p_value) == (9.0, 0.001)
    assert np.array_equal(found.scores, bumps(range(10)) + said)
    assert np.array_equal(found.repair_scores, bumps(range(10)) + said)
    assert np.array_equal(found.evidence["association"], said)
    assert found.details["associated"][0][0] == "cf"
    assert not asked.probe.asked


def test_the_probe_is_asked_where_words_show_nothing(held):
    asked = detector(behaviour(bumps(range(10))), association=Words())
    found = asked.detect(held)
    assert asked.probe.asked
    assert not found.is_backdoored
    assert found.details["associated"]


def test_words_are_not_asked_where_scores_are_enough(held):
    asked = detector(behaviour(bumps(range(POISONED))), association=Words())
    assert asked.detect(held).is_backdoored
    assert not asked.association.asked
