"""What every page of a report carries: running lines, page x of y, and the styles of the text."""

from functools import cache
from typing import Any, Final

from reportlab.lib import colors
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from specimens.documents.sheet import Sheet
from specimens.documents.typeface import BOLD, REGULAR

INK: Final = colors.black
GREY: Final = colors.HexColor("#444444")


@cache
def styles() -> dict[str, ParagraphStyle]:
    """Paragraph styles by name; 8.5 points is what still reads well after a fax."""
    text = ParagraphStyle("text", fontName=REGULAR, fontSize=8.5, leading=11.5, textColor=INK)

    def like(name: str, **values: Any) -> ParagraphStyle:
        return ParagraphStyle(name, parent=text, **values)

    return {
        "text": text,
        "label": like("label", textColor=GREY),
        "small": like("small", fontSize=7, leading=9.5),
        "comment": like("comment", spaceAfter=2),
        "change": like("change", leftIndent=8, fontSize=7.5, leading=9.5),
        "laboratory": like("laboratory", fontName=BOLD, fontSize=13, leading=17),
        "title": like("title", fontName=BOLD, fontSize=11, leading=15, spaceBefore=3, spaceAfter=3),
        "heading": like("heading", fontName=BOLD, spaceBefore=5, spaceAfter=2),
        "number": like("number", alignment=2),
        "strong_number": like("strong_number", alignment=2, fontName=BOLD),
        "column": like("column", fontName=BOLD, fontSize=7.5, leading=9.5),
        "number_column": like(
            "number_column", fontName=BOLD, fontSize=7.5, leading=9.5, alignment=2
        ),
    }


class NumberedCanvas(Canvas):
    """Holds the pages back until their number is known, then writes "page x of y" on each."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 - reportlab's name
        """Keep the finished page instead of writing it out."""
        self._held.append(dict(self.__dict__))
        self._startPage()  # type: ignore[attr-defined]

    def save(self) -> None:
        """Write all pages with their numbers."""
        held = self._held
        for number, page in enumerate(held, start=1):
            self.__dict__.update(page)
            self.setFont(REGULAR, 7)
            self.setFillColor(INK)
            right = self._pagesize[0] - 16 * mm  # type: ignore[attr-defined]
            self.drawRightString(right, 10 * mm, f"Page {number} of {len(held)}")
            super().showPage()
        super().save()


def draw_running_lines(
    canvas: Canvas, sheet: Sheet, size: tuple[float, float], margin: float
) -> None:
    """Draw the foot of every page, and from the second on whose report it is."""
    width = size[0] - 2 * margin
    canvas.saveState()
    canvas.setFont(REGULAR, 7)
    canvas.setLineWidth(0.4)
    canvas.line(margin, 16.5 * mm, size[0] - margin, 16.5 * mm)
    limitation = sheet.content["limitation"]
    for number, line in enumerate(_lines(limitation, width, 7)[:2]):
        canvas.drawString(margin, (13.5 - 3 * number) * mm, line)
    specimen = sheet.content["specimen"]["accession_number"]
    foot = f"{specimen}, version {sheet.version}, signed {sheet.signed_at}"
    canvas.drawString(margin, 7 * mm, foot)
    if canvas.getPageNumber() > 1:
        patient = sheet.content["patient"]
        text = f"{sheet.patient_name} · {patient['identifier']} · {specimen}"
        canvas.setFont(BOLD, 8)
        canvas.drawString(margin, size[1] - margin, _cut(text, width, 8))
        canvas.line(margin, size[1] - margin - 3, size[0] - margin, size[1] - margin - 3)
    canvas.restoreState()


def _lines(text: str, width: float, size: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if stringWidth(longer, REGULAR, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _cut(text: str, width: float, size: float) -> str:
    """Shorten the name in the middle of a line that is too long; the number at the end stays."""
    name, separator, rest = text.partition(" · ")
    while name and stringWidth(f"{name}…{separator}{rest}", BOLD, size) > width:
        name = name[:-1]
    shortened = f"{name}…{separator}{rest}"
    return text if stringWidth(text, BOLD, size) <= width else shortened
