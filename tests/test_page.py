"""The page of the released results in a headless Chromium: it loads alone, fits screens, and works by keyboard."""

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.lib.page.test_write_page import rank_page, topic_page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skipped where it is absent, unless CI_BROWSER is set."""
    path = shutil.which("chromium")
    if path is None and not os.environ.get("CI_BROWSER"):
        pytest.skip("chromium is absent (apt install chromium)")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def index(published: Path) -> Path:
    return published / "results/published/index.html"


@pytest.fixture(params=[1280, 390])
def page(browser: Browser, index: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page at two widths in pixels."""
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    page.goto(index.as_uri())
    yield page
    page.close()


def test_it_loads_nothing_and_reports_no_error(browser: Browser, index: Path) -> None:
    said: list[str] = []
    asked: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(index.as_uri())
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [index.as_uri()]
    assert index.stat().st_size < 5e6
    page.close()


def test_it_fits_the_screen(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth")


def test_every_figure_is_visible_and_not_blank(page: Page) -> None:
    figures = page.locator("figure img").all()
    assert len(figures) == 12
    for figure in figures:
        with Image.open(io.BytesIO(figure.screenshot())) as image:
            grey = np.asarray(image.convert("L"))
        assert min(grey.shape) > 150 and 0.002 < (grey < 200).mean() < 0.9, figure.get_attribute("alt")


def test_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("kind", ["rank", "transfer"])
def test_pages_of_topics(browser: Browser, tmp_path: Path, kind: str) -> None:
    path = rank_page(tmp_path, ["eyes", "hearts"]) if kind == "rank" else topic_page(tmp_path)
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert all(page.locator("figure img").evaluate_all("images => images.map(image => image.naturalWidth > 0)"))
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.close()


def focus(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def rows(page: Page, column: int) -> list[str]:
    """The visible cells of a column of the ranking."""
    return page.locator(f"#ranking tbody tr:not([hidden]) td:nth-child({column})").all_inner_texts()


def test_filters_and_sorting_by_keyboard(page: Page) -> None:
    assert len(rows(page, 1)) == 3 + 21 + 7 + 33, "the confidence sets"
    focus(page, ".controls[data-for=ranking] select")
    page.keyboard.press("ArrowDown")
    assert set(rows(page, 1)) == {"ACDC"} and set(rows(page, 8)) == {"yes"}
    focus(page, ".controls[data-for=ranking] label:last-of-type select")
    page.keyboard.press("Home")
    assert set(rows(page, 1)) == {"ACDC"} and set(rows(page, 8)) == {"yes", "no"}
    assert page.locator(".controls[data-for=ranking] output").inner_text() == "114 of 342 rows"
    focus(page, "#ranking th:nth-child(7) button")
    for order, reverse in [("ascending", False), ("descending", True)]:
        page.keyboard.press("Enter")
        assert page.locator("#ranking th:nth-child(7)").get_attribute("aria-sort") == order
        dice = [float(text.split()[0]) for text in rows(page, 7)]
        assert dice == sorted(dice, reverse=reverse) and len(set(dice)) > 50


def test_all_rows_are_there_without_scripts(browser: Browser, index: Path) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(index.as_uri())
    assert len(rows(page, 1)) == 342
    page.context.close()
