"""The compare page in a real browser: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; make setup installs it"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
CHINESE, ENGLISH = "zh-Hant-TW", "en"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, compared: Path) -> Iterator[Callable[..., Any]]:
    """`open_page(address, width=..., color_scheme=...)`; at the end, the page must have asked
    nobody for anything and complained about nothing."""
    contexts, requests, complaints = [], [], []

    def opened(address: str = "", width: int = 1280, **options: Any) -> Any:
        options = {"viewport": {"width": width, "height": 800}, "offline": True, **options}
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto((compared / "index.html").as_uri() + address)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert requests, "no page was opened"
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []


def speak(tab: Any, language: str) -> None:
    tab.click(f"button[data-language={language}]")


def background(tab: Any) -> str:
    return tab.evaluate("getComputedStyle(document.documentElement).backgroundColor")


def answer(tab: Any) -> str:
    return tab.inner_text(".answer h2")


def chosen(tab: Any) -> str:
    return tab.inner_text(".program [aria-current]")


def test_the_page_opens_with_the_answer_without_scrolling(open_page):
    tab = open_page()
    assert answer(tab) == "Lightning calls loss.backward() in LightningModule.backward"
    assert ".backward()" in chosen(tab)
    for selector in (".answer h2", ".answer .excerpt .lit", ".answer .snippet", "[aria-current]"):
        box = tab.locator(selector).first.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 800, selector
    assert tab.inner_text(".answer .excerpt .lit") == "        loss.backward(*args, **kwargs)"
    assert "def backward(self, loss)" in tab.inner_text(".snippet")
    assert tab.inner_text(".hooks b") == "backward"


def test_it_is_small_before_anything_is_opened(open_page):
    tab = open_page()
    assert tab.evaluate("document.querySelectorAll('*').length") < 4000
    assert tab.evaluate("document.documentElement.scrollHeight") < 6.5 * 800
    stops = "[...document.querySelectorAll('a, button, input, select, summary, [tabindex]')]"
    assert tab.evaluate(f"{stops}.filter((x) => x.tabIndex >= 0).length") < 100


def test_keys_walk_the_lines_and_the_calls_of_a_line(open_page):
    tab = open_page()
    tab.keyboard.press("j")
    assert "state.batch_idx = batch_idx + 1" in chosen(tab)
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("k")
    assert "loss / config" in chosen(tab)
    assert answer(tab).startswith("Lightning calls loss / n in")
    tab.click('.program a:has-text("evaluate.validate(")')
    calls = tab.locator(".calls button")
    assert calls.count() > 5
    first = answer(tab)
    tab.keyboard.press("ArrowRight")
    assert answer(tab) != first
    assert calls.nth(1).get_attribute("aria-pressed") == "true"
    tab.keyboard.press("ArrowLeft")
    assert answer(tab) == first


def test_every_line_that_can_be_chosen_shows_an_answer(open_page):
    """By the key j alone, from the first line of each program to its last."""
    tab = open_page()
    for name in ("minimal.py", "basic.py"):
        tab.click(f"[data-program='{name}']")
        tab.evaluate("document.querySelector('.program a').click()")
        seen = []
        while chosen(tab) not in seen:
            seen.append(chosen(tab))
            assert len(answer(tab)) > 10
            tab.keyboard.press("j")
        assert len(seen) > 8


def test_slash_finds_and_escape_leaves(open_page):
    tab = open_page()
    tab.keyboard.press("/")
    tab.keyboard.type("clip_grad")
    assert tab.evaluate("document.activeElement.id") == "find"
    assert "clip_grad_norm_(" in chosen(tab)
    assert "--gradient_clip_val 1.0" in tab.inner_text(".answer .only")
    tab.keyboard.press("Escape")
    tab.keyboard.press("j")
    assert "scaler.step" in chosen(tab)


def test_an_answer_is_a_link_and_back_goes_back(open_page):
    tab = open_page("#optimizer.zero_grad")
    assert "optimizer.zero_grad()" in answer(tab)
    tab.click('.program a:has-text("scheduler.step()")')
    assert tab.url.endswith("#scheduler.step")
    tab.go_back()
    assert "optimizer.zero_grad()" in answer(tab)
    assert "optimizer.zero_grad()" in chosen(tab)
    for address, name in (("#minimal:loss.backward", "minimal.py"), ("#loss%2Fn", "train.py")):
        other = open_page(address)
        assert other.get_attribute(f"[data-program='{name}']", "aria-pressed") == "true"
        assert answer(other).startswith("Lightning calls loss")


def test_a_switch_shows_your_code_with_the_partner_in_sight(open_page):
    tab = open_page("#finite_loss.step")
    tab.click("text=Your Lightning code")
    assert "self.finite_loss.step(" in tab.inner_text(".answer .code .lit")
    line, pane = (tab.locator(s).bounding_box() for s in (".answer .code .lit", ".pane.answer"))
    assert pane["y"] < line["y"] < pane["y"] + pane["height"]
    tab.keyboard.press("k")
    assert "def training_step" in tab.inner_text(".answer .code .lit")


def test_on_a_phone_the_answer_is_a_sheet_from_below(open_page):
    tab = open_page(width=360)
    sheet = tab.locator(".pane.answer")
    assert not sheet.is_visible()
    tab.click("[aria-current]")
    box = sheet.bounding_box()
    assert box["x"] == 0 and box["width"] == 360 and box["y"] + box["height"] == 800
    tab.click(".close")
    assert not sheet.is_visible()


def test_what_is_folded_is_built_when_it_is_opened(open_page):
    tab = open_page()
    assert tab.locator("#files .lines li").count() == 0
    tab.click("#files summary")
    tab.wait_for_selector("#files .lines li >> nth=10")
    tab.select_option("#files select >> nth=0", "raw_pytorch/checkpoint.py")
    assert "Lightning" in tab.inner_text("#files .pane >> nth=0")
    tab.click("text=Where did each line go?")
    tab.click("details[open] a:has-text('batch.to()') >> nth=0")
    tab.wait_for_selector(".answer h2:has-text('batch.to()')")
    assert tab.locator("#exhibit").bounding_box()["y"] > -400


def test_the_page_speaks_both_languages(open_page):
    tab = open_page()
    for details in tab.locator("details[data-build] > summary").all():
        details.click()
    tab.wait_for_function("!document.querySelector('details[open] > template')")
    english = tab.inner_text("body")
    assert not re.search(r"[\u4e00-\u9fff]", english.replace("繁體中文", ""))
    speak(tab, CHINESE)
    assert tab.get_attribute("html", "lang") == CHINESE
    chinese = tab.inner_text("body")
    assert re.search(r"[\u4e00-\u9fff]", answer(tab))
    assert "One batch" not in chinese
    # No stop, bracket or colon of English stands after a word in Chinese.
    assert not re.findall(r"[\u4e00-\u9fff][.:;,(]", chinese)
    speak(tab, ENGLISH)
    assert tab.inner_text("body") == english


def test_a_reader_whose_browser_speaks_chinese_sees_chinese_first(open_page):
    assert open_page(locale="zh-TW").get_attribute("html", "lang") == CHINESE


def test_the_theme_follows_the_system_until_it_is_switched(open_page):
    light, dark = (open_page(color_scheme=scheme) for scheme in ("light", "dark"))
    assert background(light) != background(dark)
    light.click("button[data-theme]")
    assert background(light) == background(dark)
    light.click("button[data-theme]")
    assert background(light) != background(dark)


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
def test_nothing_runs_over_the_side_at_any_width(open_page, width):
    tab = open_page(width=width)
    for language in (ENGLISH, CHINESE):
        speak(tab, language)
        tab.evaluate("for (const x of document.querySelectorAll('details')) x.open = true")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [700, 1280])  # a sheet of A4 is 718 pixels wide
def test_on_paper_the_program_and_the_answer_stand_in_full(open_page, width):
    tab = open_page(width=width)
    tab.emulate_media(media="print")
    assert not tab.locator(".settings").is_visible()
    assert not tab.locator(".bar").is_visible()
    for selector in (".pane.program", ".pane.answer"):
        assert tab.locator(selector).is_visible()
        cut = "(x) => x.scrollHeight > x.clientHeight + 1 || x.scrollWidth > x.clientWidth + 1"
        assert not tab.eval_on_selector(selector, cut)


def test_without_scripts_the_page_can_be_read(open_page):
    tab = open_page(java_script_enabled=False)
    assert tab.locator("h1").inner_text() == "Who calls backward() now?"
    assert ".backward()" in tab.inner_text(".program")
    assert "JavaScript" in tab.inner_text(".answer")


@pytest.mark.parametrize(
    "width, scheme, language", [(1280, "light", ENGLISH), (360, "dark", CHINESE)]
)
def test_axe_finds_no_barrier(open_page, width, scheme, language):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing").Axe
    tab = open_page("#metric.update", width, color_scheme=scheme, reduced_motion="reduce")
    speak(tab, language)
    if width > 1000:  # once is enough of the long tables
        for details in tab.locator("#appendix > details:not(#files)").all():
            details.evaluate("(x) => { x.open = true; }")
    found = axe().run(tab, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"], len(v["nodes"])) for v in found] == []
