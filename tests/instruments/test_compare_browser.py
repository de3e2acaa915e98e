"""The compare page in a real browser: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.compare.source.concerns import concerns
from shared.compare.source.lines import LIGHTNING, RAW

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; make setup installs it"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
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
    """`open_page(width=..., color_scheme=...)`; at the end, the page must have asked nobody for
    anything and complained about nothing."""
    contexts, requests, complaints = [], [], []

    def opened(width: int = 1400, **options: Any) -> Any:
        options = {"viewport": {"width": width, "height": 900}, "offline": True, **options}
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto((compared / "index.html").as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert requests, "no page was opened"
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []


def choose(tab: Any, concern: str) -> None:
    tab.click(f".concerns [data-choose={concern}]")


def lit(tab: Any) -> set[str]:
    return set(tab.eval_on_selector_all(".line.lit[id]", "lines => lines.map(line => line.id)"))


def expected(concern: str) -> set[str]:
    return {
        f"{folder.name}/{place.file}:{number}"
        for folder in (RAW, LIGHTNING)
        for place in concerns(folder)[concern]
        for number in place.lines
    }


def speak(tab: Any, language: str) -> None:
    tab.click(f"button[data-language={language}]")


def background(tab: Any) -> str:
    return tab.evaluate("getComputedStyle(document.documentElement).backgroundColor")


@pytest.mark.parametrize("concern", ["clip", "early-stop", "checkpoint"])
def test_choosing_a_concern_lights_its_lines_on_both_sides_and_dims_the_rest(open_page, concern):
    tab = open_page(reduced_motion="reduce")
    choose(tab, concern)
    found = lit(tab)
    assert expected(concern) <= found
    # Nothing but them, their comments and docstrings, and the empty lines between them.
    rest = tab.eval_on_selector_all(
        ".line.lit[id]",
        "lines => lines.map(x => [x.id, x.lastChild.innerText.trim(), !!x.querySelector('.sd')])",
    )
    for line, text, in_docstring in rest:
        if line not in expected(concern):
            assert not text or text.startswith(("#", '"""')) or in_docstring, (line, text)
    assert {line.split("/")[0] for line in found} == {"raw_pytorch", "lightning"}
    opacity = "line => getComputedStyle(line).opacity"
    assert tab.eval_on_selector(".file .line.lit", opacity) == "1"
    assert float(tab.eval_on_selector(".file .line:not(.lit)", opacity)) < 0.5


def test_a_concern_that_is_a_file_on_one_side_and_a_flag_on_the_other_shows_both(open_page):
    tab = open_page()
    file = tab.locator("#file-early-stopping-py")
    assert file.get_attribute("open") is None
    choose(tab, "early-stop")
    assert file.get_attribute("open") is not None
    assert file.locator(".cell.raw .line.lit").count() > 20
    assert 'EarlyStopping("val/loss"' in file.locator(".cell.lightning").inner_text()


def test_pointing_at_a_concern_shows_it_for_as_long(open_page):
    tab = open_page()
    tab.hover(".concerns [data-choose=clip]")
    assert expected("clip") <= lit(tab)
    tab.hover("h2 >> nth=1")
    assert lit(tab) == set()


def test_the_keyboard_chooses_and_escape_lets_go(open_page):
    tab = open_page()
    tab.focus(".concerns [data-choose=seed]")
    for _ in range(2):
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    pressed = tab.locator(".concerns [aria-pressed=true]")
    assert pressed.get_attribute("data-choose") == "precision"
    assert expected("precision") <= lit(tab)
    assert tab.locator("#lit").inner_text().startswith("lines lit: raw_pytorch ")
    tab.keyboard.press("Escape")
    assert lit(tab) == set()


def test_a_traced_line_leads_to_who_makes_the_call_in_lightning(open_page):
    tab = open_page()
    source = (RAW / "train.py").read_text().splitlines()
    number = next(i for i, text in enumerate(source, 1) if ".backward()" in text)
    tab.click(f'[id="raw_pytorch/train.py:{number}"] a')
    target = tab.locator(":target")
    assert re.search(r"^loss.backward", target.inner_text())
    tab.click("#op-loss-backward .cell.raw a.place")
    assert tab.locator(":target").get_attribute("id") == f"raw_pytorch/train.py:{number}"


