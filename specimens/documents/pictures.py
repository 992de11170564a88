"""The cell pictures of a report in a row, each with its class below."""

import io
from collections.abc import Mapping
from typing import Any, Final

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Image, Paragraph, Table, TableStyle

from classifier.classes import CLASS_BY_KEY
from specimens.documents.page import styles
from specimens.documents.sheet import Sheet

_PER_ROW: Final = 8
_SIDE: Final = 19 * mm


def picture_row(sheet: Sheet, width: float, pictures: Mapping[str, bytes]) -> Table | None:
    """Return the pictures as a table of one row; None where the report has none."""
    chosen = sheet.content["pictures"][:_PER_ROW]
    if not chosen:
        return None
    column = width / _PER_ROW
    table = Table(
        [
            [_picture(pictures.get(picture["sha256"])) for picture in chosen],
            [_caption(picture) for picture in chosen],
        ],
        colWidths=[column] * len(chosen),
        hAlign="LEFT",
    )
    padding: list[Any] = [
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), 2 * mm),
        ("TOPPADDING", (0, 0), (-1, -1), 0),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ]
    table.setStyle(TableStyle(padding))
    return table


def _picture(content: bytes | None) -> Flowable:
    if content is None:
        return Paragraph("picture not in the store", styles()["small"])
    return Image(io.BytesIO(content), width=_SIDE, height=_SIDE, kind="proportional", hAlign="LEFT")


def _caption(picture: Mapping[str, Any]) -> Paragraph:
    return Paragraph(CLASS_BY_KEY[picture["label"]].name, styles()["small"])
