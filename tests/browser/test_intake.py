"""Ways in that go wrong or come in heaps: folders, drops, lost answers, broken pictures."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.browser.conftest import Watch, accession
from tests.factories import picture

UPLOADS = "**/specimens/*/images"


def _ended(page: Page, text: str) -> None:
    expect(page.locator(".batch")).to_have_attribute("data-ended", "true", timeout=60_000)
    expect(page.locator(".batch-state")).to_have_text(text)


def _drop(page: Page, *paths: Path) -> None:
    """Drop files or folders from the desktop, as the browser's protocol does it."""
    box = page.locator("#drop").bounding_box()
    assert box is not None
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + 40, "y": box["y"] + 20}
        session.send("Input.dispatchDragEvent", {"type": kind, "data": data, **place})


def test_a_dropped_folder_is_walked_to_the_bottom(technician: Page, tmp_path: Path) -> None:
    inner = tmp_path / "smear" / "field-1" / "crops"
    inner.mkdir(parents=True)
    for number in range(3):
        (inner / f"cell-{number}.png").write_bytes(picture(1000 + number))
    (tmp_path / "smear" / "overview.png").write_bytes(picture(2000))
    (tmp_path / "smear" / ".DS_Store").write_bytes(b"litter")
    accession(technician)
    _drop(technician, tmp_path / "smear")
    _ended(technician, "4 of 4 accepted, 4 of 4 classified")
    expect(technician.locator(".batch-lines")).to_contain_text("1 system file left out")
    expect(technician.locator("#cells .tile")).to_have_count(4)


def test_a_chosen_folder_is_sent_in_parts(technician: Page, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"cell-{number}.png").write_bytes(picture(3000 + number))
    accession(technician)
    sent: list[Any] = []
    technician.on(
        "request", lambda request: sent.append(request) if request.url.endswith("/images") else None
    )
    technician.locator("#folder").set_input_files(tmp_path)
    _ended(technician, "30 of 30 accepted, 30 of 30 classified")
    expect(technician.locator(".batch-title")).to_contain_text("30 files")
    assert len(sent) == 2


def test_a_lost_answer_is_asked_for_again_and_counts_nothing_twice(
    technician: Page, watch: Watch
) -> None:
    watch.forgiven.append("ERR_FAILED")
    lost: list[int] = []

    def lose_the_first_answer(route: Route) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().status)
        route.abort()

    accession(technician)
    technician.route(UPLOADS, lose_the_first_answer)
    files = [
        {"name": f"cell-{n}.png", "mimeType": "image/png", "buffer": picture(4000 + n)}
        for n in range(3)
    ]
    technician.locator("#files").set_input_files(files)  # type: ignore[arg-type]
    _ended(technician, "0 of 3 accepted, 3 already here, 3 of 3 classified")
    assert lost == [200]
    expect(technician.locator("#cells .tile")).to_have_count(3)


def test_an_ended_session_is_said_and_not_retried(technician: Page, watch: Watch) -> None:
    watch.forgiven.append("403")
    accession(technician)
    technician.context.clear_cookies()
    files: Any = [{"name": "a.png", "mimeType": "image/png", "buffer": picture(4100)}]
    technician.locator("#files").set_input_files(files)
    expect(technician.locator(".batch-lines .lost")).to_contain_text("The session has ended.")


def test_an_ended_session_leads_to_the_login_and_back(technician: Page, watch: Watch) -> None:
    watch.forgiven.append("401")
    accession(technician)
    address = technician.url
    technician.context.clear_cookies(name="sessionid")
    files: Any = [{"name": "a.png", "mimeType": "image/png", "buffer": picture(4200)}]
    technician.locator("#files").set_input_files(files)
    technician.wait_for_url(re.compile(r"/login\?next=/specimens/\d+$"))
    assert technician.url.endswith(urlsplit(address).path)


def test_a_specimen_is_rejected_only_with_a_reason(technician: Page) -> None:
    accession(technician)
    sheet = technician.locator("dialog#reject")
    technician.get_by_role("button", name="Reject").click()
    sheet.get_by_role("button", name="Keep it").click()
    technician.get_by_role("button", name="Reject").click()
    sheet.get_by_role("button", name="Reject the specimen").click()
    expect(sheet).to_be_visible()
    sheet.get_by_label("Reason").fill("Clotted")
    sheet.get_by_role("button", name="Reject the specimen").click()
    expect(technician.get_by_text("Rejected: Clotted").first).to_be_visible()
    expect(technician.locator("#drop")).to_have_count(0)


def test_a_picture_that_cannot_be_decoded_fails_visibly_and_can_be_requeued(
    technician: Page,
) -> None:
    content = bytearray(picture(5000, size=(400, 400)))
    # The header stays whole, so that it is accepted; the pixels behind it are spoilt.
    start = content.index(b"IDAT") + 8
    content[start : start + 40] = b"\xff" * 40
    accession(technician)
    files: Any = [{"name": "spoilt.png", "mimeType": "image/png", "buffer": bytes(content)}]
    technician.locator("#files").set_input_files(files)
    _ended(technician, "1 of 1 accepted, 1 of 1 classified")
    failure = technician.locator(".failures li")
    expect(failure).to_contain_text("spoilt.png")
    expect(failure.locator(".reason")).not_to_be_empty()
    assert _keeps_the_focus_when_it_waits_again(technician)
    failure.get_by_role("button", name="Requeue").click()
    expect(technician.get_by_text("1 image queued again.")).to_be_visible()
    expect(technician.locator(".failures li")).to_have_count(1)
    expect(technician.locator(".timeline")).to_contain_text("1 image queued again")
    technician.goto("/specimens/?failed=1")
    expect(technician.locator(".row-link")).not_to_have_count(0)
    expect(technician.locator(".attention-line")).to_contain_text("failed")


