"""The report as PDF, A4 or Letter."""

from collections.abc import Mapping
from typing import Final

from specimens.documents.sheet import Sheet

PAPERS: Final = ("a4", "letter")


def report_pdf(sheet: Sheet, *, paper: str = "a4", pictures: Mapping[str, bytes]) -> bytes:
    """Return the PDF of `sheet`; `pictures` are JPEG or PNG files by SHA-256 of the original."""
    # ReportLab takes half a second to import, which every start of a web process would wait for.
    from specimens.documents.report_layout import laid_out

    return laid_out(sheet, paper=paper, pictures=pictures)
