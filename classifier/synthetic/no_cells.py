"""Pictures without a white cell, from a seed: what a camera, a wrong folder or another slide gives.

A classifier of white cells must not give any of these a class silently.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from classifier.synthetic import palette
from classifier.synthetic.palette import Canvas, as_planes, blend, stained
from classifier.synthetic.smear import develop, lay_smear, window
from classifier.synthetic.texture import blob, ramp, smooth_noise, uniform

SIZE = 360

_WORDS = (
    "Patient", "Sample", "Date", "Slide", "Wright-Giemsa", "Lot", "Operator", "Ward", "Room",
    "Leukocytes", "Film 2 of 3", "No.", "Signature", "Received", "EDTA", "QC passed", "x100",
)  # fmt: skip
# Haematoxylin nuclei and eosin stroma of a tissue section.
_TISSUE_NUCLEUS = palette.Stain((52, 34, 96), (88, 62, 132), (140, 112, 168))
_STROMA = palette.Stain((198, 110, 158), (226, 150, 186), (244, 206, 222))
_LUMEN = (243, 238, 243)


def draw_without_cell(kind: str, seed: int) -> Image.Image:
    """One RGB picture, 360 x 360, that shows no white cell.

    Args:
        kind: A key of `WITHOUT_CELL`.
        seed: Not negative; the same seed and kind give the same picture.

    Raises:
        ValueError: Unknown kind or negative seed.
    """
    if kind not in WITHOUT_CELL:
        raise ValueError(f"unknown kind {kind!r}; accepted are {', '.join(WITHOUT_CELL)}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    stream = list(WITHOUT_CELL).index(kind)
    return WITHOUT_CELL[kind](np.random.default_rng([seed, 100 + stream]))


def _blank(rng: np.random.Generator) -> Image.Image:
    """One colour: an empty field, the lamp off, the lid on; sometimes with a gradient and grain."""
    red, green, blue = (float(level) for level in rng.integers(0, 256, 3))
    colours = (palette.BACKGROUND, palette.GREY_BACKGROUND, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    chosen = (*colours, (red, green, blue))[int(rng.integers(len(colours) + 1))]
    canvas = np.ones((3, SIZE, SIZE), np.float32) * as_planes(chosen)
    if rng.random() < 0.5:
        slope = np.linspace(-1, 1, SIZE, dtype=np.float32)
        canvas *= 1 + np.float32(uniform(rng, 0, 0.3)) * slope
    if rng.random() < 0.5:
        canvas += rng.normal(0, uniform(rng, 0.5, 4), canvas.shape).astype(np.float32)
    return _image(canvas)


def _noise(rng: np.random.Generator) -> Image.Image:
    """Grains of any size, in grey or colour."""
    scale = (1.0, 2.0, 5.0, 16.0, 48.0)[int(rng.integers(5))]
    planes = 1 if rng.random() < 0.3 else 3
    grains = np.stack([smooth_noise(rng, (SIZE, SIZE), scale) for _ in range(planes)])
    middle = rng.uniform(60, 200, (planes, 1, 1)).astype(np.float32)
    canvas = middle + np.float32(uniform(rng, 15, 80)) * grains
    return _image(np.broadcast_to(canvas, (3, SIZE, SIZE)))


def _text(rng: np.random.Generator) -> Image.Image:
    """A label, a form or a screen: lines of words and digits."""
    dark, light = (
        (int(v) for v in rng.integers(0, 70, 2)),
        (int(v) for v in rng.integers(200, 256, 3)),
    )
    ink: tuple[int, ...] = (*dark, int(rng.integers(0, 130)))
    paper: tuple[int, ...] = tuple(light)
    if rng.random() < 0.2:
        ink, paper = paper, ink
    image = Image.new("RGB", (SIZE, SIZE), paper)
    draw = ImageDraw.Draw(image)
    height = int(rng.integers(11, 52))
    font = ImageFont.load_default(height)
    top = int(rng.integers(-height // 2, height))
    while top < SIZE:
        words = [_WORDS[int(index)] for index in rng.integers(len(_WORDS), size=8)]
        numbers = [str(int(number)) for number in rng.integers(0, 99_999, 8)]
        line = " ".join(word for pair in zip(words, numbers, strict=True) for word in pair)
        draw.text((int(rng.integers(-40, 20)), top), line, fill=ink, font=font)
        top += round(height * uniform(rng, 1.2, 1.8))
    turns = int(rng.integers(4))
    return image.rotate(90 * turns)


def _red_cells(rng: np.random.Generator) -> Image.Image:
    """A smear with red cells and platelets, at one of several magnifications."""
    side = int(SIZE * (0.6, 1.0, 1.0, 1.5)[int(rng.integers(4))])
    picture = develop(rng, lay_smear(rng, side, side, []))
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def _tissue(rng: np.random.Generator) -> Image.Image:
    """Like a section of tissue in haematoxylin and eosin: fibres, many nuclei, a gap or two."""
    shape = (SIZE, SIZE)
    fibres = smooth_noise(rng, shape, uniform(rng, 4, 14)) * 0.6
    fibres += smooth_noise(rng, shape, uniform(rng, 24, 70)) * 0.7
    canvas = stained(fibres, _STROMA)
    gaps = smooth_noise(rng, shape, uniform(rng, 50, 120)) - uniform(rng, 0.6, 1.6)
    blend(canvas, ramp(gaps, 0.2), _LUMEN)
    radius = uniform(rng, 8, 26)
    pitch = radius * uniform(rng, 2.3, 4.5)
    for row in range(int(SIZE / pitch) + 2):
        for column in range(int(SIZE / pitch) + 2):
            if rng.random() < 0.8:
                x, y = (float(at) * pitch + float(rng.normal(0, pitch / 4)) for at in (column, row))
                _add_nucleus(rng, canvas, (x, y), radius * uniform(rng, 0.7, 1.3))
    return _image(canvas + rng.normal(0, 2, canvas.shape).astype(np.float32))


def _add_nucleus(
    rng: np.random.Generator, canvas: Canvas, place: tuple[float, float], radius: float
) -> None:
    found = window(canvas, *place, radius * 2)
    if found is None:
        return
    under, grid = found
    depth = blob(grid, rng, radius, math.exp(uniform(rng, 0, 0.8)), (0.05, 0.05, 0.04))
    tone = smooth_noise(rng, grid.shape, max(2.0, radius / 4))
    tone -= np.clip(2.0 - depth * 0.6, 0.0, 2.0)
    blend(under, ramp(depth, 2.5) * uniform(rng, 0.75, 1.0), stained(tone, _TISSUE_NUCLEUS))


def _image(canvas: Canvas) -> Image.Image:
    planes = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))


# The kinds a model card reports on, in its order.
WITHOUT_CELL: dict[str, Callable[[np.random.Generator], Image.Image]] = {
    "blank": _blank,
    "noise": _noise,
    "text": _text,
    "red_cells_only": _red_cells,
    "tissue": _tissue,
}
