"""The built book as a reader meets it: links, images, search and width, in a real browser.

Builds nothing itself: `make book` or `make test` leave the pages in `_build/html`.
"""

import functools
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup
from pages import CHAPTERS, PAGES, PATIENCE, SITE, set_width
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").is_file(), reason="no book in _build/html: run `make book` first"
)


@functools.cache
def soup(page):
    return BeautifulSoup((SITE / page).read_text(encoding="utf-8"), "html.parser")


@functools.cache
def anchors(page):
    return {element["id"] for element in soup(page).find_all(id=True)}


def internal(page, address):
    """Path and fragment of an address within the site, or None for one outside."""
    if urlsplit(address).scheme or address.startswith("//"):
        return None
    target, fragment = urldefrag(urljoin(page, address))
    return unquote(urlsplit(target).path) or page, unquote(fragment)


def test_the_book_has_its_chapters():
    assert len(CHAPTERS) >= 6
    assert {page for page in PAGES if not (SITE / page).is_file()} == set()


@pytest.mark.parametrize("page", CHAPTERS)
def test_chapter_has_figures_with_captions(page):
    figures = soup(page).select("article figure")
    assert figures
    for figure in figures:
        assert figure.img["alt"].strip()
        assert figure.figcaption.get_text(strip=True)


@pytest.mark.parametrize("page", PAGES)
def test_no_link_or_image_within_the_site_is_broken(page):
    broken = []
    for tag, attribute in (("a", "href"), ("img", "src"), ("link", "href"), ("script", "src")):
        for element in soup(page).find_all(tag, attrs={attribute: True}):
            where = internal(page, element[attribute])
            if where is None:
                continue
            path, fragment = where
            if not (SITE / path).is_file() or (
                fragment and path.endswith(".html") and fragment not in anchors(path)
            ):
                broken.append(element[attribute])
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_every_image_has_an_alternative_text(page):
    images = soup(page).select("article img")
    assert [i["src"] for i in images if not i.get("alt") or i["alt"] in i["src"]] == []


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_tables(page):
    """Not lines of text with pipes: outputs are read by a smaller Markdown than pages are."""
    lines = [p.get_text() for p in soup(page).select("article p")]
    assert [line for line in lines if line.startswith("|")] == []


def contents(browser):
    """The links of the table of contents by their address."""
    links = browser.find_elements(By.CSS_SELECTOR, "nav.bd-links a.reference.internal")
    return {link.get_attribute("href"): link for link in links}


def test_contents_lead_to_every_page(browser, address):
    set_width(browser, 1280)
    browser.get(address + PAGES[0])
    titles = {
        target: link.text.lstrip("0123456789. ") for target, link in contents(browser).items()
    }
    assert {address + page for page in PAGES[1:]} <= set(titles)
    for target, title in titles.items():
        browser.get(address + PAGES[0])
        contents(browser)[target].click()
        WebDriverWait(browser, PATIENCE).until(lambda b, target=target: b.current_url == target)
        assert title in browser.find_element(By.CSS_SELECTOR, "article h1").text


def test_search_finds_pages_that_open(browser, address):
    browser.get(address + "search.html?q=trigger")
    results = WebDriverWait(browser, PATIENCE).until(
        lambda b: b.find_elements(By.CSS_SELECTOR, "#search-results ul.search li a")
    )
    target = results[0].get_attribute("href")
    # By script: results still move while others come in, and a click of the mouse may hit another.
    browser.execute_script("arguments[0].click()", results[0])
    WebDriverWait(browser, PATIENCE).until(
        lambda b: b.current_url.split("?")[0] == target.split("?")[0]
    )
    assert "trigger" in browser.find_element(By.CSS_SELECTOR, "article").text.lower()


@pytest.fixture(scope="module", params=PAGES)
def opened(request, browser, address):
    """A page in the browser, loaded once for all tests that look at it."""
    set_width(browser, 1280)
    browser.get(address + request.param)
    return request.param


def test_images_are_drawn(browser, opened):
    script = """
        const own = [...document.querySelectorAll('article img')]
            .filter(image => image.src.startsWith(location.origin));
        own.forEach(image => image.loading = 'eager');
        return Promise.all(own.map(image => image.decode().then(() => '', () => image.src)));
    """
    assert [source for source in browser.execute_script(script) if source] == []


def test_formulas_are_drawn(browser, opened):
    expected = len(soup(opened).select(".math"))
    WebDriverWait(browser, PATIENCE).until(
        lambda b: len(b.find_elements(By.CSS_SELECTOR, ".math > mjx-container")) >= expected
    )
    assert not browser.find_elements(By.CSS_SELECTOR, "[data-mml-node=merror]")


def test_page_asks_no_other_host(browser, address, opened):
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    outside = {url for url in browser.execute_script(script) if not url.startswith(address)}
    assert {urlsplit(url).netloc for url in outside} <= {"colab.research.google.com"}  # the badge


def test_code_and_formulas_fit_their_column(browser, opened):
    """On a desktop; folded answers and solutions are opened for it."""
    set_width(browser, 1280)
    script = """
        document.querySelectorAll('article details').forEach(e => e.open = true);
        return [...document.querySelectorAll('article pre, article div.math')]
            .filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1)
            .map(e => [e.scrollWidth - e.clientWidth, e.textContent.slice(0, 200)]);
    """
    assert browser.execute_script(script) == []


@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_page_is_no_wider_than_the_screen(browser, opened, width):
    set_width(browser, width)
    script = """
        const room = document.documentElement.clientWidth;
        const scrolls = e => e && (['auto', 'scroll', 'hidden'].includes(
            getComputedStyle(e).overflowX) || scrolls(e.parentElement));
        const wide = [...document.querySelectorAll('article *')]
            .filter(e => e.getBoundingClientRect().right > room + 1 && !scrolls(e.parentElement));
        const excess = document.documentElement.scrollWidth - room;
        return [excess, wide.slice(0, 5).map(e => e.outerHTML)];
    """
    excess, elements = browser.execute_script(script)
    assert excess <= 1, elements
    assert elements == []


def test_labels_of_figures_can_be_read_on_a_phone(browser, opened):
    """They are drawn for a desktop's column; 0.6 of that leaves letters of ten pixels."""
    set_width(browser, 390)
    script = """
        return [...document.querySelectorAll('article .cell_output img')]
            .map(e => [e.getBoundingClientRect().width / e.naturalWidth, e.alt])
            .filter(([scale]) => scale < 0.6);
    """
    assert browser.execute_script(script) == []
