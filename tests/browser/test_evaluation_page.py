"""The evaluation report in a real browser: accessible, self-contained, and prints."""

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.management import call_command
from playwright.sync_api import Browser

from classifier.classes import CELL_CLASSES
from classifier.synthetic import draw_cell, save_jpeg
from classifier.synthetic.no_cells import draw_without_cell


def write_report(folder: Path) -> Path:
    """A report with every part: mistakes, foreign cells, a file that cannot be read."""
    cells, others = folder / "cells", folder / "others" / "tissue"
    others.mkdir(parents=True)
    save_jpeg(draw_without_cell("tissue", 1), others / "1.jpg")
    for index, name in enumerate(CELL_CLASSES):
        (cells / name).mkdir(parents=True)
        for number in range(6):
            # One of six lies in the wrong folder.
            kind = name if number else CELL_CLASSES[(index + 1) % 5]
            save_jpeg(draw_cell(kind, number, 160), cells / name / f"{number}.jpg")
    (cells / "Basophil" / "letter.jpg").write_text("Dear colleague")
    call_command("evaluate_model", str(cells), other=[others.parent], output=folder / "out")
    return folder / "out" / "evaluation.html"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("report"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_is_loaded(
    theme: Any, report: Path, browser: Browser
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: complaints.append(request.url))
    page.goto(report.as_uri())
    assert complaints == [report.as_uri()]
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    wider = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert not wider
    assert page.locator("svg").count() == 4
    assert len(page.pdf(format="A4")) > 20_000
    page.close()
