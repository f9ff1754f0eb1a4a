"""axe-core finds nothing serious on any page, in light and in dark, and pages are light to load."""

from importlib.resources import files

import pytest
from pages import PAGES, PATIENCE, SITE, set_width
from selenium.webdriver.support.ui import WebDriverWait

AXE = files("axe_core_python") / "axe.min.js"
SMALL = 2_000_000  # bytes, without a click

pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").is_file(), reason="no book in _build/html: run `make book` first"
)
RUN = """
    const done = arguments[0];
    document.querySelectorAll("article details").forEach(e => e.open = true);
    axe.run(document, {resultTypes: ["violations"], rules: {}}).then(found => done(
        found.violations.filter(v => ["serious", "critical"].includes(v.impact))
            .map(v => [v.id, v.nodes.length, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))])));
"""
THEME = (
    "document.documentElement.dataset.theme = document.documentElement.dataset.mode = arguments[0]"
)
STILL = """
    const style = document.createElement("style");
    style.textContent = "* { transition: none !important; animation: none !important }";
    document.head.append(style);
"""


@pytest.mark.parametrize("page", PAGES)
def test_page_is_accessible_and_light(page, browser, address):
    set_width(browser, 1280)
    browser.set_script_timeout(300)
    browser.get(address + page)
    complete = "return document.readyState"
    WebDriverWait(browser, PATIENCE).until(lambda b: b.execute_script(complete) == "complete")
    weight = browser.execute_script(
        "return performance.getEntries().reduce((sum, e) => sum + (e.encodedBodySize || 0), 0)"
    )
    assert weight < SMALL
    browser.execute_script(STILL)
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    for theme in ("light", "dark"):
        browser.execute_script(THEME, theme)
        assert browser.execute_async_script(RUN) == [], theme
