"""DICOM on the pages: dropped where it does not belong, and the list of what fits nowhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import ROOT, Service, Watch, accession
from tests.dicom.files import drawn_cell, frames_of, instance, saved


def _check(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def _import(service: Service, path: Path) -> None:
    """Bring a file in as an operator does, beside the running service."""
    subprocess.run(
        [sys.executable, "manage.py", "import_dicom", path, "--site", "demo", "--quiet"],
        cwd=ROOT,
        # The service of these tests is the embedded one, whatever the run around them uses.
        env={k: v for k, v in os.environ.items() if not k.startswith("WBCLAB_")}
        | {"WBCLAB_HOME": str(service.home)},
        check=True,
        timeout=120,
    )


def test_a_file_that_names_another_specimen_needs_a_word(technician: Page, tmp_path: Path) -> None:
    path = saved(instance(drawn_cell(), AccessionNumber="ANOTHER"), tmp_path / "odd.dcm")
    accession(technician)
    technician.locator("#files").set_input_files(path)
    line = technician.locator(".batch-lines .refused")
    expect(line).to_contain_text("It says accession number ANOTHER.")
    _check(technician)
    technician.get_by_role("button", name="Add odd.dcm all the same").click()
    expect(technician.locator(".batch-state")).to_contain_text("1 of 1 accepted", timeout=60_000)
    expect(technician.locator("#cells .tile")).to_have_count(1)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_fits_nowhere_is_assigned_by_keyboard(
    theme: str, technician: Page, service: Service, watch: Watch, tmp_path: Path
) -> None:
    watch.forgiven.append("409")  # the answer that asks for a second word
    technician.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    number = accession(technician)
    cells = [drawn_cell("Lymphocyte", 3), drawn_cell("Monocyte", 4)]
    dataset = frames_of(cells, PatientID="P-NONE", ContainerIdentifier=f"X{number}")
    _import(service, saved(dataset, tmp_path / "frames.dcm"))
    technician.goto("/")
    technician.get_by_role("link", name="without a specimen: decide").click()
    expect(technician.locator("[data-rows] tbody tr")).to_have_count(1)
    picture = technician.locator(".unmatched-picture")
    expect(picture).to_have_js_property("naturalWidth", 180)  # half of the frame
    _check(technician)
    technician.keyboard.press("j")
    technician.keyboard.press("Enter")
    expect(technician.locator(".unmatched-frames img")).to_have_count(2)
    _check(technician)
    technician.keyboard.press("d")
    expect(technician.locator("#discard")).to_be_visible()
    _check(technician)
    technician.keyboard.press("Escape")
    technician.get_by_label("To another specimen, by accession number").fill(number)
    technician.keyboard.press("Enter")
    # The patient is another one: it takes a second word.
    expect(technician.get_by_role("alert")).to_contain_text("It says patient P-NONE")
    _check(technician)
    technician.get_by_role("checkbox").check()
    technician.get_by_role("button", name="all the same").click()
    expect(technician.locator(".message.success")).to_contain_text("2 images added to specimen")
    expect(technician.locator(".empty")).to_contain_text("has found its specimen")
    _check(technician)
