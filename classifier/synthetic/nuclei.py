"""Outlines of the nuclei, one function for each form; all return a depth in pixels."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from classifier.synthetic.texture import Field, Grid, blob, capsule, smooth_noise, uniform, union


def _lobe_centres(
    rng: np.random.Generator, count: int, spacing: float, turn: float
) -> list[tuple[float, float]]:
    """Points along an arc that bends by `turn` radians in all, around their own mean."""
    step = turn / max(count - 1, 1)
    bend = step if count > 2 else uniform(rng, 0.2, 0.6)
    radius = spacing / (2 * math.sin(bend / 2))
    start = uniform(rng, 0, 2 * math.pi)
    points = []
    for index in range(count):
        angle = start + bend * index
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    mean_x = sum(p[0] for p in points) / count
    mean_y = sum(p[1] for p in points) / count
    jitter = spacing * 0.08
    return [
        (x - mean_x + uniform(rng, -jitter, jitter), y - mean_y + uniform(rng, -jitter, jitter))
        for x, y in points
    ]


def lobed(
    grid: Grid,
    rng: np.random.Generator,
    *,
    lobes: int,
    area: float,
    spacing: tuple[float, float],
    bridge: tuple[float, float],
    softness: float = 2.0,
) -> Field:
    """Lobes in a row, joined by bridges: neutrophil, eosinophil, basophil.

    Args:
        lobes: How many, two to five.
        area: Of all lobes together, in square pixels.
        spacing: Bounds of the distance between neighbours, in lobe radii.
        bridge: Bounds of the half width of a bridge, in lobe radii.
        softness: Pixels of rounding between the parts.
    """
    lobe_radius = math.sqrt(area / (lobes * math.pi))
    turn = uniform(rng, 0.9, 1.45) * math.pi
    centres = _lobe_centres(rng, lobes, lobe_radius * uniform(rng, *spacing), turn)
    drawn = []
    for x, y in centres:
        size, stretch = lobe_radius * uniform(rng, 0.86, 1.14), uniform(rng, 1.0, 1.4)
        drawn.append(blob(grid.moved(x, y), rng, size, stretch, (0.05, 0.06)))
    field = functools.reduce(lambda whole, lobe: union(whole, lobe, softness), drawn)
    for start, end in itertools.pairwise(centres):
        width = lobe_radius * uniform(rng, *bridge)
        field = union(field, capsule(grid, (*start, *end), width), softness + 1)
    return field + smooth_noise(rng, grid.shape, 8.0) * np.float32(0.8)


def rounded(grid: Grid, rng: np.random.Generator, radius: float) -> Field:
    """A round to oval nucleus, now and then with a shallow dent: lymphocyte."""
    field = blob(grid, rng, radius, uniform(rng, 1.0, 1.22), (0.02, 0.025, 0.015))
    if rng.random() < 0.3:
        width = uniform(rng, 0.5, 1.2)
        depth = uniform(rng, 0.04, 0.14) - width / 2
        field = _notched(grid, rng, field, radius, depth=depth, width=width)
    return field + smooth_noise(rng, grid.shape, 7.0) * np.float32(0.5)


def folded(grid: Grid, rng: np.random.Generator, radius: float) -> Field:
    """A kidney, horseshoe or folded nucleus: monocyte."""
    if rng.random() < 0.3:
        area = 3 * radius * radius
        field = lobed(
            grid, rng, lobes=2, area=area, spacing=(1.0, 1.4), bridge=(0.6, 0.95), softness=9.0
        )
    else:
        field = blob(grid, rng, radius, uniform(rng, 1.05, 1.4), (0.05, 0.06, 0.04, 0.03))
        depth, width = uniform(rng, 0.2, 0.55), uniform(rng, 0.25, 1.0)
        field = _notched(grid, rng, field, radius, depth=depth, width=width)
    if rng.random() < 0.4:
        depth, width = uniform(rng, 0.05, 0.25), uniform(rng, 0.2, 0.7)
        field = _notched(grid, rng, field, radius, depth=depth, width=width)
    return field + smooth_noise(rng, grid.shape, 11.0) * np.float32(1.3)


def _notched(
    grid: Grid, rng: np.random.Generator, field: Field, radius: float, *, depth: float, width: float
) -> Field:
    """Cut a notch from the edge towards the centre; depth (to its round end) and width in radii."""
    angle = uniform(rng, 0, 2 * math.pi)
    cos, sin = math.cos(angle) * radius, math.sin(angle) * radius
    inner = 1 - depth
    notch = capsule(grid, (cos * inner, sin * inner, cos * 1.5, sin * 1.5), radius * width * 0.5)
    return -union(-field, notch, 9.0)
