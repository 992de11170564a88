"""Fields that shapes and stains are made of: outlines, unions, smooth noise, scattered granules.

A field is a float32 array of shape (height, width). Outlines and granules are depths: pixels to
the edge, positive inside. Only additions, products, quotients and square roots touch a pixel:
they are exact to the bit, so that a seed does not give another picture on another processor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Field = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Grid:
    """Coordinates of a window, in pixels from a centre: x of shape (1, width), y (height, 1)."""

    x: Field
    y: Field

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.y.shape[0], self.x.shape[1]

    def moved(self, dx: float, dy: float) -> Grid:
        """The same pixels, seen from a centre (dx, dy) further on."""
        return Grid(self.x - np.float32(dx), self.y - np.float32(dy))


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One number between two bounds, as a plain float so that float32 arrays stay float32."""
    return low + (high - low) * rng.random()


def ramp(field: Field, width: float = 1.6) -> Field:
    """Coverage 0..1 of the inside of an outline; the edge is `width` pixels soft."""
    coverage: Field = np.clip(field / width + 0.5, 0.0, 1.0)
    return coverage


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Field:
    """Noise of mean 0 and standard deviation about 1 whose blobs are `scale` pixels wide."""
    height, width = shape
    rows, columns = math.ceil(height / scale) + 2, math.ceil(width / scale) + 2
    coarse = Image.frombytes("L", (columns, rows), rng.bytes(rows * columns))
    left, top = uniform(rng, 0, 1), uniform(rng, 0, 1)
    box = (left, top, left + width / scale, top + height / scale)
    fine = coarse.resize((width, height), Image.Resampling.BICUBIC, box=box)
    # Bytes have a deviation of 74; interpolation between them leaves about 54.
    return (np.asarray(fine, dtype=np.float32) - 127.5) / 54.0


def blob(
    grid: Grid, rng: np.random.Generator, radius: float, stretch: float, waves: tuple[float, ...]
) -> Field:
    """A round outline, stretched along a random axis and made irregular.

    Args:
        radius: Mean radius in pixels.
        stretch: Long axis over short axis, 1 or more.
        waves: Amplitude, relative to the radius, of 2, 3, 4 ... bumps around the outline.
    """
    angle, root = uniform(rng, 0, 2 * math.pi), math.sqrt(stretch)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    x = (grid.x * cos + grid.y * sin) * np.float32(1 / root)
    y = (grid.y * cos - grid.x * sin) * np.float32(root)
    distance: Field = np.sqrt(x * x + y * y + np.float32(1e-3))
    cos1: Field = x / distance
    sin1: Field = y / distance
    cos_n, sin_n = cos1, sin1
    edge: Field = np.ones((1, 1), dtype=np.float32)
    for amplitude in waves:
        cos_n, sin_n = cos_n * cos1 - sin_n * sin1, sin_n * cos1 + cos_n * sin1
        phase, size = uniform(rng, 0, 2 * math.pi), amplitude * uniform(rng, 0.4, 1.2)
        edge = edge + cos_n * np.float32(size * math.cos(phase))
        edge = edge + sin_n * np.float32(size * math.sin(phase))
    depth: Field = edge * np.float32(radius) - distance
    return depth


def capsule(grid: Grid, ends: tuple[float, float, float, float], half_width: float) -> Field:
    """A line from (x0, y0) to (x1, y1) with round ends."""
    x0, y0, x1, y1 = ends
    dx, dy = x1 - x0, y1 - y0
    x, y = grid.x - np.float32(x0), grid.y - np.float32(y0)
    along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy + 1e-6), 0.0, 1.0)
    off_x, off_y = x - along * dx, y - along * dy
    depth: Field = np.float32(half_width) - np.sqrt(off_x * off_x + off_y * off_y)
    return depth


def union(first: Field, second: Field, softness: float) -> Field:
    """Both shapes as one; `softness` pixels of rounding where they meet."""
    share = ramp(first - second, 2 * softness)
    merged: Field = second + (first - second) * share + share * (1 - share) * softness
    return merged


def granules(
    rng: np.random.Generator,
    shape: tuple[int, int],
    pitch: int,
    radius: tuple[float, float],
    presence: float,
) -> tuple[Field, Field]:
    """Discs thrown on a jittered lattice, `pitch` pixels apart on average.

    Returns:
        Depth inside the nearest disc, and a tone -1..1 that is constant within each disc.
    """
    height, width = shape
    rows, columns = -(-height // pitch), -(-width // pitch)
    lattice = (rows + 2, columns + 2)
    at_x = (rng.random(lattice, np.float32) + np.arange(-1, columns + 1, dtype=np.float32)) * pitch
    at_y = rng.random(lattice, np.float32) + np.arange(-1, rows + 1, dtype=np.float32)[:, None]
    at_y *= pitch
    size = rng.random(lattice, np.float32) * np.float32(radius[1] - radius[0])
    size += np.float32(radius[0])
    size[rng.random(lattice, np.float32) > presence] = -4.0 * pitch
    tones = rng.random(lattice, np.float32) * 2 - 1
    # Axes (row, y in row, column, x in column): every pixel of a lattice cell has the same nine
    # neighbours, so that numpy broadcasts them instead of gathering.
    x = np.arange(columns * pitch, dtype=np.float32).reshape(1, 1, columns, pitch)
    y = np.arange(rows * pitch, dtype=np.float32).reshape(rows, pitch, 1, 1)
    depth = np.full((rows, pitch, columns, pitch), -4.0 * pitch, dtype=np.float32)
    tone = np.zeros_like(depth)
    for down in range(3):
        for right in range(3):
            cell = np.s_[down : down + rows, None, right : right + columns, None]
            dx, dy = x - at_x[cell], y - at_y[cell]
            near = size[cell] - np.sqrt(dx * dx + dy * dy)
            np.copyto(tone, tones[cell], where=near > depth)
            np.maximum(depth, near, out=depth)
    whole = (rows * pitch, columns * pitch)
    return depth.reshape(whole)[:height, :width], tone.reshape(whole)[:height, :width]
