"""Colours of a May-Gruenwald-Giemsa smear, and how a stain is laid on the picture.

The colours rest on medians over 150 images of each kind in the public peripheral-blood set of
Acevedo et al. 2020 (doi 10.17632/snkd93bnjr.1): quantiles of background, red cells, nuclei and
cytoplasm. They were then adjusted by eye until drawn and real cells looked alike side by side.
No pixel of an image is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from classifier.synthetic.texture import Field

RGB = tuple[float, float, float]
Canvas = npt.NDArray[np.float32]

BACKGROUND: RGB = (255, 228, 202)
RED_CELL: RGB = (204, 165, 166)
# A few smears of the set are lit and balanced differently: their background is this grey.
GREY_BACKGROUND: RGB = (228, 226, 234)


@dataclass(frozen=True, slots=True)
class Stain:
    """The 5 %, 50 % and 95 % colours of one material."""

    dark: RGB
    middle: RGB
    light: RGB


NEUTROPHIL_NUCLEUS = Stain((57, 17, 119), (74, 32, 133), (134, 95, 148))
LYMPHOCYTE_NUCLEUS = Stain((59, 19, 115), (79, 33, 127), (117, 68, 140))
MONOCYTE_NUCLEUS = Stain((70, 20, 126), (104, 51, 144), (149, 100, 159))
EOSINOPHIL_NUCLEUS = Stain((59, 18, 121), (82, 38, 135), (146, 102, 153))
BASOPHIL_NUCLEUS = Stain((74, 30, 128), (98, 52, 142), (132, 86, 146))

NEUTROPHIL_CYTOPLASM = Stain((186, 146, 170), (206, 170, 181), (226, 198, 192))
LYMPHOCYTE_CYTOPLASM = Stain((62, 34, 132), (142, 122, 176), (200, 186, 194))
MONOCYTE_CYTOPLASM = Stain((138, 104, 165), (174, 148, 180), (206, 184, 192))
EOSINOPHIL_CYTOPLASM = Stain((153, 67, 130), (180, 103, 141), (202, 139, 156))
BASOPHIL_CYTOPLASM = Stain((126, 60, 146), (170, 108, 160), (216, 186, 188))

NEUTROPHIL_PATCH: RGB = (218, 172, 178)
NEUTROPHIL_GRANULE = Stain((112, 42, 132), (154, 80, 150), (184, 118, 164))
BASOPHIL_GRANULE = Stain((54, 16, 112), (60, 20, 120), (86, 36, 134))
PLATELET = Stain((92, 40, 140), (150, 108, 165), (205, 180, 192))
BASOPHIL_HALO: RGB = (226, 176, 196)
VACUOLE: RGB = (244, 220, 202)
PALE_RIM: RGB = (192, 174, 192)

# Levels of the colour table for one deviation of tone.
_TONE_STEPS = 60.0


def as_planes(colour: RGB) -> Canvas:
    """A colour of shape (3, 1, 1), to calculate with whole planes."""
    return np.array(colour, dtype=np.float32).reshape(3, 1, 1)


def blend(pixels: Canvas, coverage: Field, colour: RGB | Canvas) -> None:
    """Cover pixels (3, height, width) in place; coverage 0..1 of shape (height, width)."""
    target = as_planes(colour) if isinstance(colour, tuple) else colour
    pixels += (target - pixels) * coverage


def stained(tone: Field, stain: Stain) -> Canvas:
    """Colour a texture; a tone of mean 0, deviation 1 gives the quantiles of the stain.

    Returns:
        Colour planes of shape (3, height, width), 0..255.
    """
    # 1.645 deviations of a normal distribution hold 5 % on either side.
    stops = np.array([-1.645, 0, 1.645]) * _TONE_STEPS + 128
    bands = zip(stain.dark, stain.middle, stain.light, strict=True)
    table = np.stack([np.interp(np.arange(256), stops, band) for band in bands])
    index = np.clip(tone * np.float32(_TONE_STEPS) + 128, 0, 255).astype(np.intp)
    colours: Canvas = np.take(table.astype(np.float32), index, axis=1)
    return colours


def drifted(rng: np.random.Generator, stain: Stain, deviation: float) -> Stain:
    """The stain of one cell: all three colours move together, by `deviation` levels."""
    red, green, blue = (float(v) for v in rng.normal(0, deviation, 3))
    shared = float(rng.normal(0, deviation))

    def move(colour: RGB) -> RGB:
        return (
            colour[0] + shared + red / 2,
            colour[1] + shared + green / 2,
            colour[2] + shared / 2 + blue / 3,
        )

    return Stain(move(stain.dark), move(stain.middle), move(stain.light))
