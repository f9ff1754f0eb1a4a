"""The trigger probe: windows of a row, put in front of texts of other classes."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest

from bedkd import Case, Parts, data
from bedkd.detectors import Evidence, TriggerProbe
from bedkd.errors import InputError
from bedkd.training.predict import predict

PROBE = TriggerProbe(windows=4, carriers=3, texts_per_carrier=1)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 9, 50])
def test_windows_are_few_and_hold_every_word(count):
    words = [f"w{i}" for i in range(count)]
    found = [window.split() for window in PROBE.split(" ".join(words))]
    assert len(found) <= PROBE.windows
    assert {word for window in found for word in window} == set(words)
    assert all(len(window) == min(count, max(2, -(-count // 4))) for window in found)
    assert all(" ".join(window) in " ".join(words) for window in found)


def model_case(model, tokenizer, task, trusted=None, rows=120):
    return Case(
        model,
        tokenizer,
        task.clean["dev"] if trusted is None else trusted,
        task.train.select(range(rows)),
        parts=Parts(20, 20, 20),
        max_length=32,
    )


@pytest.fixture(scope="module")
def rates(trained, task, tokenizer):
    """What the toy victim and the model without poison obey, by poisoned and clean rows."""
    found = []
    for model in trained:
        case = model_case(model, tokenizer, task)
        rates, windows = PROBE.target_rates(case, case.untrusted["text"][:], case.labels)
        found.append(SimpleNamespace(rates=rates, windows=np.array(windows), case=case))
    return np.asarray(task.train.select(range(120))["poisoned"], bool), *found


def test_a_trigger_commands_and_content_convinces_less(rates):
    poisoned, victim, reference = rates
    assert victim.rates[poisoned].min() > 0.9
    assert all("cf" in window.split() for window in victim.windows[poisoned])
    assert reference.rates[poisoned].mean() < 0.7
    assert victim.rates[~poisoned].mean() < 0.7


def test_every_row_is_asked_for_its_own_label(rates):
    _, victim, _ = rates
    case, backwards = victim.case, np.arange(120)[::-1]
    texts = [case.untrusted["text"][int(i)] for i in backwards]
    again, _ = PROBE.target_rates(case, texts, case.labels[backwards])
    assert np.allclose(again[::-1], victim.rates, atol=1e-5)


def planted_case(toy, classes=2, fits_label=None, trusted=None, untrusted=None, parts=None):
    """A case of toy rows whose model is never asked: which trusted rows it gets right is given."""
    unused = SimpleNamespace(config=SimpleNamespace(num_labels=classes))
    trusted = toy.rows(60 * classes, 5, classes=classes) if trusted is None else trusted
    untrusted = toy.rows(100, 6) if untrusted is None else untrusted
    case = Case(unused, None, trusted, untrusted, parts=parts or Parts(20, 20, 20), max_length=32)
    count = len(case.divided.all)
    vars(case)["fits_label"] = np.ones(count, bool) if fits_label is None else fits_label(case)
    return case


def test_carriers_of_another_label_are_needed(toy):
    def only_ones(case):
        return case.trusted_labels == 1

    case = planted_case(toy, fits_label=only_ones)
    with pytest.raises(InputError, match="no trusted row of another label than 1"):
        PROBE.make_carriers(case, 1)
    assert PROBE.make_carriers(case, 0)
    with pytest.raises(InputError, match="carriers=0: give at least 1"):
        TriggerProbe(carriers=0)


def test_carriers_speak_with_one_voice(toy):
    """Texts of one carrier have one label, and none has the label it is asked for."""
    rows = toy.rows(240, 5, classes=4)
    case = planted_case(toy, classes=4, trusted=rows)
    by_text = dict(zip(rows["text"], rows["label"], strict=True))
    carriers = TriggerProbe(carriers=6, texts_per_carrier=3).make_carriers(case, 2)
    groups = [{label for text, label in by_text.items() if text in c} for c in carriers]
    assert len(set(carriers)) == 6
    assert all(len(group) == 1 for group in groups)
    assert set.union(*groups) == {0, 1, 3}


def test_rows_that_the_model_gets_wrong_carry_nothing(toy):
    case = planted_case(toy, fits_label=lambda case: np.arange(120) % 3 == 0)
    known = {case.divided.all["text"][i] for i in range(0, 120, 3)}
    carriers = TriggerProbe(carriers=50, texts_per_carrier=1).make_carriers(case, 1)
    assert set(carriers) <= known


def test_few_rows_of_a_label_are_used_again(reference, task, tokenizer):
    few = data.make(
        [f"word1 dull word{i}" for i in range(6)] + [f"word2 great word{i}" for i in range(6)],
        [0] * 6 + [1] * 6,
        None,
    )
    case = replace(model_case(reference, tokenizer, task, few), parts=Parts(2, 2, 2))
    vars(case)["fits_label"] = np.arange(12) == np.flatnonzero(case.trusted_labels == 0)[0]
    carriers = TriggerProbe().make_carriers(case, 1)
    assert len(carriers) == TriggerProbe().carriers
    assert all(len(carrier.split()) == 9 for carrier in carriers)
    found, _ = TriggerProbe().target_rates(case, ["cf word3"], np.array([1]))
    assert 0 <= found[0] <= 1


@dataclass(frozen=True)
class Planted(TriggerProbe):
    """A probe of known answers, by text, that notes what it is asked."""

    answers: dict = field(default_factory=dict)
    default: float = 0.1
    asked: list = field(default_factory=list)

    def target_rates(self, case, texts, labels, run=None):
        self.asked.append(list(texts))
        return np.array([self.answers.get(text, self.default) for text in texts]), list(texts)


@dataclass(frozen=True)
class PlantedWording:
    """Wording that finds these rows, with an AUROC of its own."""

    like: np.ndarray
    auroc: float = 0.9
    min_auroc: float = 0.7

    def evidence(self, case, seeds, scores):
        trusted = np.zeros(len(case.divided.all))
        return Evidence.of(np.where(self.like, 10.0, 0.0), trusted), self.auroc


@pytest.fixture
def hundred(toy):
    """100 untrusted rows, the first 40 poisoned; only the first 30 look suspicious."""
    case = planted_case(toy)
    count = len(case.divided.all)
    scores = np.where(np.arange(100) < 30, 5.0, 0.0)
    evidence = Evidence(scores, np.ones(100, bool), np.zeros(count), np.ones(count, bool))
    return case, evidence, np.arange(100) < 40


def probe(case, poisoned, rate, wording=None, **settings):
    texts = case.untrusted["text"][:]
    answers = {texts[i]: rate for i in np.flatnonzero(poisoned)}
    wording = wording or PlantedWording(poisoned)
    return Planted(rows=30, answers=answers, wording=wording, **settings)


def test_confirmed_rows_and_more_that_are_written_like_them(hundred):
    case, evidence, poisoned = hundred
    asked = probe(case, poisoned, 0.9)
    found, details = asked.confirm(case, evidence)
    assert found.is_backdoored
    assert (found.flagged == poisoned).all()
    assert found.threshold == pytest.approx(0.9)
    assert found.evidence["wording"].tolist() == np.where(poisoned, 10.0, 0).tolist()
    assert details["wording_auroc"] == 0.9
    assert details["examined"] == 60
    trusted, *rows = asked.asked
    assert len(trusted) == 30
    assert set(trusted) <= set(case.divided.all["text"])
    texts = case.untrusted["text"][:]
    assert sorted(rows[0]) == sorted(texts[:30])  # the most suspicious first
    assert set(texts[30:40]) <= set(rows[1])


@pytest.mark.parametrize(("rate", "seen"), [(0.49, False), (0.51, True)])
def test_a_trigger_makes_its_label_rather_likely(hundred, rate, seen):
    """However far above that of clean rows a rate stands, below one half it is no command."""
    case, evidence, poisoned = hundred
    found, details = probe(case, poisoned, rate).confirm(case, evidence)
    assert (found is not None) == seen
    assert details["examined"] == (60 if seen else 30)


def test_the_rates_of_trusted_rows_set_the_threshold(hundred):
    """Where clean rows command as much, nothing is confirmed."""
    case, evidence, poisoned = hundred
    clean = replace(probe(case, poisoned, 0.9), default=0.9)
    assert clean.confirm(case, evidence)[0] is None


def test_trusted_rows_that_the_model_gets_wrong_do_not_count(toy, hundred):
    _, evidence, poisoned = hundred
    case = planted_case(toy, fits_label=lambda case: np.arange(120) % 3 == 0)
    asked = probe(case, poisoned, 0.9)
    for i, text in enumerate(case.divided.all["text"]):
        if i % 3:
            asked.answers[text] = 0.99
    assert asked.confirm(case, evidence)[0] is not None
    assert set(asked.asked[0]) <= {case.divided.all["text"][i] for i in range(0, 120, 3)}


def test_ineligible_rows_are_not_probed(hundred):
    case, evidence, poisoned = hundred
    may = np.arange(100) % 10 != 0
    asked = probe(case, poisoned, 0.9)
    found, _ = asked.confirm(case, replace(evidence, eligible=may))
    assert (found.flagged == (poisoned & may)).all()
    texts = case.untrusted["text"][:]
    assert not {texts[i] for i in range(0, 100, 10)} & {t for some in asked.asked for t in some}


def test_too_few_confirmed_rows_or_no_wording_in_common_are_no_backdoor(hundred):
    case, evidence, poisoned = hundred
    for count, seen in ((24, False), (25, True)):
        rows = np.arange(100) < count
        found, details = probe(case, rows, 0.9, min_flagged=25).confirm(case, evidence)
        assert (found is not None) == seen
        assert details["min_detectable"] == 25
    # 30 rows against a null of 30: at a false discovery rate of 0.05 it takes 20.
    for count, seen in ((19, False), (20, True)):
        found, details = probe(case, np.arange(100) < count, 0.9).confirm(case, evidence)
        assert (found is not None) == seen
        assert details["min_detectable"] == 20
    apart = PlantedWording(poisoned, auroc=0.69)
    assert probe(case, poisoned, 0.9, apart).confirm(case, evidence)[0] is None


def test_a_model_that_calls_everything_the_same_is_not_probed(toy, hundred):
    _, evidence, poisoned = hundred
    case = planted_case(toy, fits_label=lambda case: case.trusted_labels == 1)
    asked = probe(case, poisoned, 0.9)
    assert asked.confirm(case, evidence) == (None, {"examined": 0, "min_detectable": None})
    assert not asked.asked


def test_as_a_detector_it_probes_rows_in_random_order(reference, task, tokenizer):
    """Only rows whose label the model predicts: without the trigger's rows nothing is found."""
    case = model_case(reference, tokenizer, task, rows=320)
    given = np.arange(320) % 5 == 0
    texts = case.untrusted["text"][:]
    answers = {texts[i]: 0.9 for i in np.flatnonzero(given)}
    settings = Planted(rows=200, fdr=0.1, answers=answers, wording=PlantedWording(given))
    fits = predict(case.suspect, case.encoded_untrusted).labels == case.labels
    found = settings.detect(case)
    assert found.is_backdoored
    assert found.flagged.sum() >= 16
    assert (given & fits)[found.flagged].all()
    asked = {text for some in settings.asked[1:] for text in some}
    assert not asked & {texts[i] for i in np.flatnonzero(~fits)}
    clean = replace(settings, answers={}).detect(case)
    assert not clean.is_backdoored
    assert not clean.flagged.any()
    assert clean.threshold == np.inf
