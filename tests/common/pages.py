"""What the tests of the built book share: its pages, and how wide the window is."""

import shutil

from chapters import ROOT, toc_files

SITE = ROOT / "_build" / "html"
PATIENCE = 90  # seconds; a busy machine is no broken book
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    # Nothing outside is asked for, so the result does not depend on the network.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
PAGES = [f"{page}.html" for page in toc_files()]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]


def set_width(browser, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
