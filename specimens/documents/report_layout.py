"""Lays the report out with ReportLab, to be printed in black and white."""

import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from reportlab.lib.pagesizes import A4, letter
from reportlab.lib.units import mm
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    KeepTogether,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from specimens.documents.page import INK, NumberedCanvas, draw_running_lines, styles
from specimens.documents.pictures import picture_row
from specimens.documents.report_table import differential_table
from specimens.documents.sheet import FLAGS, METHOD, Sheet, clock
from specimens.documents.typeface import printing

_SIZES: Final[Mapping[str, tuple[float, float]]] = {"a4": A4, "letter": letter}
MARGIN: Final = 16 * mm


@printing()
def laid_out(sheet: Sheet, *, paper: str, pictures: Mapping[str, bytes]) -> bytes:
    """See `specimens.documents.report_pdf.report_pdf`."""
    out = io.BytesIO()
    size = _SIZES[paper]
    document = BaseDocTemplate(
        out,
        pagesize=size,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=20 * mm,
        title=f"{sheet.content['specimen']['accession_number']} version {sheet.version}",
        author=sheet.content["laboratory"]["name"],
        subject=sheet.title,
        invariant=1,  # the same report is the same file
    )
    width = size[0] - 2 * MARGIN
    first = Frame(MARGIN, 20 * mm, width, size[1] - MARGIN - 20 * mm, 0, 0, 0, 0)
    later = Frame(MARGIN, 20 * mm, width, size[1] - MARGIN - 28 * mm, 0, 0, 0, 0)

    def lines(canvas: Any, _: Any) -> None:
        draw_running_lines(canvas, sheet, size, MARGIN)

    document.addPageTemplates(
        [
            PageTemplate("first", [first], onPage=lines, autoNextPageTemplate="later"),
            PageTemplate("later", [later], onPage=lines),
        ]
    )
    document.build(_story(sheet, width, pictures), canvasmaker=NumberedCanvas)
    return out.getvalue()


def _story(sheet: Sheet, width: float, pictures: Mapping[str, bytes]) -> list[Flowable]:
    style = styles()
    parts: list[Flowable] = [*_head(sheet), *_notices(sheet, width)]
    parts += [_identity(sheet, width), Spacer(0, 3 * mm), differential_table(sheet, width)]
    parts.append(Paragraph(f"Flags: {FLAGS} Bars end at {sheet.scale} %.", style["small"]))
    if others := sheet.other_cells():
        text = f"<b>Outside the differential</b> {escape('; '.join(others))}."
        parts.append(Paragraph(text, style["text"]))
    parts += _exceptions(sheet)
    parts += _comments(sheet)
    if row := picture_row(sheet, width, pictures):
        parts.append(KeepTogether([Paragraph("Selected cells", style["heading"]), row]))
    parts.append(KeepTogether([*_particulars(sheet), *_signature(sheet, width)]))
    return parts


def _head(sheet: Sheet) -> list[Flowable]:
    style = styles()
    laboratory = sheet.content["laboratory"]
    parts: list[Flowable] = [Paragraph(escape(laboratory["name"]), style["laboratory"])]
    lines = [escape(line) for line in laboratory["header"].splitlines() if line.strip()]
    if lines:
        parts.append(Paragraph("<br/>".join(lines), style["small"]))
    rule = Table([[""]], colWidths=["100%"], rowHeights=[1.5 * mm])
    rule.setStyle(TableStyle([("LINEBELOW", (0, 0), (-1, -1), 0.8, INK)]))
    return [*parts, rule, Paragraph(sheet.title, style["title"])]


def _notices(sheet: Sheet, width: float) -> list[Flowable]:
    """What must be read before the numbers: superseded, amended, synthetic."""
    style = styles()
    boxes: list[list[Flowable]] = []
    if newer := sheet.superseded_by:
        text = f"Superseded by version {newer.version}, signed by {newer.signer}."
        boxes.append([Paragraph(f"<b>{escape(text)} Do not use this version.</b>", style["text"])])
    if sheet.version > 1:
        boxes.append(_amendment(sheet))
    if sheet.content["specimen"]["is_synthetic"]:
        text = "<b>Synthetic cells, drawn by a program. Not of a person.</b>"
        boxes.append([Paragraph(text, style["text"])])
    return [part for box in boxes for part in (_boxed(box, width), Spacer(0, 2 * mm))]


def _amendment(sheet: Sheet) -> list[Flowable]:
    style = styles()
    before = sheet.version - 1
    reason = escape(sheet.content["amendment_reason"])
    parts: list[Flowable] = [
        Paragraph(
            f"<b>Amended report.</b> It replaces version {before}. Reason: {reason}", style["text"]
        )
    ]
    for change in sheet.changes:
        was, now = escape(change.before) or "–", escape(change.after) or "–"
        line = f"<b>{escape(change.what)}</b> was: {was}; now: {now}"
        parts.append(Paragraph(line, style["change"]))
    if not sheet.changes:
        parts.append(Paragraph("No reported value or comment has changed.", style["change"]))
    return parts


