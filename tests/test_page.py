"""The report as a page: whole, and safe whatever the rows hold."""

import base64
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

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


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A browser with a report that holds everything, very long words among it."""
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), "chromedriver"
    if not (binary and shutil.which(driver)):
        pytest.skip("Chromium or its driver is not installed (Debian: chromium chromium-driver)")
    folder = tmp_path_factory.mktemp("report")
    keys = ("held_out_accuracy", "flagged_given_label", "expected_rate")
    history = [{"cycle": k, **dict.fromkeys(keys, 0.5)} for k in range(1, 25)]
    mapping = [{"epoch": k, "loss": 0.5, "held_out_p_true": 0.5} for k in range(1, 21)]
    made = summary(
        "extraordinarily-long-" * 6, repair_history=history, repair={"stopped": "plateau"}
    )
    made["detection"]["mapping_history"] = mapping
    rows = [*suspects("word " * 200), *suspects("<b>" + "x" * 500), *suspects("\u202e\x1b")]
    (folder / "report.html").write_text(purification_page(made, found(), rows), encoding="utf-8")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/user"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, Service(shutil.which(driver)))
    browser.set_script_timeout(120)
    browser.get((folder / "report.html").as_uri())
    yield browser
    browser.quit()


def emulate(browser, width, media="screen", scheme="light"):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


CUT = """
    const paper = arguments[0], room = document.documentElement.clientWidth;
    const right = e => e.getBoundingClientRect().right;
    const overflow = e => getComputedStyle(e).overflowX;
    const scrolls = e => e && (overflow(e) !== 'visible' || scrolls(e.parentElement));
    const beyond = e => right(e) > room + 1 && (paper || !scrolls(e.parentElement));
    const hidden = e => e.clientWidth && e.scrollWidth > e.clientWidth + 1
        && (paper || overflow(e) === 'hidden');
    const drawn = e => right(e) > right(e.ownerSVGElement) + 1;
    return [...document.querySelectorAll('body, body *')]
        .filter(e => e.ownerSVGElement ? drawn(e) : beyond(e) || hidden(e))
        .map(e => e.outerHTML.slice(0, 200));
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_everybody_can_read_the_page(opened, width, scheme):
    """axe-core finds nothing serious, in either colours and on either screen; nothing is cut."""
    emulate(opened, width, scheme=scheme)
    dark = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(255, 255, 255)") == (scheme == "light")
    result = Axe().run(opened)
    bad = [v for v in result["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in bad] == []
    assert {"color-contrast", "document-title"} <= {rule["id"] for rule in result["passes"]}
    assert opened.execute_script(CUT, False) == []


def test_nothing_is_cut_on_paper(opened):
    emulate(opened, 718, media="print", scheme="dark")  # A4 less the browser's margins
    assert opened.execute_script("return getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert opened.execute_script(CUT, True) == []
    a4 = {"paperWidth": 8.27, "paperHeight": 11.69}
    made = base64.b64decode(opened.execute_cdp_cmd("Page.printToPDF", a4)["data"])
    assert made.startswith(b"%PDF")
    tall = opened.execute_script("return document.documentElement.scrollHeight")
    assert made.count(b"/Type /Page\n") >= tall // 1200  # all of it was printed
