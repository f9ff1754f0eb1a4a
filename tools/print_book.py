"""The whole book as one page, and printed: ``make pdf`` writes ``_build/bedkd.pdf``.

The pages hold the stored outputs; what is folded is opened, for paper does not unfold. Needs
Chromium with its driver (Debian: ``chromium chromium-driver``).
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from pathlib import Path

from build_book import STAGE, stage
from chapters import ROOT
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.print_page_options import PrintOptions

SINGLE = ROOT / "_build" / "single"
PAGE = SINGLE / "_build" / "singlehtml" / "index.html"
PDF = ROOT / "_build" / "bedkd.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MINUTES = 10
READY = """
const done = arguments[0];
document.querySelectorAll("details").forEach(fold => { fold.open = true; });
document.querySelectorAll("img").forEach(image => { image.loading = "eager"; });
const drawn = window.MathJax?.startup?.promise ?? Promise.resolve();
drawn.then(() => document.fonts.ready).then(() => done(document.title), () => done(null));
"""


def build() -> None:
    """The book as one HTML page."""
    stage(False)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", STAGE]
    options = ["--path-output", SINGLE, "--builder", "singlehtml", "--all", "--quiet"]
    if subprocess.run([*command, *options], check=False).returncode:
        sys.exit("the page was not built")


def printed(page: Path, binary: str, driver: str) -> bytes:
    """A page as PDF, once its formulas and fonts are there."""
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("--headless=new", "--no-sandbox", "--allow-file-access-from-files"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, Service(driver))
    try:
        for limit in (browser.set_page_load_timeout, browser.set_script_timeout):
            limit(60 * MINUTES)
        browser.command_executor.client_config.timeout = 60 * MINUTES
        browser.get(page.as_uri())
        browser.execute_async_script(READY)
        paper = PrintOptions()
        paper.page_width, paper.page_height = 21.0, 29.7
        paper.background, paper.shrink_to_fit = True, True
        return base64.b64decode(browser.print_page(paper))
    finally:
        browser.quit()


def main() -> None:
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if not (binary and driver):
        sys.exit("Chromium or its driver is not installed (Debian: chromium chromium-driver)")
    build()
    PDF.write_bytes(printed(PAGE, binary, driver))
    print(f"The book is printed: {PDF.as_uri()}")


if __name__ == "__main__":
    main()
