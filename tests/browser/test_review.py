"""The review bench in a real browser: by keyboard alone, over a dropped line, two at once."""

import json
import re
import statistics
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from classifier.classes import ALL_CLASSES
from classifier.intervals import clopper_pearson
from specimens.differential import differential
from specimens.reference import Limits, judge
from tests.browser.bench_service import PASSWORD, BenchService, bench_service
from tests.browser.screenshots import shoot

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

CORRECTIONS = "xdiaprsodi"  # ten cells, eight of the classes only a person assigns


@pytest.fixture(scope="module")
def service() -> Iterator[BenchService]:
    with (
        tempfile.TemporaryDirectory(prefix="wbclab-review-") as home,
        bench_service(Path(home)) as running,
    ):
        yield running


Opens = Callable[..., Page]


@pytest.fixture(scope="module")
def sessions() -> dict[str, Any]:
    """As of the other pages; these people are of the service above."""
    return {}


@pytest.fixture
def open_case(browser: Browser, service: BenchService, sessions: dict[str, Any]) -> Iterator[Opens]:
    """Open a case as somebody, in a browser of their own; complaints fail the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def opened(accession: str, username: str = "pathologist", *, path: str = "") -> Page:
        context = browser.new_context(
            base_url=service.url, viewport={"width": 1440, "height": 900}, locale="en-GB"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())  # leaving with something unsaved
        if username in sessions:
            context.add_cookies(sessions[username])
        else:
            _log_in(page, username)
            sessions[username] = context.cookies()
        page.goto(path or service.path(accession))
        ready(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def _log_in(page: Page, username: str) -> None:
    page.goto("/login")
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/")


def ready(page: Page) -> float:
    """Wait for the bench; return after how many milliseconds it took keys."""
    bench = page.locator("#bench[data-ready]")
    bench.wait_for()
    return float(bench.get_attribute("data-ready") or "nan")


def saved(page: Page) -> None:
    expect(page.locator("#bench")).to_have_attribute("data-unsaved", "0")


def labels(page: Page) -> dict[int, str]:
    """What the server has: label by cell."""
    url = json.loads(page.locator("#bench").get_attribute("data-bench") or "")["urls"]["cells"]
    answer = page.request.get(url).json()
    return {cell["id"]: cell["label"] for cell in answer["cells"]}


def cursor(page: Page) -> int:
    return int(page.locator(".cell.cursor").get_attribute("data-id") or "0")


def reviewed(page: Page) -> str:
    return page.locator("#reviewed").inner_text()


def test_two_hundred_cells_by_keyboard_alone(open_case: Opens) -> None:
    page = open_case("R-200")
    page.evaluate(
        """() => {
          window.mouse = 0;
          for (const name of ["mousedown", "mousemove", "click", "pointerdown", "wheel"]) {
            addEventListener(name, (event) => { if (event.isTrusted && event.detail !== 0) window.mouse += 1; }, true);
          }
        }"""  # noqa: E501
    )
    press = page.keyboard.press
    press("ArrowDown")
    for key in CORRECTIONS:
        press("ArrowRight")
        press(key)
    expect(page.locator('[data-group="band_neutrophil"] .cell')).to_have_count(2)
    expect(page.locator("#per-hundred")).to_contain_text("per 100 WBC")
    saved(page)
    shoot(page, "review")
    press("Home")
    while page.locator('[data-group="unidentified"] .cell').count():
        press("n")
    # Each group in turn: what was not touched is reviewed as it stands.
    for _ in range(16):
        if reviewed(page) == "200 of 200 reviewed":
            break
        press("g")
    expect(page.locator("#reviewed")).to_have_text("200 of 200 reviewed")
    saved(page)
    assert page.evaluate("window.mouse") == 0
    stored = labels(page)
    assert len(stored) == 200
    assert all(stored.values())
    assert (
        sum(label in {"blast", "plasma_cell", "giant_platelet"} for label in stored.values()) == 3
    )
    press("Control+Enter")
    page.wait_for_url("**/sign-out")
    _tab_to(page, "Blast")
    page.keyboard.type("Dr Ward, 12:40, by telephone")
    _tab_to(page, "Password of Paula Thorne")
    page.keyboard.type(PASSWORD)
    press("Control+Enter")
    page.wait_for_url("**/reports/*")
    expect(page.get_by_text("Signed electronically by Paula Thorne")).to_be_visible()


def _tab_to(page: Page, label: str) -> None:
    """Move the focus by the Tab key alone to the field of that label."""
    wanted = page.get_by_label(label, exact=False)
    for _ in range(60):
        if wanted.evaluate("field => field === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the Tab key does not reach {label}")


def test_undo_and_redo_and_reload(open_case: Opens) -> None:
    page = open_case("R-SMALL")
    press = page.keyboard.press
    page.locator('[data-group="neutrophil"] .cell').first.focus()
    press("Home")
    press("ArrowDown")
    first = cursor(page)
    press("x")
    tile = page.locator(f'.cell[data-id="{first}"]')
    expect(page.locator(f'[data-group="blast"] .cell[data-id="{first}"]')).to_have_count(1)
    assert cursor(page) != first
    press("u")
    expect(page.locator('[data-group="blast"] .cell')).to_have_count(0)
    assert cursor(page) == first
    expect(tile).to_have_class(re.compile("unreviewed"))
    press("Shift+U")
    expect(page.locator('[data-group="blast"] .cell')).to_have_count(1)
    saved(page)
    page.reload()
    ready(page)
    expect(page.locator('[data-group="blast"] .cell')).to_have_count(1)
    press("u")  # the reload has not forgotten what was done
    expect(page.locator('[data-group="blast"] .cell')).to_have_count(0)
    saved(page)
    assert labels(page)[first] == ""


def test_selecting_and_space(open_case: Opens) -> None:
    page = open_case("R-SMALL")
    press = page.keyboard.press
    page.locator('[data-group="lymphocyte"] .cell').first.focus()
    page.locator('[data-group="lymphocyte"] .cell').first.click()
    press("Shift+ArrowRight")
    press("Shift+ArrowRight")
    expect(page.locator("#selected")).to_have_text("3 selected")
    chosen = [
        int(tile.get_attribute("data-id") or 0)
        for tile in page.locator('.cell[aria-selected="true"]').all()
    ]
    press("a")
    expect(page.locator('[data-group="atypical_lymphocyte"] .cell')).to_have_count(3)
    assert cursor(page) not in chosen
    before = cursor(page)
    press("Space")
    assert cursor(page) != before
    saved(page)
    assert labels(page)[before] == "lymphocyte"
    assert {labels(page)[pk] for pk in chosen} == {"atypical_lymphocyte"}
    # An unidentified cell is not reviewed by nodding.
    page.locator('[data-group="unidentified"] .cell').first.click()
    press("Space")
    expect(page.locator("#notes")).to_contain_text("by giving it a class")


def test_drag_and_drop_to_another_group(open_case: Opens) -> None:
    page = open_case("R-SMALL")
    page.set_viewport_size({"width": 1440, "height": 1300})  # nothing has to scroll meanwhile
    tile = page.locator('[data-group="neutrophil"] .cell').nth(2)
    dragged = int(tile.get_attribute("data-id") or 0)
    tile.drag_to(page.locator('[data-group="lymphocyte"] h3'))
    expect(page.locator(f'[data-group="lymphocyte"] .cell[data-id="{dragged}"]')).to_have_count(1)
    saved(page)
    assert labels(page)[dragged] == "lymphocyte"


def test_compare_zoom_and_map(open_case: Opens) -> None:
    page = open_case("R-200b")
    press = page.keyboard.press
    page.locator('[data-group="monocyte"] .cell').first.focus()
    page.locator('[data-group="monocyte"] .cell').first.click()
    press("Shift+ArrowRight")
    press("c")
    sheet = page.locator("#compare")
    expect(sheet).to_be_visible()
    overlays = sheet.locator(".overlay")
    expect(overlays.first).to_have_attribute("visibility", "hidden")
    press("Shift+M")
    expect(overlays.nth(1)).to_have_attribute("visibility", "visible")
    shoot(page, "compare")
    axe(page)
    press("+")
    expect(page.locator("#compare-factor")).to_have_text("1.5×")
    press("-")
    press("ArrowRight")
    right = page.locator(".compare-side.chosen")
    expect(right).to_have_attribute("data-side", "right")
    press("l")
    expect(right.locator("h3")).to_contain_text("Lymphocyte")
    press("c")
    expect(sheet).to_be_hidden()
    press("z")
    expect(page.locator("#large")).to_be_visible()
    axe(page)
    title = page.locator("#large-title").inner_text()
    press("ArrowLeft")
    expect(page.locator("#large-title")).not_to_have_text(title)
    press("z")
    expect(page.locator("#large")).to_be_hidden()
    expect(page.locator(".cell.cursor")).to_be_focused()


def test_the_filter(open_case: Opens) -> None:
    page = open_case("R-500")
    page.keyboard.press("/")
    page.keyboard.type("mono <90")
    shown = page.locator(".cell:visible")
    assert 0 < shown.count() < 40
    page.keyboard.press("Enter")
    expect(page.locator(".cell.cursor")).to_be_focused()
    assert page.locator(".cell.cursor .code").inner_text().startswith("MON")
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    expect(page.locator(".cell")).to_have_count(500)


def test_a_dropped_line_loses_nothing(open_case: Opens) -> None:
    page = open_case("R-200b")
    press = page.keyboard.press
    down = "**/reviews"

    def refuse(route: Route) -> None:
        route.abort()

    page.route(down, refuse)
    page.locator('[data-group="neutrophil"] .cell').nth(5).focus()
    page.locator('[data-group="neutrophil"] .cell').nth(5).click()
    chosen = []
    for key in "xdi":
        chosen.append(cursor(page))
        press(key)
    tag = page.locator("#unsaved")
    expect(tag).to_contain_text("3 not saved yet: no connection")
    assert labels(page)[chosen[0]] == ""
    page.reload()  # in the middle of it
    ready(page)
    expect(page.locator(f'[data-group="blast"] .cell[data-id="{chosen[0]}"]')).to_have_count(1)
    expect(tag).to_contain_text("3 not saved yet")
    page.unroute(down, refuse)
    page.evaluate("window.dispatchEvent(new Event('online'))")
    saved(page)
    expect(tag).to_be_hidden()
    stored = labels(page)
    assert [stored[pk] for pk in chosen] == ["blast", "band_neutrophil", "immature_granulocyte"]


def test_an_answer_that_got_lost_is_no_conflict(open_case: Opens) -> None:
    page = open_case("R-200b")
    lost = []

    def swallow(route: Route) -> None:
        route.fetch()  # it arrives, and nobody hears of it
        lost.append(route.request.url)
        route.abort()

    page.route("**/reviews", swallow, times=1)
    page.locator('[data-group="neutrophil"] .cell').nth(9).click()
    first = cursor(page)
    page.keyboard.press("p")
    page.keyboard.press("u")
    page.evaluate("window.dispatchEvent(new Event('online'))")
    saved(page)
    assert lost
    assert labels(page)[first] == ""
    assert page.locator(".choice-line").count() == 0


def test_two_reviewers_at_once(open_case: Opens) -> None:
    mine, theirs = open_case("R-PAIR"), open_case("R-PAIR", "second")
    tiles = '[data-group="neutrophil"] .cell'
    mine.locator(tiles).nth(1).click()
    here = cursor(mine)
    # Their change appears with initials, and the cursor stays.
    other = int(theirs.locator(tiles).nth(4).get_attribute("data-id") or 0)
    theirs.locator(f'.cell[data-id="{other}"]').click()
    theirs.keyboard.press("x")
    moved = mine.locator(f'[data-group="blast"] .cell[data-id="{other}"]')
    expect(moved.locator(".by")).to_have_text("SO")
    assert cursor(mine) == here
    # Both decide on one cell while the news is held up: who is slower is asked.
    mine.route("**/cells.json?since=*", lambda route: route.abort())
    theirs.locator(f'.cell[data-id="{here}"]').click()
    theirs.keyboard.press("i")
    saved(theirs)
    mine.keyboard.press("d")
    line = mine.locator(f'[data-note="cell-{here}"]')
    expect(line).to_contain_text("Samuel Okafor set")
    expect(
        mine.locator(f'[data-group="immature_granulocyte"] .cell[data-id="{here}"]')
    ).to_have_count(1)
    line.get_by_role("button", name="Set band neutrophil again").click()
    saved(mine)
    assert labels(mine)[here] == "band_neutrophil"
    expect(theirs.locator(f'[data-group="band_neutrophil"] .cell[data-id="{here}"]')).to_have_count(
        1
    )


def test_comments_and_class_keys(open_case: Opens) -> None:
    page = open_case("R-PAIR", "technician")
    page.locator('[data-group="lymphocyte"] .cell').first.click()
    page.keyboard.press("t")
    page.keyboard.type("Reactive?")
    axe(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#detail-comments")).to_contain_text("Reactive?")
    expect(page.locator(".cell.commented")).to_have_count(1)
    page.get_by_role("button", name="Change").click()
    field = page.locator("#key-blast")
    field.fill("n")
    page.get_by_role("button", name="Keep these keys").click()
    expect(page.locator("#hotkeys-error")).to_contain_text("taken by the page itself")
    axe(page)
    field.fill("k")
    page.get_by_role("button", name="Keep these keys").click()
    expect(page.locator("#legend")).to_contain_text("k")
    page.reload()
    ready(page)
    first = cursor(page)
    page.keyboard.press("k")
    expect(page.locator(f'[data-group="blast"] .cell[data-id="{first}"]')).to_have_count(1)
    saved(page)


def test_a_blinded_read_in_the_same_gallery(open_case: Opens, service: BenchService) -> None:
    case = service.cases["R-READ"]
    first = open_case("R-READ", "technician")
    for _ in range(8):
        first.keyboard.press("g")
    first.locator('[data-group="lymphocyte"] .cell').first.click()
    first.keyboard.press("x")
    saved(first)
    page = first.context.browser.new_context(base_url=service.url).new_page()  # type: ignore[union-attr]
    page.goto("/login")
    page.get_by_label("User name").fill("second")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.goto(f"/specimens/{case}/second-read")
    page.get_by_role("button", name="Start the blinded read").click()
    ready(page)
    expect(page.locator('[data-group="blast"] .cell')).to_have_count(0)
    assert reviewed(page).startswith("0 of")
    while page.locator('[data-group="unidentified"] .cell').count():
        page.keyboard.press("n")
    for _ in range(8):
        page.keyboard.press("g")
    saved(page)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Cohen’s kappa")).to_be_visible()
    axe(page)
    page.context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(open_case: Opens, theme: Any) -> None:
    page = open_case("R-SMALL")
    page.emulate_media(color_scheme=theme)
    axe(page)
    page.keyboard.press("?")
    axe(page)
    page.goto("/review/")
    axe(page)
    shoot(page, "review-queue")
    page.keyboard.press("j")
    page.keyboard.press("h")
    expect(page.locator("#hand-over")).to_be_visible()
    axe(page)


@pytest.mark.parametrize("width", [1280, 1024])
def test_nothing_scrolls_sideways(open_case: Opens, width: int) -> None:
    page = open_case("R-200b")
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")


def axe(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_arithmetic_of_the_page_is_the_servers(open_case: Opens) -> None:
    """Counts at random and at the edges: the same texts and flags, the same limits within 1e-9."""
    page = open_case("R-SMALL")
    cases = _counts()
    wbc = ["7.20", None, "0.05", "431.70"]
    answers = page.evaluate(
        """async ([cases, wbc]) => {
          const { differential } = await import("/static/js/review/arithmetic.js");
          const { classes } = JSON.parse(document.getElementById("bench").dataset.bench);
          return cases.map((counts, i) => differential(new Map(Object.entries(counts)), classes, wbc[i % 4]));
        }""",  # noqa: E501
        [cases, wbc],
    )
    for i, (counts, answer) in enumerate(zip(cases, answers, strict=True)):
        given = wbc[i % 4]
        held = differential(counts, None if given is None else Decimal(given))
        assert answer["counted"] == held.counted
        assert answer["unidentified"] == held.unidentified
        assert [(r["key"], r["count"]) for r in answer["rows"]] == [
            (r.cell_class.key, r.count) for r in held.rows
        ]
        for row, expected in zip(answer["rows"], held.rows, strict=True):
            assert Decimal(row["percent"]) == expected.percent
            assert row["absolute"] == (
                None if expected.absolute is None else str(expected.absolute)
            )
            assert row["lower"] == pytest.approx(expected.lower, abs=1e-9)
            assert row["upper"] == pytest.approx(expected.upper, abs=1e-9)
        assert [(r["key"], r["per100"]) for r in answer["nonWbc"]] == [
            (r.cell_class.key, None if r.per_100_wbc is None else str(r.per_100_wbc))
            for r in held.non_wbc
        ]


def test_limits_and_flags_of_the_page_are_the_servers(open_case: Opens) -> None:
    page = open_case("R-SMALL")
    pairs = [(k, n) for n in (1, 7, 100, 200, 400, 1000) for k in {0, 1, n // 20, n // 2, n - 1, n}]
    limits = {"low": "40.00", "high": "80.00", "critical_low": None, "critical_high": "95.50"}
    values = ["0.0", "39.9", "40.0", "80.0", "80.1", "95.5", "95.6", "100.0"]
    shown, flags = page.evaluate(
        """async ([pairs, values, limits]) => {
          const { clopperPearson, judge, hundredths } = await import("/static/js/review/arithmetic.js");
          return [pairs.map(([k, n]) => clopperPearson(k, n)), values.map((v) => judge(hundredths(v), limits))];
        }""",  # noqa: E501
        [pairs, values, limits],
    )
    for (k, n), found in zip(pairs, shown, strict=True):
        assert found == pytest.approx(clopper_pearson(k, n), abs=1e-11)
    given = Limits(Decimal("40.00"), Decimal("80.00"), None, Decimal("95.50"))
    assert flags == [judge(Decimal(value), given).value for value in values]


def _counts() -> list[dict[str, int]]:
    import random

    chance = random.Random(4)
    keys = [one.key for one in ALL_CLASSES]
    edges: list[dict[str, int]] = [{}, {"neutrophil": 1}, {"erythroblast": 3}]
    edges += [{"neutrophil": 1, "lymphocyte": 1, "monocyte": 1}, dict.fromkeys(keys, 1)]
    drawn = [
        {key: chance.choice([0, 0, 1, 2, 5, 30, 117]) for key in chance.sample(keys, 8)}
        for _ in range(200)
    ]
    return edges + drawn


TIMER = """() => {
  window.times = [];
  addEventListener("keydown", (event) => {
    const pressed = event.timeStamp;
    // The next frame shows the change; a task posted from it runs after it is painted.
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => window.times.push(performance.now() - pressed);
      port2.postMessage(null);
    });
  }, true);
}"""


def test_five_hundred_cells_are_fast(
    open_case: Opens, record_property: Callable[[str, object], None]
) -> None:
    """Measures; the figures are printed and kept with the results, not asserted."""
    page = open_case("R-500")
    interactive = []
    for _ in range(3):
        page.reload()
        interactive.append(ready(page))
    page.wait_for_load_state("networkidle")
    page.evaluate(TIMER)
    for key in "xdiaprsofnlmebxdiaprsofnlmeb":
        page.keyboard.press(key)
        page.wait_for_timeout(60)
    for key in ("Space", "ArrowDown", "ArrowRight", "u") * 6:
        page.keyboard.press(key)
        page.wait_for_timeout(60)
    times = sorted(page.evaluate("window.times"))
    saved(page)
    figures = {
        "cells": page.locator(".cell").count(),
        "keys": len(times),
        "key_to_visible_median_ms": round(statistics.median(times), 1),
        "key_to_visible_p95_ms": round(times[int(0.95 * len(times))], 1),
        "interactive_ms": [round(value) for value in interactive],
    }
    print(json.dumps(figures))  # noqa: T201
    record_property("review_500_cells", json.dumps(figures))
    assert figures["cells"] == 500
    assert len(times) == 52