def _keeps_the_focus_when_it_waits_again(page: Page) -> bool:
    """Somebody else queues the failed picture again: the link to it becomes a tile."""
    return bool(
        page.evaluate(
            """async () => {
                const app = document.querySelector("script[src$='app.js']").src;
                const { morph } = await import(app.replace("app.js", "morph.js"));
                const link = document.querySelector(".failure-name");
                const fresh = document.getElementById("live").cloneNode(true);
                const row = fresh.querySelector(".failures li");
                const tile = row.querySelector("a");
                tile.className = "tile";
                tile.innerHTML = "waiting";
                row.replaceChildren(tile);
                const failed = document.getElementById("live").cloneNode(true);
                link.focus();
                const kept = [fresh, failed].map((state) => {
                    morph(document.getElementById("live"), state);
                    return document.activeElement === link;
                });
                return kept.every(Boolean);
            }"""
        )
    )


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>.png"])
def test_a_file_name_is_shown_as_it_is(name: str, technician: Page) -> None:
    accession(technician)
    files: Any = [{"name": name, "mimeType": "image/png", "buffer": b"not a picture"}]
    technician.locator("#files").set_input_files(files)
    expect(technician.locator(".batch-lines .file")).to_contain_text("<img src=x")


def test_rows_change_in_place_while_the_worker_goes_on(
    technician: Page, pictures: list[Path]
) -> None:
    """The element of a tile, and the focus on it, outlive every refresh."""
    accession(technician)
    technician.locator("#files").set_input_files(pictures[:30])
    technician.locator("#cells .tile").first.wait_for()
    technician.evaluate(
        """() => {
            const tile = document.querySelector("#cells .tile");
            window.look = (when) => window.course.push({
                when,
                at: Math.round(performance.now()),
                revision: document.getElementById("revision").value,
                here: tile.isConnected,
                focus: document.activeElement.cloneNode().outerHTML,
                kept: document.activeElement === tile,
            });
            window.course = [];
            for (const when of ["htmx:beforeRequest", "htmx:beforeSwap", "htmx:afterSettle"]) {
                document.addEventListener(when, () => window.look(when));
            }
            tile.focus();
            window.look("focus");
        }"""
    )
    _ended(technician, "30 of 30 accepted, 30 of 30 classified")
    technician.evaluate("() => window.look('end')")
    course = technician.evaluate("() => window.course")
    assert [one for one in course if not one["kept"]] == [], course
    stops = technician.locator("#cells .tile[tabindex='0']")
    expect(stops).to_have_count(1)


def test_a_late_answer_takes_no_tile_away(technician: Page, pictures: list[Path]) -> None:
    """The poll was asked before the last picture came and is answered after it."""
    held: list[tuple[Route, APIResponse]] = []
    refreshes: list[str] = []

    def hold_the_first_news(route: Route) -> None:
        if "revision=" not in route.request.url:
            refreshes.append(route.request.url)
        elif not held:
            answer = route.fetch()
            if answer.status == 200:
                held.append((route, answer))
                return
        route.fallback()

    accession(technician)
    technician.evaluate(
        """() => {
            const tiles = () => [...document.querySelectorAll("#cells .tile")];
            let before = [];
            [window.gone, window.limits] = [0, []];
            document.addEventListener("htmx:beforeSend", (event) =>
                window.limits.push(event.detail.xhr.timeout));
            document.addEventListener("htmx:afterSwap", () => {
                window.gone += before.filter((tile) => !tile.isConnected).length;
                before = tiles();
            });
        }"""
    )
    technician.route("**/live*", hold_the_first_news)
    # A worker that is done before the page has asked once leaves nothing to poll for.
    for start in range(0, 50, 25):
        technician.locator("#files").set_input_files(pictures[start : start + 25])
        while not held and technician.locator(".batch[data-ended='false']").count():
            technician.wait_for_timeout(50)
        if held:
            break
    refreshes.clear()
    late: Any = {"name": "late.png", "mimeType": "image/png", "buffer": picture(6000)}
    technician.locator("#files").set_input_files(late)
    expect(technician.locator(".batch-state").first).to_contain_text("1 of 1 accepted")
    technician.wait_for_timeout(200)
    if refreshes:  # it did not wait for the poll
        technician.locator(".tile[title='late.png']").wait_for()
    route, answer = held[0]
    route.fulfill(response=answer)
    expect(technician.locator(".batch[data-ended='false']")).to_have_count(0)
    expect(technician.locator(".tile[title='late.png']")).to_be_visible()
    assert technician.evaluate("() => window.gone") == 0
    # One that is never answered holds the next one up, but not for ever.
    assert set(technician.evaluate("() => window.limits")) == {60_000}
