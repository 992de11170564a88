"""Expected orders and held messages in the browser: readable by all, decided, and gone again."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Service, Watch
from tests.interop.hl7_golden import changed, golden
from tests.interop.hl7_listener import Listener, running_listener

ORDER = golden("orm_o01")
CANCEL = changed(golden("orm_cancel"), **{"Meyer^Eva": "Müller^Zoë"})
UNKNOWN = {"69738-3^Differential panel^LN": "DIFF^Blutbild^L", "ORM-0001": "ORM-0009",
           "ORD-77": "ORD-99"}  # fmt: skip


@pytest.fixture
def listener(service: Service) -> Iterator[Listener]:
    with running_listener(service.home) as running:
        yield running


def _check(page: Page, name: str) -> None:
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    for width in (1280, 1024, 768):
        page.set_viewport_size({"width": width, "height": 800})
        extra = page.evaluate(
            "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert extra <= 0, (name, width)
    page.set_viewport_size({"width": 1440, "height": 900})


def test_what_the_hospital_sent_is_seen_and_decided(
    listener: Listener, technician: Page, watch: Watch
) -> None:
    watch.forgiven.append("422")
    listener.exchange(ORDER)
    listener.exchange(changed(ORDER, **UNKNOWN))
    technician.goto("/")
    _check(technician, "worklist")
    technician.get_by_role("link", name="Accession ORD-77").click()
    expect(technician.get_by_role("heading", name="Accession order ORD-77")).to_be_visible()
    _check(technician, "expected")
    technician.get_by_role("link", name="1 message of hospital systems held").click()
    _check(technician, "held messages")
    technician.get_by_role("link", name="ORM-0009").click()
    _check(technician, "message")
    technician.get_by_role("button", name="Follow it").click()
    expect(technician.get_by_text("Say what the code means.")).to_be_visible()
    _check(technician, "message with an error")
    technician.get_by_label("Reason").fill("a test message")
    technician.get_by_role("button", name="Discard it").click()
    expect(technician.get_by_text("No message is held.")).to_be_visible()
    _check(technician, "nothing held")
    listener.exchange(CANCEL)
    technician.goto("/")
    expect(technician.get_by_role("heading", name="Expected")).to_have_count(0)
