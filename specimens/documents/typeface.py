"""The typeface of everything printed: DejaVu Sans, embedded, so that every Latin, Greek and
Cyrillic name comes out right on any printer."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

REGULAR: Final = "DejaVuSans"
BOLD: Final = "DejaVuSans-Bold"
_FOLDER: Final = Path(__file__).with_name("fonts")
_ONE_AT_A_TIME: Final = threading.Lock()


@contextmanager
def printing() -> Iterator[None]:
    """Make a document with reportlab within, its fonts known; one at a time in a process.

    reportlab fills tables of its own at their first use (named colours, for one), and whoever comes
    meanwhile finds them half full: of eight first reports at once, one ended with an invalid
    colour, or was another file, in every sixth process. Nothing is lost by it: all of this runs
    under Python's lock.
    """
    with _ONE_AT_A_TIME:
        _register_fonts()
        yield


@cache
def _register_fonts() -> None:
    """Make the fonts known to reportlab; reading them takes a tenth of a second, once."""
    for name in (REGULAR, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(_FOLDER / f"{name}.ttf")))
    pdfmetrics.registerFontFamily(
        REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD
    )
