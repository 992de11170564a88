"""From the sign-out sheet to the amended report in a real browser, and two who sign at once."""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.bench_service import PASSWORD, BenchService, bench_service
from tests.browser.screenshots import shoot

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

# Gives every cell of the case its proposed class, the abstentions one of their own.
_REVIEW_ALL = """
async ([path, abstentions]) => {
  const token = document.cookie.match(/csrftoken=([^;]+)/)[1];
  const bench = await (await fetch(`${path}/cells.json`)).json();
  const decisions = bench.cells.map((cell) => {
    const now = cell.label || cell.proposed;
    const label = now === "unidentified" ? abstentions : now;
    return { cell: cell.id, label, revision: cell.revision };
  });
  const headers = { "Content-Type": "application/json", "X-CSRFToken": token };
  const body = JSON.stringify({ decisions });
  const answer = await fetch(`${path}/reviews`, { method: "POST", headers, body });
  return [answer.status, (await answer.text()).slice(0, 300)];
}
"""


@pytest.fixture(scope="module")
def service() -> Iterator[BenchService]:
    with (
        tempfile.TemporaryDirectory(prefix="wbclab-signing-") as home,
        bench_service(Path(home)) as running,
    ):
        yield running


Opens = Callable[[str], Page]


@pytest.fixture
def log_in(browser: Browser, service: BenchService) -> Iterator[Opens]:
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def opened(username: str) -> Page:
        context = browser.new_context(
            base_url=service.url, viewport={"width": 1280, "height": 1000}, locale="en-GB"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto("/login")
        page.get_by_label("User name").fill(username)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def _review(page: Page, specimen: int, abstentions: str = "monocyte") -> None:
    page.goto(f"/specimens/{specimen}/label".removesuffix("/label"))
    status, text = page.evaluate(_REVIEW_ALL, [f"/specimens/{specimen}", abstentions])
    assert status == 200, text


def _is_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, json.dumps(found.response["violations"], indent=1)[:3000]
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert page.evaluate(wide) is False


def test_a_case_is_signed_reported_and_amended(log_in: Opens, service: BenchService) -> None:
    case = service.cases["R-200"]
    page = log_in("pathologist")
    page.goto(f"/specimens/{case}/sign-out")
    expect(page.get_by_text("Still missing")).to_be_visible()
    _is_accessible(page)
    _review(page, case, abstentions="blast")
    page.goto(f"/specimens/{case}/sign-out")
    expect(page.get_by_role("button", name="Sign")).to_be_visible()
    _is_accessible(page)
    shoot(page, "sign-out")
    page.get_by_label("Password of Paula Thorne").fill("wrong")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was signed.")
    _is_accessible(page)
    page.get_by_label("Blast").fill("Dr Ward, 12:40, by telephone")
    page.get_by_label("Password of Paula Thorne").fill(PASSWORD)
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/reports/*")
    _is_accessible(page)
    first = page.url
    page.get_by_role("button", name="Amend").click()
    page.get_by_label("Reason").fill("Blasts were atypical lymphocytes on second look.")
    _is_accessible(page)
    page.get_by_label("Password of Paula Thorne").fill(PASSWORD)
    page.get_by_role("button", name="Amend the report").click()
    page.wait_for_url("**/review")
    status, text = page.evaluate(
        _REVIEW_ALL.replace('now === "unidentified"', 'now === "blast"'),
        [f"/specimens/{case}", "atypical_lymphocyte"],
    )
    assert status == 200, text
    page.goto(f"/specimens/{case}/sign-out")
    page.get_by_label("Password of Paula Thorne").fill(PASSWORD)
    page.get_by_role("button", name="Sign").click()
    page.wait_for_url("**/reports/*")
    expect(page.get_by_role("heading", name="Amended report")).to_be_visible()
    _is_accessible(page)
    page.set_viewport_size({"width": 1280, "height": 1400})
    shoot(page, "report")
    page.goto(first)
    expect(page.get_by_text("Superseded. Do not use this version.")).to_be_visible()
    _is_accessible(page)


def test_of_two_who_sign_at_once_one_gets_a_choice(log_in: Opens, service: BenchService) -> None:
    case = service.cases["R-200b"]
    first, second = log_in("pathologist"), log_in("second")
    _review(first, case)
    for page, name in ((first, "Paula Thorne"), (second, "Samuel Okafor")):
        page.goto(f"/specimens/{case}/sign-out")
        page.get_by_label(f"Password of {name}").fill(PASSWORD)
    first.get_by_role("button", name="Sign").click()
    first.wait_for_url("**/reports/*")
    with second.expect_response("**/sign-out") as answer:
        second.get_by_role("button", name="Sign").click()
    assert answer.value.status == 409
    expect(second.get_by_role("alert")).to_contain_text("signed already")
    _is_accessible(second)
    second.get_by_role("link", name="Open report version 1").click()
    second.wait_for_url("**/reports/*")


def test_the_audit_trail_and_saved_views(log_in: Opens, service: BenchService) -> None:
    page = log_in("administrator")
    page.goto("/audit/")
    _is_accessible(page)
    shoot(page, "audit")
    page.get_by_label("Act").fill("specimen.viewed")
    page.get_by_role("button", name="Filter").click()
    _is_accessible(page)
    page.goto("/?priority=stat")
    page.get_by_label("Save these filters as").fill("Urgent")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="Urgent")).to_be_visible()
    _is_accessible(page)
