"""The report as a page: whole, and safe whatever the rows hold."""

from html.parser import HTMLParser

import numpy as np
import pytest

from bedkd import report as report_module
from bedkd.detectors import Detection
from bedkd.page import histogram, inline, purification_page
from bedkd.suspects import Suspect

SHARE = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 100}
HOSTILE = [
    "<script>alert(1)</script>",
    "</main></style><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}{% raw %}",
    "`**<b>x</b>**`",
    "&lt;b&gt; &amp;",
    "\x1b[31m\u202e\u2028",
    "](javascript:alert(1))",
]


class Reader(HTMLParser):
    """Elements, attributes and text of a page; complains about elements closed wrongly."""

    VOID = ("meta", "rect", "line", "circle", "br")

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.attributes, self.text = [], set(), [], ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.add(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.add(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


def planted(words):
    keys = ("accuracy", "target")
    shares = {f"{key}_{when}": SHARE for key in keys for when in ("before", "after")}
    return {"words": words, **shares, "own_bare": SHARE, "own_after": SHARE, "inverted": False}


def summary(word="cf", **changes):
    """A report in which every text that comes from files is ``word``."""
    keys = ("accuracy_before", "accuracy_after", "given_before", "given_after", "agreement")
    outcome = {
        "reached": True,
        "held_out": True,
        "expected_rate": 0.1,
        **dict.fromkeys(keys, SHARE),
    }
    detection = {"trigger_words": [word], "min_detectable": 7, "wording_auroc": 0.9}
    return {
        **report_module.provenance(word, seed=0, backbone=word),
        **{"verdict": "backdoor suspected", "cannot_tell": [], "changed": True},
        **{"target_label": 1, "target_name": word, "rows": 100, "flagged": 20},
        **{"p_value": 0.01, "poison_share": None, "detection": detection},
        **{"repair_rows": [1], "repair_history": [], "repair": {}, "warnings": [word]},
        "outcome": {**outcome, "agreement_trusted": SHARE, "planted": planted([word])},
        **{"seconds": {"detection": 1.5}, "max_length": 64, "cut_share": 0.0},
        "settings": {"detector": {"name": "BeDKDDetector"}, "repair": {"name": "X"}},
        **{"files": {word: "0" * 64}, "outputs": {"model.safetensors": "f" * 64}},
        **changes,
    }


def found(count=100):
    scores = np.linspace(-3, 3, count)
    return Detection(scores, scores > 1.8, 1.8, True)


def suspects(text):
    return [Suspect(3, 2.5, True, text, [(text, True), (text, False)], True)]


def page(word, **changes):
    return purification_page(summary(word, **changes), found(), suspects(word))


@pytest.fixture(scope="module")
def plain():
    return Reader(page("cf"))


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_comes_from_rows_is_markup(text, plain):
    read = Reader(page(text))
    assert read.elements == plain.elements
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert "<script" not in page(text)
    assert "49" not in read.text.split("Row 3")[1].split("The model before")[0]


def test_nothing_is_loaded_and_nothing_is_hidden():
    text = page("\u202e\x1b")
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert not {"script", "link", "img", "iframe"} & Reader(text).elements
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_of_strangers_is_text(text):
    """What the Markdown means, read as our own page reads it, is the text itself."""
    made = report_module.purification_markdown(summary(text))
    line = next(line for line in made.splitlines() if line.startswith("Suspected target label: "))
    assert all(character.isprintable() for character in line)
    shown = Reader(str(inline(line.removeprefix("Suspected target label: ")))).text
    assert shown.removesuffix(".") == "".join(map(visible, text))


def visible(character):
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def test_the_page_says_what_the_markdown_says(plain):
    for part in (
        "Verdict: backdoor suspected.",
        "20 of 100 untrusted rows are flagged",
        "If a flagged row looks clean",
        "Row 3, score 2.50, flagged, label cf",
        "90.0 % (80.0–95.0, n = 100)",
        "Nothing says that the backdoor was turned round.",
        "model.safetensors",
        "f" * 64,
        "detection 1.5 s",
    ):
        assert part in " ".join(plain.text.split()), part
    assert ("class", "flagged") in plain.attributes


def test_a_page_without_a_verdict_has_no_figures():
    undecided = Detection(np.zeros(9), np.zeros(9, bool), np.inf, False, cannot_tell=["rows"])
    given = summary(cannot_tell=["no rows of `x`"], outcome=None, verdict="cannot tell")
    read = Reader(purification_page(given, undecided, []))
    assert "svg" not in read.elements
    assert "no rows of `x`" in read.text


@pytest.mark.parametrize("scores", [np.zeros(5), np.array([1.0]), np.array([-1e9, 1e9])])
def test_a_histogram_of_any_scores(scores):
    flagged = scores > 0
    drawn = histogram(Detection(scores, flagged, np.inf, False))
    assert drawn["threshold"] is None
    assert all(0 <= number <= 1 for _, *numbers in drawn["bars"] for number in numbers)


def test_a_long_row_is_cut_in_the_middle():
    many = [(f"w{i}", i == 0) for i in range(1000)]
    row = Suspect(0, 1.0, True, "x", [*many, ("y" * 5000, True)], True)
    text = Reader(purification_page(summary(), found(), [row])).text
    assert "w0" in text
    assert "w500" not in text
    assert "y" * 81 not in text
