"""Whole pictures from a seed: one cell, many cells, a field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import BinaryIO

import numpy as np
from PIL import Image

from classifier.classes import CELL_CLASSES
from classifier.synthetic.cells import KINDS
from classifier.synthetic.palette import Canvas
from classifier.synthetic.smear import Disc, develop, lay_smear, window

NATIVE_SIZE = 360
COMMENT = "synthetic, drawn by wbclab"

# Kind and left, top, right, bottom of a white cell, in pixels; right and bottom are exclusive.
Box = tuple[str, int, int, int, int]

_MINIMUM_SIZE = 16
# The window a cell is painted in, in radii: stretched and ragged outlines stay inside.
_REACH = 1.38
# Random places tried for a cell of a field before it counts as full.
_TRIES = 300


def draw_cell(kind: str, seed: int, size: int = NATIVE_SIZE) -> Image.Image:
    """One white cell among red cells, near the middle of a square RGB picture.

    Args:
        kind: A name of classifier.classes.CELL_CLASSES.
        seed: Not negative; the same seed and kind give the same picture, bit for bit, as long as
            the NumPy and Pillow versions are the same.
        size: Edge in pixels. The field of view does not change with it: 360 is native,
            other sizes are resampled.

    Raises:
        ValueError: Unknown kind, negative seed, or size below 16.
    """
    _check_kinds([kind])
    _check_size(size)
    rng = _generator(seed, CELL_CLASSES.index(kind))
    middle = NATIVE_SIZE / 2
    x, y = middle + float(rng.normal(0, 6)), middle + float(rng.normal(0, 5))
    disc = (x, y, float(rng.uniform(*KINDS[kind].radius)))
    canvas = lay_smear(rng, NATIVE_SIZE, NATIVE_SIZE, [disc])
    _paint(rng, canvas, kind, disc)
    picture = develop(rng, canvas)
    if size == NATIVE_SIZE:
        return picture
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def draw_cells(seed: int, counts: Mapping[str, int]) -> Iterator[tuple[str, Image.Image]]:
    """So many cells of each kind, kind by kind.

    A cell depends on the seed, its kind and its number only: asking for more cells never
    changes the first ones.

    Raises:
        ValueError: Unknown kind, negative seed or negative count.
    """
    _check_kinds(counts)
    for kind, count in counts.items():
        if count < 0:
            raise ValueError(f"the count of {kind} must not be negative, got {count}")
    _generator(seed)
    return _cells(seed, counts)


def _cells(seed: int, counts: Mapping[str, int]) -> Iterator[tuple[str, Image.Image]]:
    for kind, count in counts.items():
        for number in range(count):
            own_seed = int(_generator(seed, number).integers(2**62))
            yield kind, draw_cell(kind, own_seed)


def draw_field(
    seed: int, width: int, height: int, kinds: Sequence[str]
) -> tuple[Image.Image, list[Box]]:
    """A microscope field with several white cells, and where they are.

    Raises:
        ValueError: Unknown kind, negative seed, an edge below 16, or more cells than the field
            has room for.
    """
    _check_kinds(kinds)
    _check_size(min(width, height))
    rng = _generator(seed, len(CELL_CLASSES))
    discs = _places(rng, width, height, kinds)
    canvas = lay_smear(rng, height, width, discs)
    boxes = [_paint(rng, canvas, kind, disc) for kind, disc in zip(kinds, discs, strict=True)]
    return develop(rng, canvas), boxes


def save_jpeg(image: Image.Image, target: str | PathLike[str] | BinaryIO) -> None:
    """Write as JPEG, with a comment in the file that says the picture is synthetic."""
    image.save(target, format="JPEG", quality=92, comment=COMMENT)


def _check_kinds(kinds: Iterable[str]) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}; accepted are {', '.join(CELL_CLASSES)}")


def _check_size(size: int) -> None:
    if size < _MINIMUM_SIZE:
        raise ValueError(f"size must be at least {_MINIMUM_SIZE} pixels, got {size}")


def _generator(seed: int, *stream: int) -> np.random.Generator:
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    return np.random.default_rng([seed, *stream])


def _paint(rng: np.random.Generator, canvas: Canvas, kind: str, disc: Disc) -> Box:
    x, y, radius = disc
    reach = radius * _REACH
    found = window(canvas, x, y, reach)
    if found is None:
        raise ValueError("the cell lies outside the picture")
    pixels, grid = found
    depth = KINDS[kind].paint(pixels, grid, rng, radius)
    rows, columns = np.any(depth > 0, axis=1).nonzero()[0], np.any(depth > 0, axis=0).nonzero()[0]
    left, top = max(0, math.floor(x - reach)), max(0, math.floor(y - reach))
    return (
        kind,
        left + int(columns[0]),
        top + int(rows[0]),
        left + int(columns[-1]) + 1,
        top + int(rows[-1]) + 1,
    )


def _places(rng: np.random.Generator, width: int, height: int, kinds: Sequence[str]) -> list[Disc]:
    """Random places for the cells, whole in the field and clear of each other."""
    discs: list[Disc] = []
    for kind in kinds:
        radius = float(rng.uniform(*KINDS[kind].radius))
        place = _free_place(rng, width, height, radius, discs)
        if place is None:
            raise ValueError(
                f"a field of {width}x{height} pixels has no room for {len(kinds)} white cells"
            )
        discs.append((*place, radius))
    return discs


def _free_place(
    rng: np.random.Generator, width: int, height: int, radius: float, others: Sequence[Disc]
) -> tuple[float, float] | None:
    margin = radius * 1.2
    if min(width, height) <= 2 * margin:
        return None
    for _ in range(_TRIES):
        x = float(rng.uniform(margin, width - margin))
        y = float(rng.uniform(margin, height - margin))
        if all(math.hypot(x - a, y - b) > 1.25 * (radius + r) for a, b, r in others):
            return x, y
    return None
