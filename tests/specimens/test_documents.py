"""Reports and labels on paper: what they say, on how many pages, readable by a scanner."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from reportlab.pdfgen.canvas import Canvas

from specimens.documents.changes import report_changes
from specimens.documents.datamatrix import DataMatrix, ascii_codewords
from specimens.documents.label import code_128, specimen_label
from specimens.documents.report_pdf import report_pdf
from tests.counterparts import require
from tests.reports import COUNTS, MANY, comment, content, sheet

LONG_NAME = (
    "Wolfeschlegelsteinhausenbergerdorffwelchevoralternwarengewissenhaftschaferswessenschafe"
)


def _text(tmp_path: Path, shown: Any, paper: str = "a4") -> str:
    require("pdftotext")
    file = tmp_path / "report.pdf"
    file.write_bytes(report_pdf(shown, paper=paper, pictures={}))
    done = subprocess.run(
        ["pdftotext", "-layout", file, "-"], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("paper", ["a4", "letter"])
def test_one_page_holds_an_ordinary_report(tmp_path: Path, paper: str) -> None:
    text = _text(tmp_path, sheet(content(comments=[comment("Platelets adequate.")])), paper)
    for wanted in ("Müller-Ødegård, Erika", "P0004711", "261122-001", "1970-01-02 (56 years)",
                   "50.7–70.6", "40–80", "4.39", "Platelets adequate.", "Page 1 of 1",
                   "Signed electronically by Paul Pathologist (paul), 2026-11-22 09:15 UTC",
                   "For research and assistance", "dm-fnet 1.0"):  # fmt: skip
        assert wanted in text, wanted


def test_documents_are_made_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """reportlab's own tables are filled by whoever comes first, without a lock."""
    inside: list[Canvas] = []
    most: list[int] = []
    save = Canvas.save

    def slowly(canvas: Canvas) -> None:
        inside.append(canvas)
        most.append(len(inside))
        time.sleep(0.02)
        save(canvas)
        inside.remove(canvas)

    monkeypatch.setattr(Canvas, "save", slowly)
    with ThreadPoolExecutor(6) as pool:
        reports = [
            pool.submit(report_pdf, sheet(content()), paper="a4", pictures={}) for _ in range(3)
        ]
        labels = [pool.submit(_label, "1") for _ in range(3)]
    assert len({made.result() for made in reports}) == len({made.result() for made in labels}) == 1
    assert most == [1] * 6


@pytest.mark.parametrize("name", ["Čapek", "Őri", "Şahin", "Łukasz", "Παπαδοπούλου", "Дмитриева"])
def test_names_are_printed_as_they_are_written(tmp_path: Path, name: str) -> None:
    shown = content()
    shown["patient"]["family_name"] = name
    assert name in _text(tmp_path, sheet(shown))


def test_an_amended_report_says_so_at_the_top(tmp_path: Path) -> None:
    before = content()
    after = content(MANY, version=2, amendment_reason="Blasts seen.")
    text = _text(tmp_path, sheet(after, before))
    assert "amended (version 2)" in text
    assert text.index("It replaces version 1. Reason: Blasts seen.") < text.index("P0004711")
    assert "Blast was: –; now: 1.7 %, n = 2, 0.12 × 10⁹/L, percent critical high" in text
    assert "HH" in text


def test_twenty_comments_go_over_pages_that_name_the_patient(tmp_path: Path) -> None:
    many = [comment(f"{n}. Toxic granulation and Döhle bodies. " * 4) for n in range(20)]
    shown = content(MANY, comments=many)
    shown["patient"]["family_name"] = LONG_NAME
    text = _text(tmp_path, sheet(shown), "letter")
    pages = text.rstrip("\f").split("\f")
    assert len(pages) > 1
    for number, page in enumerate(pages, start=1):
        assert f"Page {number} of {len(pages)}" in page
        assert "P0004711" in page
    assert all(f"{n}. Toxic" in text for n in range(20))


def test_markup_in_a_comment_is_text(tmp_path: Path) -> None:
    text = _text(tmp_path, sheet(content(comments=[comment("<b>a</b> & <font size=99>b")])))
    assert "<b>a</b> & <font size=99>b" in text


def test_without_a_wbc_count_there_are_no_absolute_columns(tmp_path: Path) -> None:
    text = _text(tmp_path, sheet(content(wbc_count=None)))
    assert "not given" in text
    assert "10⁹/L" not in text


def test_the_same_report_is_the_same_file() -> None:
    first, second = (report_pdf(sheet(content()), pictures={}) for _ in range(2))
    assert first == second


def test_what_did_not_change_is_not_listed() -> None:
    assert report_changes(content(), content(version=2)) == []
    (change,) = report_changes(content(), content(comments=[comment("New.")]))
    assert (change.what, change.before, change.after) == ("Comment", "", "New.")
    counts = COUNTS | {"erythroblast": 3}
    (change,) = report_changes(content(), content(counts))
    assert (change.what, change.after) == ("Erythroblast", "3.0 per 100 WBC, n = 3")


# --- labels ---------------------------------------------------------------------------------------
NUMBERS = ["261122-001", "A000123", "1", "abc.DEF_g/h-9", "20261122000123456789"]


def _label(number: str) -> bytes:
    return specimen_label(
        accession_number=number,
        patient="Müller-Ødegård, Erika Maria Annabella Theodora",
        identifier="P0004711",
        born="1970-01-02",
        received_at=datetime(2026, 11, 22, 8, 2, tzinfo=UTC),
    )


def _drawn(number: str, folder: Path) -> Path:
    require("pdftoppm")
    file = folder / "label.pdf"
    file.write_bytes(_label(number))
    stem = folder / "label"
    subprocess.run(["pdftoppm", "-r", "300", "-png", "-singlefile", file, stem], check=True)
    return stem.with_suffix(".png")


@pytest.mark.parametrize("number", NUMBERS)
def test_the_bars_are_those_of_the_number(number: str) -> None:
    bars = code_128(number, 57 * 72 / 25.4)
    assert bars is not None
    assert bars.value == number
    # One bar pattern starts, one for each symbol, check symbol and stop at the end.
    bars.validate()
    bars.encode()
    assert bars.encoded[0] in (103, 104, 105)  # start A, B or C
    assert len(bars.decompose()) > 6 * len(bars.encoded) - 6


def test_a_number_too_long_for_bars_has_the_matrix_alone() -> None:
    long = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-12345"
    assert code_128(long, 57 * 72 / 25.4) is None
    assert _label(long).startswith(b"%PDF")
    with pytest.raises(ValueError, match="up to 44 codewords"):
        DataMatrix("x" * 45)


def test_two_digits_share_a_codeword() -> None:
    assert ascii_codewords("12A3") == [130 + 12, ord("A") + 1, ord("3") + 1]
    matrix = DataMatrix("261122-001")
    assert (matrix.row_modules, len(matrix.encoded)) == (12 + 2, 14)
    # Finder pattern: solid on the left and at the bottom (drawn from the bottom up).
    assert all(matrix.encoded[0])
    assert all(row[0] for row in matrix.encoded)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_scanner_reads_both_codes(number: str, tmp_path: Path) -> None:
    dmtxread, zbarimg = require("dmtxread"), require("zbarimg")
    picture = _drawn(number, tmp_path)

    def read(*command: Any) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert read(dmtxread, "-N1", "-m5000", picture) == number
    assert read(zbarimg, "-q", "--raw", picture) == number
