"""The pictures of the compare page in the README: its first screen, light and dark."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Literal

from shared.files import RUNS

HERE = Path(__file__).parent
PAGE = RUNS / "compare" / "digits" / "index.html"
PICTURES: dict[Literal["light", "dark"], Path] = {
    "light": HERE / "page.png",
    "dark": HERE / "page-dark.png",
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def photograph() -> bool:
    """Photograph the page that `make compare` has left, and say whether that was possible: it takes
    the page, Playwright, a Chromium, and letters for the button that says 繁體中文."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return False
    if browser is None or not PAGE.is_file() or not has_chinese_letters():
        return False
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for scheme, path in PICTURES.items():
            tab = chromium.new_page(
                viewport={"width": 1280, "height": 800}, color_scheme=scheme, locale="en-US"
            )
            tab.goto(PAGE.resolve().as_uri())
            tab.screenshot(path=path)
        chromium.close()
    return True


def has_chinese_letters() -> bool:
    """Whether a font of this machine has them; taken for granted where nobody can be asked."""
    ask = shutil.which("fc-list")
    return ask is None or bool(subprocess.check_output([ask, ":lang=zh-tw"]).strip())
