"""axe-core finds nothing serious on any page, in light and in dark, and pages are light to load."""

import functools
import gzip
from importlib.resources import files
from urllib.parse import unquote, urlsplit

import pytest
from pages import PAGES, PATIENCE, SITE, set_width
from selenium.webdriver.support.ui import WebDriverWait

AXE = (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
SMALL = 2_000_000  # bytes, before a click

pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").is_file(), reason="no book in _build/html: run `make book` first"
)
# Nothing may move or be folded. Of many that are alike, rows of a table and entries of the library,
# the first are looked at: all of them would take minutes.
PREPARE = """
    const style = document.createElement("style");
    style.textContent = "* { transition: none !important; animation: none !important }";
    document.head.append(style);
    document.querySelectorAll("article details").forEach(e => e.open = true);
    for (const body of document.querySelectorAll("article tbody"))
        [...body.rows].slice(6).forEach(row => row.remove());
    for (const part of document.querySelectorAll("article section, article dd"))
        [...part.children].filter(e => e.matches("dl.py")).slice(1).forEach(e => e.remove());
"""
# Only colours depend on the theme.
RUN = """
    const [theme, done] = arguments;
    document.documentElement.dataset.theme = document.documentElement.dataset.mode = theme;
    const only = theme === "dark" ? {runOnly: ["color-contrast"]} : {};
    axe.run(document, {resultTypes: ["violations"], ...only}).then(found => done(
        found.violations.filter(v => ["serious", "critical"].includes(v.impact))
            .map(v => [v.id, v.nodes.length, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))])));
"""
LOADED = """
    return performance.getEntriesByType("resource").map(entry => entry.name);
"""


@functools.cache
def sent(path):
    """Bytes of a file as a host sends it that compresses what is text."""
    content = (SITE / path).read_bytes()
    text = path.endswith((".html", ".js", ".css", ".svg", ".json"))
    return len(gzip.compress(content, 6) if text else content)


@pytest.fixture(scope="module", params=PAGES)
def loaded(request, browser, address):
    set_width(browser, 1280)
    browser.set_script_timeout(300)
    browser.command_executor.client_config.timeout = 300
    browser.get(address + request.param)
    complete = "return document.readyState === 'complete'"
    WebDriverWait(browser, PATIENCE).until(lambda b: b.execute_script(complete))
    return request.param


def test_page_is_light(loaded, browser, address):
    names = set(browser.execute_script(LOADED))
    own = {unquote(urlsplit(name).path[1:]) for name in names if name.startswith(address)}
    own = {path for path in own if (SITE / path).is_file()}  # browsers ask for an icon
    assert sum(map(sent, own | {loaded})) < SMALL


def test_page_is_accessible(loaded, browser):
    browser.execute_script(PREPARE)
    browser.execute_script(AXE)
    assert browser.execute_async_script(RUN, "light") == []
    assert browser.execute_async_script(RUN, "dark") == []