def _boxed(parts: Sequence[Flowable], width: float) -> Table:
    # A row for each part: a table breaks between rows only, and a list of changes may be long.
    box = Table([[part] for part in parts], colWidths=[width])
    box.setStyle(
        TableStyle(
            [
                ("BOX", (0, 0), (-1, -1), 1.2, INK),
                ("TOPPADDING", (0, 0), (-1, -1), 0.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
                ("LEFTPADDING", (0, 0), (-1, -1), 6),
                ("RIGHTPADDING", (0, 0), (-1, -1), 6),
            ]
        )
    )
    return box


def _identity(sheet: Sheet, width: float) -> Table:
    """Patient on the left, specimen on the right: what a reader compares first."""
    style = styles()

    def block(lines: Sequence[tuple[str, str]], strong: int) -> Table:
        cells = [
            [
                Paragraph(name, style["label"]),
                Paragraph(
                    f"<b>{escape(text)}</b>" if number < strong else escape(text), style["text"]
                ),
            ]
            for number, (name, text) in enumerate(lines)
        ]
        table = Table(cells, colWidths=[22 * mm, width / 2 - 26 * mm])
        table.setStyle(TableStyle(_TIGHT))
        return table

    table = Table(
        [[block(sheet.patient_lines(), 2), block(sheet.specimen_lines(), 1)]],
        colWidths=[width / 2, width / 2],
    )
    table.setStyle(TableStyle(_TIGHT))
    return table


_TIGHT: Final[list[Any]] = [
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 4),
    ("TOPPADDING", (0, 0), (-1, -1), 0.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 0.5),
]


def _comments(sheet: Sheet) -> list[Flowable]:
    style = styles()
    comments = sheet.content["comments"]
    if not comments:
        return []
    lines: list[Flowable] = []
    for comment in comments:
        text = escape(comment["text"]).replace("\n", "<br/>")
        who = escape(f"{comment['author']}, {clock(comment['at'])}")
        lines.append(Paragraph(f'{text} <font size="7">({who})</font>', style["comment"]))
    heading = Paragraph("Comments", style["heading"])
    return [KeepTogether([heading, lines[0]]), *lines[1:]]


def _exceptions(sheet: Sheet) -> list[Flowable]:
    """Gates that were bypassed, and who was told of critical values."""
    style = styles()
    parts: list[Flowable] = []
    for passed in sheet.content["bypassed"]:
        text = f"<b>Signed although:</b> {escape(passed['text'])} Reason: "
        parts.append(Paragraph(text + escape(passed["reason"]), style["text"]))
    for told in sheet.told():
        parts.append(Paragraph(f"<b>Critical value told:</b> {escape(told)}", style["text"]))
    return parts


def _particulars(sheet: Sheet) -> list[Flowable]:
    """Method, model, reference limits, reviewers: smaller, but all there."""
    style = styles()
    lines = [f"<b>Method</b> {METHOD}"]
    if models := sheet.models():
        lines.append(f"<b>Model</b> {escape('; '.join(models))}")
    if sources := sheet.sources():
        lines.append(f"<b>Reference limits</b> {escape('; '.join(sources))}")
    if reviewers := sheet.content["reviewers"]:
        lines.append(f"<b>Cells reviewed by</b> {escape(', '.join(reviewers))}")
    return [Spacer(0, 1.5 * mm), *[Paragraph(line, style["small"]) for line in lines]]


def _signature(sheet: Sheet, width: float) -> list[Flowable]:
    style = styles()
    signed = sheet.content["signature"]
    name = escape(signed["name"])
    if signed["username"] != signed["name"]:
        name += f" ({escape(signed['username'])})"
    parts: list[Flowable] = [
        Paragraph(f"Signed electronically by <b>{name}</b>, {sheet.signed_at}", style["text"]),
        Paragraph(f"Meaning: {escape(signed['meaning'])}", style["text"]),
    ]
    if len(sheet.versions) > 1:
        lines = [
            f"version {line.version} by {line.signer}, {clock(line.signed_at.isoformat())}"
            for line in sheet.versions
        ]
        parts.append(Paragraph(f"Versions: {escape('; '.join(lines))}", style["small"]))
    parts.append(Paragraph(f"SHA-256 of the content {sheet.sha256}", style["small"]))
    box = Table([[parts]], colWidths=[width])
    box.setStyle(
        TableStyle(
            [
                ("LINEABOVE", (0, 0), (-1, 0), 0.8, INK),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 0),
            ]
        )
    )
    return [Spacer(0, 3 * mm), box]
