"""The widget that shows a trigger at work."""

import pytest

from bedkd.attacks import BadNets
from bedkd.widgets import probabilities, trigger_explorer


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
