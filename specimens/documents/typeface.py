"""The typeface of everything printed: DejaVu Sans, embedded, so that every Latin, Greek and
Cyrillic name comes out right on any printer."""

from functools import cache
from pathlib import Path
from typing import Final

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

REGULAR: Final = "DejaVuSans"
BOLD: Final = "DejaVuSans-Bold"
_FOLDER: Final = Path(__file__).with_name("fonts")


@cache
def register_fonts() -> None:
    """Make the fonts known to reportlab; reading them takes a tenth of a second, once."""
    for name in (REGULAR, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(_FOLDER / f"{name}.ttf")))
    pdfmetrics.registerFontFamily(
        REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD
    )
