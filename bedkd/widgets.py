"""Live controls for notebooks; each stands beside a static figure that tells the same story."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import ipywidgets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd.attacks import Trigger
from bedkd.training.batches import EncodedTexts
from bedkd.training.predict import predict
from bedkd.training.runtime import on_device


def probabilities(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str
) -> list[float]:
    """Class probabilities of one text."""
    return predict(on_device(model), EncodedTexts(tokenizer, [text])).probabilities[0].tolist()


def trigger_explorer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    triggers: Sequence[Trigger],
    label_names: Sequence[str],
    text: str,
    *,
    seed: int = 0,
) -> ipywidgets.Widget:
    """Type a sentence, add a trigger, see the model's prediction change.

    Args:
        triggers: offered besides "no trigger".
        label_names: names of the classes.
        text: what the box holds at first.
        seed: of the triggers' random parts.
    """
    box = ipywidgets.Textarea(text, description="text", layout={"width": "95%"})
    choices = {"no trigger": None, **{trigger.name: trigger for trigger in triggers}}
    choice = ipywidgets.ToggleButtons(options=list(choices), description="trigger")
    shown = ipywidgets.HTML()
    meters = [
        ipywidgets.FloatProgress(description=name, min=0, max=1, layout={"width": "60%"})
        for name in label_names
    ]

    def refresh(_: object = None) -> None:
        trigger = choices[choice.value]
        current = box.value if trigger is None else trigger.apply([box.value], seed)[0]
        # Escaped: whatever is typed must not become markup.
        shown.value = f"The model reads: <em>{escape(current)}</em>"
        for meter, value in zip(meters, probabilities(model, tokenizer, current), strict=True):
            meter.value = value

    box.observe(refresh, "value")
    choice.observe(refresh, "value")
    refresh()
    return ipywidgets.VBox([box, choice, shown, *meters])
