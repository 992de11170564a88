"""What lies around the white cell: background, red cells, platelets, light and focus."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from classifier.synthetic import palette
from classifier.synthetic.palette import (
    BACKGROUND,
    GREY_BACKGROUND,
    RED_CELL,
    Canvas,
    as_planes,
    blend,
)
from classifier.synthetic.texture import Field, Grid, blob, ramp, smooth_noise, uniform

# Centre x, centre y and radius of a white cell, in pixels.
Disc = tuple[float, float, float]

RED_CELL_RADIUS = 37.0


def window(canvas: Canvas | Field, x: float, y: float, reach: float) -> tuple[Canvas, Grid] | None:
    """The part of a canvas within `reach` pixels of a point, as a view, and its coordinates."""
    height, width = canvas.shape[-2:]
    left, right = max(0, math.floor(x - reach)), min(width, math.ceil(x + reach))
    top, bottom = max(0, math.floor(y - reach)), min(height, math.ceil(y + reach))
    if left >= right or top >= bottom:
        return None
    grid = Grid(
        np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x),
        np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y),
    )
    return canvas[..., top:bottom, left:right], grid


def lay_smear(rng: np.random.Generator, height: int, width: int, white: Sequence[Disc]) -> Canvas:
    """Background with red cells and platelets; room is left for the white cells.

    Returns:
        Colour planes of shape (3, height, width), 0..255.
    """
    density = np.zeros((height, width), dtype=np.float32)
    for x, y in _red_cell_places(rng, height, width, white):
        _add_red_cell(rng, density, x, y)
    tint = as_planes(RED_CELL) + np.float32(rng.normal(0, 5))
    canvas = (tint - as_planes(BACKGROUND)) * density
    canvas += as_planes(BACKGROUND)
    for _ in range(int(rng.poisson(1.3 * height * width / 360**2))):
        x, y = uniform(rng, 0, width), uniform(rng, 0, height)
        if all(math.hypot(x - cx, y - cy) > radius + 12 for cx, cy, radius in white):
            _add_platelet(rng, canvas, x, y)
    return canvas


def _red_cell_places(
    rng: np.random.Generator, height: int, width: int, white: Sequence[Disc]
) -> list[tuple[float, float]]:
    """Points of a jittered hexagonal lattice, pushed aside by the white cells."""
    pitch, gaps = uniform(rng, 74, 98), uniform(rng, 0.02, 0.25)
    # The share of a diameter that neighbours keep between their centres.
    crowding = uniform(rng, 0.6, 0.95)
    shift_x, shift_y = uniform(rng, 0, pitch), uniform(rng, 0, pitch)
    places: list[tuple[float, float]] = []
    for row in range(-1, int(height / (pitch * 0.87)) + 3):
        for column in range(-1, int(width / pitch) + 3):
            if rng.random() < gaps:
                continue
            x = (column + row % 2 / 2) * pitch - shift_x + float(rng.normal(0, pitch * 0.16))
            y = row * pitch * 0.87 - shift_y + float(rng.normal(0, pitch * 0.16))
            place = _pushed_aside(x, y, white)
            if place is not None and _has_room(place, places, crowding):
                places.append(place)
    return places


def _pushed_aside(x: float, y: float, white: Sequence[Disc]) -> tuple[float, float] | None:
    """The place beside a white cell where a red cell comes to rest; None if it has no room."""
    for centre_x, centre_y, radius in white:
        keep = radius + RED_CELL_RADIUS * 0.97
        distance = math.hypot(x - centre_x, y - centre_y)
        if distance < keep * 0.55:
            return None
        if distance < keep:
            x = centre_x + (x - centre_x) * keep / distance
            y = centre_y + (y - centre_y) * keep / distance
    return x, y


def _has_room(
    place: tuple[float, float], others: Sequence[tuple[float, float]], crowding: float
) -> bool:
    keep = 2 * RED_CELL_RADIUS * crowding
    return all(math.hypot(place[0] - x, place[1] - y) > keep for x, y in others)


def _add_red_cell(rng: np.random.Generator, density: Field, x: float, y: float) -> None:
    """A disc that is paler in its middle; where two overlap, the density adds a little."""
    found = window(density, x, y, RED_CELL_RADIUS * 1.35)
    if found is None:
        return
    under, grid = found
    radius = RED_CELL_RADIUS * uniform(rng, 0.88, 1.12)
    depth = blob(grid, rng, radius, uniform(rng, 1.0, 1.25), (0.03, 0.035, 0.025))
    pallor, hollow = uniform(rng, 0.0, 1.0), uniform(rng, 0.3, 0.5)
    steep = uniform(rng, 10.0, 26.0)
    middle = np.clip((depth - radius * (1 - hollow)) / np.float32(steep) + 0.5, 0.0, 1.0)
    middle = middle * middle * (3 - 2 * middle)
    # The edge is soft, and the darkest ring lies 10 pixels inside it.
    ring = np.clip(depth / 10.0, 0.0, 1.0)
    ring = 0.76 + 0.26 * ring * (2 - ring)
    drawn = ramp(depth - 0.5, 4.5) * ring * (1 - middle * np.float32(pallor))
    drawn *= np.float32(uniform(rng, 0.92, 1.08))
    lower, higher = np.minimum(under, drawn), np.maximum(under, drawn)
    under[...] = higher + lower * np.float32(0.2)


def _add_platelet(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> None:
    """A small ragged body with a granular purple middle."""
    radius = uniform(rng, 6, 12)
    found = window(canvas, x, y, radius * 2)
    if found is None:
        return
    under, grid = found
    depth = blob(grid, rng, radius, uniform(rng, 1.0, 1.5), (0.04, 0.04, 0.04))
    ragged = depth + smooth_noise(rng, grid.shape, 4.5) * np.float32(0.6)
    tone = smooth_noise(rng, grid.shape, 3.2) + np.clip(1.4 - depth / 3.0, -0.8, 1.4)
    blend(under, ramp(ragged, 2.5) * 0.95, palette.stained(tone, palette.PLATELET))


def develop(rng: np.random.Generator, canvas: Canvas) -> Image.Image:
    """Light, stain strength, sensor noise and focus; from the canvas to an RGB picture."""
    height, width = canvas.shape[1:]
    strength = uniform(rng, 0.95, 1.04)
    grey = rng.random() < 0.02
    gain = as_planes(GREY_BACKGROUND if grey else BACKGROUND) / as_planes(BACKGROUND)
    gain = gain * np.float32(uniform(rng, 0.985, 1.005))
    across, down = uniform(rng, -0.008, 0.008), uniform(rng, -0.008, 0.008)
    light = (
        1
        + np.linspace(-across, across, width, dtype=np.float32)[None, :]
        + np.linspace(-down, down, height, dtype=np.float32)[:, None]
    )
    lit = canvas * (gain * strength)
    lit += as_planes(BACKGROUND) * gain * (1 - strength)
    lit *= light
    # Half a level more, because the conversion to whole numbers cuts off.
    lit += _grain(rng, lit.shape) * np.float32(0.014) + np.float32(0.5)
    np.clip(lit, 0, 255, out=lit)
    planes = [Image.fromarray(plane) for plane in lit.astype(np.uint8)]
    if grey:
        blur = ImageFilter.GaussianBlur(uniform(rng, 0.6, 1.1))
        planes = [plane.filter(blur) for plane in planes]
    return _through_lens(rng, *planes)


def _through_lens(
    rng: np.random.Generator, red: Image.Image, green: Image.Image, blue: Image.Image
) -> Image.Image:
    """Blue is out of focus, red slightly, and blue is noisy where little light comes through."""
    side = uniform(rng, 0.04, 0.12)
    corner = side * side
    soft = (corner, side, corner, side, 1.0, side, corner, side, corner)
    red = red.filter(ImageFilter.Kernel((3, 3), soft))
    # A box of this radius has a standard deviation of 1.6 pixels.
    hazy = np.asarray(blue.filter(ImageFilter.BoxBlur(2.3)), dtype=np.float32)
    level = np.asarray(green, dtype=np.float32)
    noise = np.float32(0.088) - level * np.float32(0.079 / 230)
    hazy = hazy + _grain(rng, hazy.shape) * noise + np.float32(0.5)
    blue = Image.fromarray(np.clip(hazy, 0, 255, out=hazy).astype(np.uint8))
    return Image.merge("RGB", (red, green, blue))


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.int8]:
    """White noise, -128..127."""
    return np.frombuffer(rng.bytes(math.prod(shape)), dtype=np.int8).reshape(shape)
