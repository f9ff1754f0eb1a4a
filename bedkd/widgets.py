"""Live controls for notebooks; each stands beside a static figure that tells the same story."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd import plotting
from bedkd.attacks import Trigger
from bedkd.metrics import detection_quality
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


def word_effects(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, label: int = 1
) -> list[tuple[str, float]]:
    """How far the probability of a label falls when a word is left out, for each word in turn.

    Args:
        text: words are what stands between spaces.
        label: class whose probability is asked for.

    Returns:
        Words and effects; a word that speaks for the label has a positive one.
    """
    words = text.split()
    rest = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    answers = predict(on_device(model), EncodedTexts(tokenizer, [text, *rest])).probabilities
    return list(zip(words, (answers[0, label] - answers[1:, label]).tolist(), strict=True))


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """An HTML table of escaped cells."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def compare_models(
    models: Mapping[str, PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    triggers: Mapping[str, str],
    label_names: Sequence[str],
    text: str,
) -> ipywidgets.Widget:
    """Type a sentence, add a trigger: several models answer, with what each word did.

    Args:
        models: by the name that the table has for them.
        triggers: by name, words to put in front of the text.
        label_names: names of the classes; effects are those on the last one.
        text: what the box holds at first.
    """
    box = ipywidgets.Textarea(text, description="text", layout={"width": "95%"})
    choices = {"no trigger": "", **triggers}
    choice = ipywidgets.ToggleButtons(options=list(choices), description="trigger")
    shown = ipywidgets.HTML()
    last = len(label_names) - 1

    def refresh(_: object = None) -> None:
        current = f"{choices[choice.value]} {box.value}".strip()
        lines = [["(all words)"], *([word] for word in current.split())]
        for model in models.values():
            said = probabilities(model, tokenizer, current)
            lines[0].append(f"{label_names[int(np.argmax(said))]} ({said[last]:.2f})")
            effects = word_effects(model, tokenizer, current, last)
            for line, (_, effect) in zip(lines[1:], effects, strict=True):
                line.append(
                    f"{effect:+.2f} " + ("▮" if effect > 0 else "▯") * round(10 * abs(effect))
                )
        shown.value = _table(["left out", *models], lines)

    box.observe(refresh, "value")
    choice.observe(refresh, "value")
    refresh()
    return ipywidgets.VBox([box, choice, shown])


def threshold_explorer(
    scores: np.ndarray,
    flaggable: np.ndarray,
    poisoned: np.ndarray,
    texts: Sequence[str],
    threshold: float,
) -> ipywidgets.Widget:
    """Move the threshold of a detector: precision, recall and the flagged rows change.

    Args:
        scores: (N,), larger is more suspicious.
        flaggable: (N,) bool; other rows are never flagged.
        poisoned: (N,) bool, the truth.
        texts: of the rows.
        threshold: where the slider stands at first.
    """
    slider = ipywidgets.FloatSlider(
        threshold, min=scores.min(), max=scores.max(), step=0.05, description="threshold"
    )
    shown = ipywidgets.HTML()
    order = np.argsort(-scores)

    def refresh(_: object = None) -> None:
        flagged = flaggable & (scores >= slider.value)
        found = detection_quality(scores, flagged, poisoned)
        line = int((scores >= slider.value).sum())
        first = max(0, min(len(order) - 12, line - 6))
        rows = [
            [
                texts[i],
                "flagged" if flagged[i] else "left alone",
                "poisoned" if poisoned[i] else "clean",
            ]
            for i in order[first : first + 12].tolist()
        ]
        numbers = f"{flagged.sum()} flagged, precision {found.precision}, recall {found.recall}"
        shown.value = f"<p>{escape(numbers)}</p>" + _table(["row", "verdict", "in truth"], rows)

    slider.observe(refresh, "value")
    refresh()
    return ipywidgets.VBox([slider, shown])


def _picture(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def cycle_explorer(
    shares: Sequence[Mapping[str, float]],
    states: Sequence[np.ndarray],
    groups: np.ndarray,
    names: Sequence[str],
) -> ipywidgets.Widget:
    """Go through the cycles of a repair: shares of test rows and their hidden states.

    Args:
        shares: one record a cycle, the victim's first, with ``cacc``, ``asr`` and ``racc``.
        states: hidden states (N, H), one array a record.
        groups: (N,) index into ``names``.
        names: names of the groups, at most six.
    """
    titles = ["victim", *(f"cycle {number}" for number in range(1, len(states)))]
    pictures = [_picture(f) for f in plotting.hidden_states_apart(titles, states, groups, names)]
    slider = ipywidgets.IntSlider(0, min=0, max=len(states) - 1, description="cycle")
    shown, picture = ipywidgets.HTML(), ipywidgets.Image(format="png")

    def refresh(_: object = None) -> None:
        record = shares[slider.value]
        lines = [[key.upper(), f"{record[key]:.2f}"] for key in ("cacc", "asr", "racc")]
        shown.value = _table(["measure", titles[slider.value]], lines)
        picture.value = pictures[slider.value]

    slider.observe(refresh, "value")
    refresh()
    return ipywidgets.VBox([slider, shown, picture])