def test_a_link_into_a_folded_file_unfolds_it(open_page):
    tab = open_page()
    tab.click("#op-clip-grad-norm a.place >> nth=0")
    tab.click('#op-batch-to a.place:has-text("devices.py") >> nth=0')
    tab.wait_for_function("document.querySelector('#file-devices-py').open")
    assert tab.locator(":target").is_visible()


def test_the_page_speaks_both_languages(open_page):
    tab = open_page()
    assert "same run" in tab.inner_text("h1")
    english = tab.inner_text("main")
    speak(tab, CHINESE)
    assert tab.get_attribute("html", "lang") == CHINESE
    chinese = tab.inner_text("main")
    assert re.search(r"[\u4e00-\u9fff]", tab.inner_text("h1"))
    assert not re.search(r"[\u4e00-\u9fff]", english)
    assert "The verdict" not in chinese
    # No stop, bracket or colon of English stands after a word in Chinese.
    assert not re.findall(r"[\u4e00-\u9fff][.:;,(]", chinese)
    # What is left in English is code.
    assert "raw_pytorch" in chinese
    speak(tab, ENGLISH)
    assert tab.inner_text("main") == english


def test_a_reader_whose_browser_speaks_chinese_sees_chinese_first(open_page):
    assert open_page(locale="zh-TW").get_attribute("html", "lang") == CHINESE


def test_the_theme_follows_the_system_until_it_is_switched(open_page):
    light, dark = (open_page(color_scheme=scheme) for scheme in ("light", "dark"))
    assert background(light) != background(dark)
    light.click("button[data-theme]")
    assert background(light) == background(dark)
    light.click("button[data-theme]")
    assert background(light) != background(dark)


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_nothing_runs_over_the_side_at_any_width(open_page, width):
    tab = open_page(width)
    for language in (ENGLISH, CHINESE):
        speak(tab, language)
        tab.evaluate("for (const x of document.querySelectorAll('details')) x.open = true")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_no_line_of_code_begins_with_nothing(open_page):
    tab = open_page(360)
    # How far below the top of its line the code begins, for every line that is indented.
    drops = tab.evaluate("""[...document.querySelectorAll('.file .line code > .indent')].map(x => {
        const text = document.createRange();
        text.setStartAfter(x);
        text.setEndAfter(x.parentNode.lastChild);
        const rectangles = [...text.getClientRects()].filter((r) => r.width > 1);
        const line = x.parentNode.parentNode.getBoundingClientRect();
        return rectangles.length ? rectangles[0].top - line.top : 0;
    })""")
    assert len(drops) > 300
    assert max(drops) < 8


def test_numbers_stand_beside_their_bars_on_a_phone(open_page):
    heights = open_page(360).evaluate("""[...document.querySelectorAll('.cost td:has(.bar)')].map(
        (cell) => {
            const content = document.createRange();
            content.selectNodeContents(cell);
            return content.getBoundingClientRect().height;
        })""")
    assert len(heights) > 20
    assert max(heights) < 30


def test_on_paper_everything_is_unfolded_and_the_buttons_are_gone(open_page):
    tab = open_page()
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("details:not([open])").count() == 0
    assert not tab.locator(".settings").is_visible()
    assert not tab.locator(".concerns").is_visible()


def test_without_scripts_the_page_can_be_read(open_page):
    tab = open_page(java_script_enabled=False)
    assert tab.locator("h1").inner_text() == "The same run, twice"
    assert tab.locator('[id="raw_pytorch/train.py:1"]').is_visible()


# Each language, theme and width once. Of the same thing over and over, a few are enough: axe takes
# minutes for ten thousand coloured words.
REPEATED = ".op:nth-of-type(n+7), .pair.code:nth-of-type(n+4), .moments tr:nth-of-type(n+9)"


@pytest.mark.parametrize(
    "width, scheme, language", [(1400, "light", ENGLISH), (360, "dark", CHINESE)]
)
def test_axe_finds_no_barrier(open_page, width, scheme, language):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing").Axe
    tab = open_page(width, color_scheme=scheme, reduced_motion="reduce")
    speak(tab, language)
    tab.evaluate(f"document.querySelectorAll('{REPEATED}').forEach(x => x.remove())")
    assert tab.locator(".line").count() > 100
    found = axe().run(tab, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"], len(v["nodes"])) for v in found] == []
