"""Pictures of the pages for the documentation, in both themes, where WBCLAB_SCREENSHOTS is 1."""

import io
import os
import re
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

STYLES = Path(__file__).resolve().parents[2] / "static" / "css" / "wbclab.css"
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
WANTED = os.environ.get("WBCLAB_SCREENSHOTS") == "1"


def shoot(page: Page, name: str) -> None:
    """Write docs/screenshots/NAME-light.png and NAME-dark.png of what the page shows now."""
    if not WANTED:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        picture = Image.open(io.BytesIO(page.screenshot(caret="hide"))).convert("RGB")
        small = picture.quantize(palette=_palette(picture), dither=Image.Dither.NONE)
        small.save(FOLDER / f"{name}-{theme}.png", optimize=True)
    page.evaluate("() => { delete document.documentElement.dataset.theme; }")


def _palette(picture: Image.Image) -> Image.Image:
    """Make 256 colours of a picture, a third of its size: the design's own, the rest by median cut.

    Median cut alone would melt the class colours, few pixels as they are, into the stain.
    """
    own = sorted(set(re.findall(r"#([0-9a-f]{6})\b", STYLES.read_text())))
    values = [int(colour[at : at + 2], 16) for colour in own for at in (0, 2, 4)]
    rest = picture.quantize(256 - len(own), dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette((values + rest)[:768])
    return palette
