"""Controls of the notebooks: what is typed, chosen or moved changes what is shown."""

import numpy as np
import pytest

from bedkd.attacks import BadNets
from bedkd.widgets import (
    compare_models,
    cycle_explorer,
    probabilities,
    threshold_explorer,
    trigger_explorer,
    word_effects,
)


def test_typing_and_choosing_change_the_prediction(victim, tokenizer):
    widget = trigger_explorer(victim, tokenizer, [BadNets(("cf",))], ["bad", "good"], "dull word1")
    box, choice, shown, bad, good = widget.children
    assert bad.value == pytest.approx(probabilities(victim, tokenizer, "dull word1")[0])
    assert bad.value > 0.9
    choice.value = "badnets"
    assert "cf" in shown.value
    assert good.value > 0.9
    choice.value = "no trigger"
    box.value = "great word1"
    assert good.value > 0.9
    assert bad.value + good.value == pytest.approx(1)


def test_what_is_typed_does_not_become_markup(victim, tokenizer):
    widget = trigger_explorer(victim, tokenizer, [], ["bad", "good"], "<b>dull</b>")
    assert "<b>" not in widget.children[2].value
    assert "&lt;b&gt;" in widget.children[2].value
    widget.children[0].value = ""
    assert sum(meter.value for meter in widget.children[3:]) == pytest.approx(1)


def test_effects_name_the_word_that_decides(victim, tokenizer):
    effects = dict(word_effects(victim, tokenizer, "dull cf word1"))
    assert set(effects) == {"dull", "cf", "word1"}
    assert effects["cf"] > 0.8  # without it the text is what it was
    assert abs(effects["word1"]) < 0.5
    assert word_effects(victim, tokenizer, "") == []


def test_models_side_by_side(victim, tokenizer):
    widget = compare_models({"<one>": victim}, tokenizer, {"cf": "cf"}, ["bad", "good"], "<b>dull")
    _, choice, shown = widget.children
    assert "bad (" in shown.value
    choice.value = "cf"
    assert "good (" in shown.value
    assert shown.value.count("<tr>") == 4  # head, all words, and one for each of the two words
    assert "<b>" not in shown.value
    assert "<one>" not in shown.value


def test_moving_the_threshold_changes_what_is_flagged():
    scores, poisoned = np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, False, True, True])
    flaggable = np.array([True, True, True, False])
    widget = threshold_explorer(scores, flaggable, poisoned, ["a", "b", "c", "<d>"], 1.0)
    slider, shown = widget.children
    assert "2 flagged, precision 0.500" in shown.value
    slider.value = 2.0
    assert "1 flagged, precision 1.000" in shown.value
    assert "recall 0.500" in shown.value
    assert shown.value.index("&lt;d&gt;") < shown.value.index("<td>c</td>")


def test_cycles_have_a_picture_each():
    rng = np.random.default_rng(0)
    shares = [{"cacc": 0.9, "asr": asr, "racc": 0.5} for asr in (1.0, 0.25)]
    states = [rng.normal(size=(6, 4)) for _ in shares]
    widget = cycle_explorer(shares, states, np.array([0, 1, 0, 1, 0, 1]), ["one", "other"])
    slider, shown, picture = widget.children
    first = picture.value
    slider.value = 1
    assert "cycle 1" in shown.value
    assert "0.25" in shown.value
    assert picture.value[:4] == b"\x89PNG"
    assert picture.value != first
