"""The table of the differential on paper: numbers, limits, reference, flag, and a bar per row."""

from typing import Any, Final

from reportlab.graphics.shapes import Drawing, Line, Rect
from reportlab.lib import colors
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Paragraph, Table, TableStyle

from specimens.documents.page import INK, styles
from specimens.documents.sheet import Sheet, SheetRow

# Greys that differ on any printer; the numbers carry the meaning, the bar only the size of it.
_FILL: Final = colors.HexColor("#9a9a9a")
_TRACK: Final = colors.HexColor("#eeeeee")
_BAR_WIDTH: Final = 27 * mm
_BAR_HEIGHT: Final = 7.0


def differential_table(sheet: Sheet, width: float) -> Flowable:
    """Return the table; the columns of absolute counts stand only where there are any."""
    absolutes = sheet.has_absolutes
    widths = [10 * mm, 13 * mm, 9 * mm, 21 * mm, 17 * mm, _BAR_WIDTH + 3 * mm]
    widths += [15 * mm, 9 * mm, 19 * mm] if absolutes else []
    cells: list[list[Any]] = [_headings(absolutes)]
    cells += [_cells(row, absolutes) for row in sheet.rows]
    cells.append(_total(sheet, absolutes))
    table = Table(cells, colWidths=[width - sum(widths), *widths], repeatRows=1)
    table.setStyle(TableStyle(_STYLE))
    return table


_STYLE: Final[list[Any]] = [
    ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
    ("VALIGN", (0, 0), (-1, 0), "BOTTOM"),
    ("LINEABOVE", (0, 0), (-1, 0), 0.8, INK),
    ("LINEBELOW", (0, 0), (-1, 0), 0.8, INK),
    ("LINEBELOW", (0, 1), (-1, -2), 0.25, colors.HexColor("#888888")),
    ("LINEABOVE", (0, -1), (-1, -1), 0.8, INK),
    ("TOPPADDING", (0, 0), (-1, -1), 1.6),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 1.8),
    ("LEFTPADDING", (0, 0), (-1, -1), 1),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
]


def _headings(absolutes: bool) -> list[Flowable]:
    style = styles()
    names = ["n", "%", "Flag", "95 % limits", "Reference"]
    found: list[Flowable] = [Paragraph("Class", style["column"])]
    found += [Paragraph(name, style["number_column"]) for name in names]
    found.append(Paragraph("", style["column"]))
    if absolutes:
        found += [
            Paragraph(name, style["number_column"]) for name in ("10⁹/L", "Flag", "Reference")
        ]
    return found


def _cells(row: SheetRow, absolutes: bool) -> list[Flowable]:
    number, strong = styles()["number"], styles()["strong_number"]
    cells: list[Flowable] = [
        Paragraph(row.name, styles()["text"]),
        Paragraph(str(row.count), number),
        Paragraph(row.percent, strong),
        Paragraph(row.percent_flag, strong),
        Paragraph(row.limits, number),
        Paragraph(row.percent_reference, number),
        _bar(row),
    ]
    if absolutes:
        cells += [
            Paragraph(row.absolute, strong),
            Paragraph(row.absolute_flag, strong),
            Paragraph(row.absolute_reference, number),
        ]
    return cells


def _total(sheet: Sheet, absolutes: bool) -> list[Flowable | str]:
    number = styles()["number"]
    counted = sheet.content["counted"]
    cells: list[Flowable | str] = [Paragraph("White cells counted", styles()["text"])]
    cells += [Paragraph(str(counted), number), Paragraph("100.0" if counted else "", number)]
    cells += ["", "", "", ""]
    if absolutes:
        wbc_count = sheet.content["specimen"]["wbc_count"] or ""
        cells += [Paragraph(wbc_count, number), "", ""]
    return cells


def _bar(row: SheetRow) -> Drawing:
    drawing = Drawing(_BAR_WIDTH + 2 * mm, _BAR_HEIGHT)
    left, middle = 2 * mm, _BAR_HEIGHT / 2
    for y, width, colour in ((0, _BAR_WIDTH, _TRACK), (1, row.bar * _BAR_WIDTH, _FILL)):
        bar = Rect(left, y, width, _BAR_HEIGHT - 2 * y)
        bar.fillColor, bar.strokeColor = colour, None
        drawing.add(bar)
    start, end = (left + share * _BAR_WIDTH for share in (row.whisker_from, row.whisker_to))
    drawing.add(Line(start, middle, end, middle, strokeColor=INK, strokeWidth=0.6))
    for x in (start, end):
        drawing.add(Line(x, middle - 2, x, middle + 2, strokeColor=INK, strokeWidth=0.6))
    return drawing
