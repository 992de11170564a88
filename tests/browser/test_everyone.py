"""For everyone: no axe violation, no sideways scrolling, what was chosen is kept."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import LogIn

PAGES = {
    "worklist": "/",
    "specimens": "/specimens/",
    "accession": "/specimens/new",
    "specimen": "/specimens/1",
    "cell": "/cells/1",
    "model": "/model/",
    "password": "/password",
}


def _check(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(theme: str, page: Page, log_in: LogIn) -> None:
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    page.goto("/login")
    _check(page)
    log_in("pathologist")
    for path in PAGES.values():
        page.goto(path)
        _check(page)
    page.goto("/")
    page.locator(".user-menu summary").click()
    _check(page)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    _check(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_the_panel_and_the_sheet(theme: str, technician: Page) -> None:
    technician.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    technician.goto("/specimens/1")
    technician.locator(".tile").first.click()
    expect(technician.locator("dialog .cell-view")).to_be_visible()
    technician.keyboard.press("m")
    _check(technician)
    technician.keyboard.press("Escape")
    technician.get_by_role("button", name="Reject").click()
    expect(technician.locator("dialog#reject")).to_be_visible()
    _check(technician)
    technician.get_by_role("button", name="Keep it").click()
    expect(technician.locator("dialog#reject")).to_be_hidden()


@pytest.mark.parametrize("width", [1280, 1024, 768])
def test_no_page_scrolls_sideways(width: int, technician: Page) -> None:
    technician.set_viewport_size({"width": width, "height": 800})
    for name, path in PAGES.items():
        technician.goto(path)
        extra = technician.evaluate(
            "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert extra <= 0, name


def test_the_theme_is_chosen_and_kept(technician: Page) -> None:
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = technician.evaluate(background)
    technician.locator(".user-menu summary").click()
    technician.get_by_label("Dark").check()
    dark = technician.evaluate(background)
    assert dark != light
    technician.goto("/model/")
    assert technician.evaluate(background) == dark
    technician.locator(".user-menu summary").click()
    technician.get_by_label("System").check()
    assert technician.evaluate(background) == light


def test_the_size_of_the_thumbnails_is_kept(technician: Page) -> None:
    technician.goto("/specimens/1")
    tile = technician.locator(".tile").first
    slider = technician.get_by_label("Size of the thumbnails")
    slider.fill("144")
    large = tile.bounding_box()
    technician.reload()
    assert tile.bounding_box() == large
    expect(slider).to_have_value("144")
    assert large is not None
    assert large["width"] >= 144


def test_the_gallery_is_one_tab_stop_and_arrows_move_by_place(technician: Page) -> None:
    technician.goto("/specimens/1")
    tiles = technician.locator("#cells .tile")
    assert technician.locator("#cells .tile[tabindex='0']").count() == 1
    technician.keyboard.press("g")
    technician.keyboard.press("End")
    expect(tiles.last).to_be_focused()
    technician.keyboard.press("ArrowUp")
    above = technician.evaluate("() => document.activeElement.getBoundingClientRect().top")
    box = tiles.last.bounding_box()
    assert box is not None
    assert above < box["y"]
    technician.keyboard.press("Home")
    expect(tiles.first).to_be_focused()
    technician.keyboard.press("Tab")
    assert technician.evaluate("() => !document.activeElement.matches('.tile')")


def test_a_cell_on_its_own_page(technician: Page) -> None:
    technician.goto("/specimens/1")
    first = technician.locator(".tile").first.get_attribute("href")
    assert first is not None
    technician.goto(first)
    technician.keyboard.press("m")
    expect(technician.locator(".overlay")).to_have_attribute("visibility", "visible")
    technician.keyboard.press("ArrowRight")
    technician.wait_for_url(lambda url: not url.endswith(first))
    technician.keyboard.press("ArrowLeft")
    technician.wait_for_url(f"**{first}")
