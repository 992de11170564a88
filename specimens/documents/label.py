"""The label of a tube: accession number as Code 128 and Data Matrix, patient, date received."""

import io
from datetime import datetime
from typing import Final

from django.utils import timezone
from reportlab.graphics.barcode.code128 import Code128
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from specimens.documents.datamatrix import DataMatrix
from specimens.documents.typeface import BOLD, REGULAR, printing

WIDTH: Final = 62 * mm
HEIGHT: Final = 29 * mm
_EDGE: Final = 2.5 * mm
# Narrower bars are not read reliably from a 203 dpi printer; the Data Matrix still is.
_NARROWEST: Final = 0.19 * mm
_WIDEST: Final = 0.375 * mm
_MODULE: Final = 0.5 * mm


@printing()
def specimen_label(
    *, accession_number: str, patient: str, identifier: str, born: str, received_at: datetime
) -> bytes:
    """Return the label as a PDF of one page, 62 x 29 mm."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(WIDTH, HEIGHT), invariant=1)
    canvas.setTitle(accession_number)
    matrix = DataMatrix(accession_number, barWidth=_MODULE)
    matrix_side = matrix.row_modules * _MODULE
    matrix.drawOn(canvas, WIDTH - _EDGE - matrix_side, HEIGHT - _EDGE - matrix_side)
    room = WIDTH - 3 * _EDGE - matrix_side
    top = HEIGHT - _EDGE
    _line(canvas, patient, BOLD, 9, top - 8, room)
    _line(
        canvas, " · ".join(part for part in (identifier, born) if part), REGULAR, 7, top - 17, room
    )
    received = f"received {timezone.localtime(received_at):%Y-%m-%d %H:%M}"
    _line(canvas, received, REGULAR, 6.5, top - 25, room)
    bars = code_128(accession_number, WIDTH - 2 * _EDGE)
    if bars is not None:
        bars.drawOn(canvas, (WIDTH - bars.width) / 2, _EDGE + 9)
    canvas.setFont(BOLD, 8)
    canvas.drawCentredString(WIDTH / 2, _EDGE, accession_number)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def code_128(value: str, room: float) -> Code128 | None:
    """Return the bars with their quiet zones as wide as fits; None where they would be too fine."""
    modules = Code128(value, barWidth=1, quiet=True, lquiet=10, rquiet=10).width
    width = min(_WIDEST, room / modules)
    if width < _NARROWEST:
        return None
    return Code128(
        value, barWidth=width, barHeight=9 * mm, quiet=True, lquiet=10 * width, rquiet=10 * width
    )


def _line(canvas: Canvas, text: str, font: str, size: float, y: float, room: float) -> None:
    """Draw one line, cut with an ellipsis where it is too long for the label."""
    shown = text
    while shown and stringWidth(shown, font, size) > room:
        shown = f"{shown.rstrip('…')[:-1]}…"
    canvas.setFont(font, size)
    canvas.drawString(_EDGE, y, shown)
