"""The main job on one page after the other: from the login to the map over a classified cell."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import SPECIMEN, LogIn, Watch, accession
from tests.browser.screenshots import shoot

WORKLIST = [
    ("Abara", "Chidi", "1984-02-11", "M", "Routine", "Ward 2A"),
    ("Bergström", "Elsa", "1947-09-30", "F", "STAT", "Emergency"),
    ("Costa", "Inês", "1992-06-05", "F", "Routine", "Dr. Almeida"),
    ("Dupont", "Rémy", "1971-12-19", "M", "Routine", "Ward 4B"),
    ("Eze", "Adaeze", "2019-03-27", "F", "STAT", "Paediatrics"),
    ("Fischer", "Jonas", "1958-08-14", "M", "Routine", "Oncology"),
    ("García", "Lucía", "1966-01-08", "F", "Routine", "Ward 2A"),
    ("Hansen", "Mads", "1939-05-22", "M", "Routine", "Dr. Holm"),
]
HAVE_IMAGES = {"Bergström": 12, "Costa": 9, "Eze": 20, "Hansen": 20}


def test_from_login_to_the_map_over_a_cell(
    log_in: LogIn, pictures: list[Path], tmp_path: Path
) -> None:
    page = log_in()
    accession(
        page,
        identifier="4711",
        family_name="Lindqvist",
        given_name="Maja",
        birth_date="1961-04-17",
        sex="F",
        wbc_count="7.2",
        requester="Ward 4B",
        priority="STAT",
    )
    expect(page.get_by_text("accessioned. Add its cell images.")).to_be_visible()
    expect(page.get_by_text("No cell images yet.")).to_be_visible()
    _bring(page, pictures, tmp_path)
    _look_at_the_gallery(page)
    _look_at_a_cell(page)


def _bring(page: Page, pictures: list[Path], tmp_path: Path) -> None:
    """Choose fifty pictures and two files that are none; watch them arrive and be classified."""
    note, cut = tmp_path / "notes.jpg", tmp_path / "cut-off.jpg"
    note.write_text("Not a picture.")
    cut.write_bytes(pictures[0].read_bytes()[:6000])
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add images").click()
    chooser.value.set_files([*pictures, note, cut])
    batch = page.locator(".batch")
    expect(batch.locator(".batch-title")).to_have_text("52 files")
    expect(page.locator(".tile .confidence").first).to_be_visible(timeout=60_000)
    with _held(page):
        shoot(page, "specimen-import")
    expect(batch).to_have_attribute("data-ended", "true", timeout=60_000)
    expect(batch.locator(".batch-state")).to_have_text(
        "50 of 52 accepted, 2 refused, 50 of 50 classified"
    )
    refused = batch.locator(".refused")
    expect(refused).to_have_count(2)
    expect(refused.filter(has_text="notes.jpg")).to_contain_text("is not an image")
    expect(refused.filter(has_text="cut-off.jpg")).to_contain_text("cut off")
    expect(batch.get_by_text("Accepted: JPEG, PNG")).to_be_visible()
    batch.get_by_role("button", name="Dismiss").click()
    expect(batch).to_have_count(0)


@contextmanager
def _held(page: Page) -> Iterator[None]:
    """Keep the page as it is for a moment: the refresh is answered afterwards."""
    held: list[Route] = []
    page.route("**/live*", lambda route: held.append(route))
    yield
    for route in held:
        route.continue_()
    page.unroute("**/live*")


def _look_at_the_gallery(page: Page) -> None:
    """Fifty tiles in groups, a differential of what was counted, the course of the specimen."""
    expect(page.locator("#cells .tile")).to_have_count(50)
    expect(page.get_by_text("50 of 50 classified")).to_be_visible()
    expect(page.locator(".timeline")).to_contain_text("Classified by the model")
    expect(
        page.get_by_text("Preliminary: machine pre-classification, not verified")
    ).to_be_visible()
    codes = page.locator(".tile .code").all_inner_texts()
    unidentified = sum(code.startswith("UNI") for code in codes)
    apart = page.locator(".case-counts .apart dd").first.inner_text()
    assert apart.split()[0] == str(unidentified)
    certainties = page.locator("#group-neutrophil .confidence").all_inner_texts()
    numbers = [int(re.sub(r"\D", "", text)) for text in certainties]
    assert numbers == sorted(numbers)
    assert not page.locator('[hx-trigger="every 800ms"]').count()
    page.reload()
    expect(page.locator("#cells .tile")).to_have_count(50)
    shoot(page, "specimen")


def _look_at_a_cell(page: Page) -> None:
    """By keyboard alone: to a tile, into it, its map, zoom, the next cell, and back to its tile."""
    page.keyboard.press("g")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#cells .tile").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    view = page.locator("dialog .cell-view")
    expect(view).to_be_visible()
    expect(view.get_by_text("cell 2 of 50")).to_be_visible()
    overlay = view.locator(".overlay")
    expect(overlay).to_have_attribute("visibility", "hidden")
    page.keyboard.press("m")
    expect(overlay).to_have_attribute("visibility", "visible")
    shoot(page, "cell")
    expect(view.locator(".probabilities tr")).to_have_count(5)
    page.keyboard.press("z")
    expect(view.locator("[data-zoom-factor]")).to_have_text(re.compile("^2"))
    page.keyboard.press("z")
    page.keyboard.press("z")
    expect(view.locator("[data-zoom-factor]")).to_have_text(re.compile("^1"))
    page.keyboard.press("ArrowRight")
    expect(view.get_by_text("cell 3 of 50")).to_be_visible()
    expect(overlay).to_have_attribute("visibility", "visible")
    page.keyboard.press("m")
    expect(overlay).to_have_attribute("visibility", "hidden")
    page.keyboard.press("Escape")
    expect(view).to_have_count(0)
    expect(page.locator("#cells .tile").nth(2)).to_be_focused()


def test_the_demo_specimen_is_classified_and_labelled(technician: Page) -> None:
    technician.locator("#search").fill("DEMO-0001")
    technician.keyboard.press("Enter")
    technician.wait_for_url(SPECIMEN)
    expect(technician.get_by_text("Synthetic cells, drawn by wbclab")).to_be_visible()
    expect(technician.get_by_text("100 of 100 classified")).to_be_visible(timeout=60_000)


def test_the_worklist_by_keyboard(technician: Page, pictures: list[Path]) -> None:
    """Fills the list, then walks, filters and searches it without a mouse."""
    page = technician
    for family_name, given_name, birth_date, sex, priority, requester in WORKLIST:
        number = accession(
            page,
            family_name=family_name,
            given_name=given_name,
            birth_date=birth_date,
            sex=sex,
            priority=priority,
            requester=requester,
        )
        if family_name in HAVE_IMAGES:
            page.locator("#files").set_input_files(pictures[: HAVE_IMAGES[family_name]])
            expect(page.locator("#cells .tile").first).to_be_visible()
    page.goto("/specimens/new")
    page.locator("#id_identifier").fill("P-20817")
    page.locator("#id_family_name").fill("Iversen")
    page.locator("#id_given_name").fill("Liv")
    shoot(page, "accession")
    page.goto("/")
    links = page.locator(".row-link")
    page.keyboard.press("j")
    expect(links.first).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(links.nth(1)).to_be_focused()
    shoot(page, "worklist")
    first = page.locator("tbody tr").first
    expect(first).to_contain_text("STAT")
    page.keyboard.press("f")
    expect(page.locator("#filter-text")).to_be_focused()
    page.keyboard.type("hansen")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=hansen*")
    expect(links).to_have_count(1)
    page.get_by_role("link", name="Clear").click()
    page.get_by_role("link", name="STAT", exact=True).click()
    page.wait_for_url("**priority=stat")
    assert links.count() >= 2
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type(number)
    page.keyboard.press("Enter")
    page.wait_for_url(SPECIMEN)
    expect(page.get_by_role("heading", level=1)).to_have_text(number)


def test_what_is_wrong_stands_beside_its_field(technician: Page, watch: Watch) -> None:
    watch.forgiven += ["422", "409"]
    page = technician
    accession(page, identifier="P-same", family_name="Novak", given_name="Petr")
    page.goto("/specimens/new")
    page.locator("#id_identifier").fill("P-same")
    page.get_by_role("button", name="Accession").click()
    expect(page.get_by_text("Type the family name.")).to_be_visible()
    expect(page.locator("#id_identifier")).to_have_value("P-same")
    expect(page.locator("#id_family_name")).to_be_focused()
    page.keyboard.type("Somebody Else")
    page.keyboard.press("Enter")
    expect(page.get_by_text("belongs to another record")).to_be_visible()
    expect(page.get_by_role("cell", name="Novak")).to_be_visible()
    # Enter in a field sends the form as it is: it never agrees to the other record.
    page.locator("#id_family_name").press("Enter")
    expect(page.get_by_role("cell", name="Somebody Else")).to_be_visible()
    page.get_by_role("button", name="use the registered data").click()
    page.wait_for_url(SPECIMEN)
    expect(page.locator(".case-strip")).to_contain_text("Novak, Petr")


def test_the_model_page(technician: Page) -> None:
    technician.get_by_role("link", name="Quality").click()
    expect(technician.get_by_role("heading", name="Model in use")).to_be_visible()
    expect(technician.locator(".tag.done")).to_have_text("now")
    shoot(technician, "model")


def test_login_is_refused_and_left_again(page: Page, log_in: LogIn) -> None:
    page.goto("/login?next=/model/")
    expect(page.get_by_text("Log in to go on.")).to_be_visible()
    page.get_by_label("User name").fill("technician")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("do not match")
    shoot(page, "login")
    log_in("administrator")
    page.locator(".user-menu summary").click()
    expect(page.get_by_text("Administrator", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Administration")).to_be_visible()
    expect(page.get_by_text("Demo laboratory")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto("/")
    page.wait_for_url("**/login?next=/")
