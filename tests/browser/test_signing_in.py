"""Signing in with a second factor, by keyboard, and a session that ends under somebody's hands."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.authenticator import AuthenticatorApp
from tests.browser.bench_service import PASSWORD, BenchService, bench_service
from tests.browser.screenshots import shoot


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BenchService]:
    """An installation in which signers need a second factor."""
    home = tmp_path_factory.mktemp("strict")
    with bench_service(Path(home), cases=False, WBCLAB_SECOND_FACTOR="required") as running:
        yield running


@pytest.fixture
def somebody(browser: Browser, strict: BenchService) -> Iterator[Page]:
    context = browser.new_context(
        base_url=strict.url, viewport={"width": 1280, "height": 900}, locale="en-GB"
    )
    context.set_default_timeout(20_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


def _axe(page: Page, name: str) -> None:
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        found = Axe().run(page)
        assert found.violations_count == 0, f"{name}, {theme}: {found.generate_report()}"
    shoot(page, name)


def _log_in(page: Page, username: str, password: str = PASSWORD) -> None:
    """As people do it: the first field has the focus."""
    page.goto("/login")
    page.keyboard.type(username)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def test_a_pathologist_enrols_and_logs_in_by_keyboard(somebody: Page) -> None:
    page = somebody
    _log_in(page, "pathologist")
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    page.get_by_role("link", name="Set it up").press("Enter")
    app = AuthenticatorApp(re.sub(r"Key:|\s", "", page.locator("figcaption").inner_text()))
    width = "image => image.naturalWidth"
    assert page.get_by_alt_text("QR code of the key below").evaluate(width) > 200
    _axe(page, "second-factor-new")
    page.get_by_label("Code that the app shows now").focus()
    page.keyboard.type(app.code())
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your second factor is set up")).to_be_visible()
    codes = page.locator(".recovery-codes code").all_inner_texts()
    assert len(codes) == 10
    _axe(page, "recovery-codes")
    page.get_by_role("link", name="I have written them down").press("Enter")
    expect(page.get_by_role("heading", name="Worklist").first).to_be_visible()
    page.goto("/second-factor")
    expect(page.get_by_text("10 codes left")).to_be_visible()
    _axe(page, "second-factor")

    page.context.clear_cookies()
    _log_in(page, "pathologist")
    expect(page.get_by_label("Code of your authenticator app")).to_be_focused()
    page.keyboard.type("hardly-right")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("This code is not right")
    expect(page.get_by_label("Code of your authenticator app")).to_be_focused()
    _axe(page, "login-code")
    page.keyboard.type(app.code())
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Worklist").first).to_be_visible()


def test_who_guesses_is_told_for_how_long_to_wait(somebody: Page) -> None:
    for _ in range(5):
        _log_in(somebody, "second", "a guess")
    expect(somebody.get_by_role("heading", name="Locked for a while")).to_be_visible()
    expect(somebody.get_by_text("try again in 15 minutes")).to_be_visible()
    _axe(somebody, "locked-out")


def test_what_was_typed_outlives_the_session(somebody: Page) -> None:
    page = somebody
    page.clock.install()
    _log_in(page, "technician")
    page.wait_for_url("**/")
    page.goto("/specimens/new")
    page.get_by_label("Patient number").fill("P-77")
    page.context.clear_cookies(name="sessionid")
    page.clock.fast_forward("30:00")
    cover = page.locator("#session")
    expect(cover.get_by_role("heading", name="You are signed out")).to_be_visible()
    page.keyboard.press("Escape")
    expect(cover).to_be_visible()
    _axe(page, "signed-out")
    cover.get_by_role("button", name="Go on").press("Enter")
    expect(cover).to_be_visible()
    other = page.context.new_page()
    _log_in(other, "technician")
    other.wait_for_url("**/")
    cover.get_by_role("button", name="Go on").press("Enter")
    expect(cover).to_be_hidden()
    assert page.get_by_label("Patient number").input_value() == "P-77"
    # The form goes through, although the login has made another token.
    token = page.locator("[name=csrfmiddlewaretoken]").first.input_value()
    assert token in [one["value"] for one in page.context.cookies() if one["name"] == "csrftoken"]


def test_nothing_typed_means_the_login_page(somebody: Page) -> None:
    page = somebody
    page.clock.install()
    _log_in(page, "technician")
    page.wait_for_url("**/")
    page.context.clear_cookies(name="sessionid")
    page.clock.fast_forward("30:00")
    page.wait_for_url("**/login?next=/")


def test_somebody_elses_login_shows_nothing_of_the_page(somebody: Page) -> None:
    page = somebody
    page.clock.install()
    _log_in(page, "technician")
    page.wait_for_url("**/")
    page.goto("/specimens/new")
    page.get_by_label("Patient number").fill("P-78")
    page.context.clear_cookies(name="sessionid")
    page.clock.fast_forward("30:00")
    expect(page.locator("#session")).to_be_visible()
    other = page.context.new_page()
    _log_in(other, "administrator")
    page.locator("#session").get_by_role("button", name="Go on").press("Enter")
    # The administrator has to enrol first: the page is left for that.
    page.wait_for_url("**/second-factor?next=**")
