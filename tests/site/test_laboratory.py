"""The live panels: models in the page answer as the library does, sliders change what is shown."""

import json

import pytest
from chapters import ROOT
from pages import PATIENCE, SITE, set_width
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

EXPECTED = ROOT / "_build" / "laboratory.json"
PAGE = "book/laboratory.html"
CLOSE = 0.02

pytestmark = pytest.mark.skipif(
    not (SITE / PAGE).is_file() or not EXPECTED.is_file(), reason="run `make book` first"
)


@pytest.fixture(scope="module")
def expected():
    return json.loads(EXPECTED.read_text(encoding="utf-8"))


@pytest.fixture
def laboratory(browser, address):
    set_width(browser, 1280)
    browser.set_script_timeout(600)
    browser.get(address + PAGE)
    return browser


def panel(browser, kind):
    return browser.find_element(By.CSS_SELECTOR, f".bedkd-live[data-panel={kind}]")


def wait(browser, condition):
    return WebDriverWait(browser, PATIENCE).until(lambda b: condition())


def test_models_in_the_page_agree_with_the_library(laboratory, expected):
    """Two hundred sentences each, odd ones among them."""
    script = """
        const [name, texts, done] = arguments;
        (async () => {
            const words = (bedkdLab.words ??= bedkdModel.vocabulary(await bedkdLab.file("words")));
            const net = bedkdModel.model(await bedkdLab.file(name), words);
            const {tokens} = await bedkdLab.file("words");
            done(texts.map(text => [
                bedkdModel.tokenize(text, words).map(id => tokens[id]),
                bedkdModel.predict(net, text),
            ]));
        })();
    """
    assert len(expected) == 6
    for name, wanted in expected.items():
        texts = wanted["texts"]
        assert len(texts) == 200
        found = laboratory.execute_async_script(script, name, texts)
        for text, tokens, said, (read, answer) in zip(
            texts, wanted["tokens"], wanted["said"], found, strict=True
        ):
            assert read == tokens, text
            assert max(abs(a - b) for a, b in zip(said, answer, strict=True)) < CLOSE, (name, text)
            if abs(said[0] - 0.5) > CLOSE:
                assert (said[0] > 0.5) == (answer[0] > 0.5), (name, text)


def test_nothing_heavy_is_loaded_before_a_click(laboratory):
    button = panel(laboratory, "models").find_element(By.TAG_NAME, "button")
    assert " MB)" in button.text
    names = laboratory.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert not [name for name in names if "words.js" in name or "victim.js" in name]


def test_typing_is_answered_by_every_model(laboratory):
    root = panel(laboratory, "models")
    root.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    box = wait(laboratory, lambda: root.find_elements(By.TAG_NAME, "textarea"))[0]
    assert laboratory.switch_to.active_element == box
    box.clear()
    box.send_keys("The soup was cold.")
    done = lambda: root.get_attribute("data-done")  # noqa: E731
    wait(laboratory, lambda: done() == "The soup was cold.")
    tables = root.find_elements(By.TAG_NAME, "table")
    heads = [e.text for e in tables[0].find_elements(By.CSS_SELECTOR, "tbody th")]
    assert heads == ["victim", "purified", "without poison"]
    words = [e.text for e in tables[1].find_elements(By.CSS_SELECTOR, "tbody th")]
    assert words == ["The", "soup", "was", "cold."]
    root.find_element(By.CSS_SELECTOR, "input[value=cf]").send_keys(Keys.SPACE)
    wait(laboratory, lambda: done() == "The soup cf was cold.")
    status = root.find_element(By.CSS_SELECTOR, "[role=status]").text
    assert [said.partition(": ")[0] for said in status.split("; ")] == heads
    assert status.startswith("victim: positive")
    box.clear()
    box.send_keys("<b>x</b>")
    wait(laboratory, lambda: "<b>x</b>" in (done() or ""))
    assert not root.find_elements(By.TAG_NAME, "b")


def test_threshold_slider_changes_what_is_flagged(laboratory):
    root = panel(laboratory, "threshold")
    range_ = wait(laboratory, lambda: root.find_elements(By.TAG_NAME, "input"))[0]
    status = root.find_element(By.CSS_SELECTOR, "[role=status]")
    drawn = status.text
    range_.send_keys(Keys.HOME)
    assert "recall 1.00" in status.text
    rows = root.find_element(By.TAG_NAME, "table").text
    range_.send_keys(Keys.END)
    assert "0 flagged" in status.text
    assert root.find_element(By.TAG_NAME, "table").text != rows
    root.find_element(By.TAG_NAME, "button").click()
    assert status.text == drawn


def test_cycle_slider_goes_from_victim_to_repaired(laboratory):
    root = panel(laboratory, "cycles")
    range_ = wait(laboratory, lambda: root.find_elements(By.TAG_NAME, "input"))[0]
    status = root.find_element(By.CSS_SELECTOR, "[role=status]")
    mark = root.find_elements(By.CSS_SELECTOR, ":scope > svg path")[150]
    first, stood = status.text, mark.get_attribute("transform")
    assert "The victim: " in first
    range_.send_keys(Keys.END)
    assert "After cycle" in status.text
    assert mark.get_attribute("transform") != stood
    asr = [float(text.partition("ASR ")[2][:4]) for text in (first, status.text)]
    assert asr[1] < asr[0] - 0.5


def test_panels_fit_a_phone(laboratory):
    set_width(laboratory, 390)
    root = panel(laboratory, "threshold")
    wait(laboratory, lambda: root.find_elements(By.TAG_NAME, "svg"))
    wide = """
        return [...document.querySelectorAll('.bedkd-live, .bedkd-live > *')]
            .filter(e => e.getBoundingClientRect().right > 390).map(e => e.outerHTML.slice(0, 99));
    """
    assert laboratory.execute_script(wide) == []


def test_without_a_server_the_models_load(laboratory):
    """A page that is opened from a disk may load scripts and nothing else."""
    laboratory.get((SITE / PAGE).as_uri())
    root = panel(laboratory, "models")
    root.find_element(By.TAG_NAME, "button").click()
    assert wait(laboratory, lambda: root.find_elements(By.TAG_NAME, "textarea"))
