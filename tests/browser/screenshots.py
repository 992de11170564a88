"""Pictures of the pages for the documentation, in both themes, where WBCLAB_SCREENSHOTS is 1."""

import io
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page

STYLES = Path(__file__).resolve().parents[2] / "static" / "css" / "wbclab.css"
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
WANTED = os.environ.get("WBCLAB_SCREENSHOTS") == "1"


def shoot(page: Page, name: str) -> None:
    """Write docs/screenshots/NAME-light.png and NAME-dark.png of what the page shows now."""
    if not WANTED:
        return
    page.wait_for_load_state("networkidle")  # every picture has come
    FOLDER.mkdir(parents=True, exist_ok=True)
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        picture = Image.open(io.BytesIO(page.screenshot(caret="hide"))).convert("RGB")
        _in_256_colours(picture).save(FOLDER / f"{name}-{theme}.png", optimize=True)
    page.evaluate("() => { delete document.documentElement.dataset.theme; }")


def _in_256_colours(picture: Image.Image) -> Image.Image:
    """Reduce a picture to a third of its bytes: the design's own colours exactly, the rest nearest.

    Median cut alone would melt the class colours, few pixels as they are, into the stain.
    """
    own = sorted(set(re.findall(r"#([0-9a-f]{6})\b", STYLES.read_text())))
    values = [int(colour[at : at + 2], 16) for colour in own for at in (0, 2, 4)]
    rest = picture.quantize(256 - len(own), kmeans=2, dither=Image.Dither.NONE).getpalette() or []
    palette = np.array((values + rest)[:768], np.int32).reshape(-1, 3)
    pixels = np.asarray(picture, np.int32)
    codes, inverse = np.unique(pixels @ np.array([65536, 256, 1], np.int32), return_inverse=True)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)
    nearest = np.concatenate(
        [
            ((part[:, None, :] - palette) ** 2).sum(axis=2).argmin(axis=1)
            for part in np.array_split(colours, 1 + len(colours) // 4096)
        ]
    )
    small = Image.fromarray(nearest[inverse].reshape(pixels.shape[:2]).astype(np.uint8), "P")
    small.putpalette(palette.astype(np.uint8).tobytes())
    return small
