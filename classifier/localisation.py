"""Finds the white cell in a frame, so that the cells of all laboratories come at one scale.

What all Romanowsky stains share is that the nucleus of a white cell absorbs both red and green
light, and that red cells hardly absorb red. So the nucleus is what is darkest in those two channels
near the centre of the frame, and its spread gives the scale: a segmented nucleus reaches as far
across its cell as a round one fills it.

The densities are thresholded twice after Otsu 1979 (doi 10.1109/TSMC.1979.4310076): cells against
background, then nuclei against everything else. The centre and the spread follow by mean shift with
a window that grows and shrinks with the spread (Comaniciu and Meer 2002, doi 10.1109/34.1000236).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Side of the reduced frame that is searched.
SEARCH_SIZE = 64
# Side of the crop over the spread of the nucleus (root mean square distance from its centre). For
# a disc the spread is 0.71 of the radius, so a lymphocyte fills 70% of the crop.
SIDE_PER_SPREAD = 5.0
# What is smaller than this part of the frame is no white cell: it is not enlarged to look like one.
SMALLEST_SIDE = 0.36
# Width of the prior for the centre of the frame: one image shows one cell.
_PRIOR_WIDTH = 0.30
# How far around the centre, in spreads, parts of the nucleus are looked for.
_WINDOW = 2.5
_SMALLEST_SPREAD = 0.03
_STEPS = 12
_BINS = 64


class FoundCell(NamedTuple):
    """The square around a cell, in parts of the side of the frame searched (0..1).

    `nucleus` is the mean optical density (3,) of its nucleus over the background's, RGB.
    """

    left: float
    top: float
    side: float
    nucleus: Floats


def locate_cell(frame: NDArray[np.uint8], background: Floats) -> FoundCell:
    """Return the square to show the network, and how deeply the nucleus is stained.

    Args:
        frame: Array (n, n, 3) of uint8, RGB, the frame reduced to a few dozen pixels a side.
        background: The mean colour (3,) of its background, in 1..255.

    Returns:
        A square inside the frame. A frame without anything dark is returned almost whole.
    """
    size = frame.shape[0]
    density = -np.log(np.clip(frame / background, 0.02, 1.0)).astype(np.float32)
    darkness = 0.5 * density[..., 0] + density[..., 1]
    axis, prior = _axis_and_prior(size)
    weights, (x, y, spread) = _mean_shift(_nucleus(darkness, prior), prior, axis)
    side = min(max(SIDE_PER_SPREAD * spread / size, SMALLEST_SIDE), 1.0)
    left, top = (min(max((c + 0.5) / size - side / 2, 0.0), 1.0 - side) for c in (x, y))
    nucleus = np.einsum("yx,yxc->c", weights, density) / max(float(weights.sum()), 1e-6)
    return FoundCell(left, top, side, nucleus.astype(np.float32))


@cache
def _axis_and_prior(size: int) -> tuple[Floats, Floats]:
    """Return the places (n,) along a side, and how likely the cell is at each pixel (n, n)."""
    axis = np.arange(size, dtype=np.float32)
    middle = (size - 1) / 2
    bell = np.exp(-((axis - middle) ** 2) / (2 * (_PRIOR_WIDTH * size) ** 2)).astype(np.float32)
    return axis, np.outer(bell, bell)


def _nucleus(darkness: Floats, prior: Floats) -> Floats:
    """Weigh each pixel with 0..1 by how surely it belongs to a nucleus."""
    cells = darkness > otsu_threshold(darkness.ravel(), prior.ravel())
    if np.count_nonzero(cells) < _BINS // 3:
        return np.asarray(darkness - darkness.min() + 1e-3)
    threshold = otsu_threshold(darkness[cells], prior[cells])
    if darkness.max() - threshold < 1e-3:
        return np.asarray(cells, np.float32)
    slope = 0.15 * float(darkness.max() - threshold)
    return np.asarray(np.clip((darkness - threshold) / slope, 0.0, 1.0))


def _mean_shift(
    nucleus: Floats, prior: Floats, axis: Floats
) -> tuple[Floats, tuple[float, float, float]]:
    """Return the weights of the nucleus nearest to the middle; its x, y and spread in pixels."""
    weights = nucleus * prior
    found = _moments(weights, axis)
    for _ in range(_STEPS):
        x, y, spread = found
        distance = np.sqrt((axis - x)[None, :] ** 2 + (axis - y)[:, None] ** 2)
        inside = nucleus * np.clip(_WINDOW * spread - distance, 0.0, 1.0)
        if inside.sum() < 3.0:
            break
        x, y, spread = _moments(inside, axis)
        before, found = found, (x, y, max(spread, _SMALLEST_SPREAD * axis.size))
        weights = inside
        if max(abs(a - b) for a, b in zip(before, found, strict=True)) < 0.02:
            break
    return weights, found


def _moments(weights: Floats, axis: Floats) -> tuple[float, float, float]:
    columns, rows = weights.sum(axis=0), weights.sum(axis=1)
    total = max(float(columns.sum()), 1e-6)
    x, y = float(columns @ axis) / total, float(rows @ axis) / total
    square = float(columns @ (axis - x) ** 2 + rows @ (axis - y) ** 2) / total
    return x, y, square**0.5


def otsu_threshold(values: Floats, weights: Floats) -> float:
    """Return the value that best separates weighted values into two groups (Otsu 1979)."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-6:
        return low
    histogram, edges = weighted_histogram(values, weights, low, high)
    centres = (edges[:-1] + edges[1:]) / 2
    below, moment = np.cumsum(histogram), np.cumsum(histogram * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (moment[-1] * below / below[-1] - moment) ** 2 / (below * (below[-1] - below))
    return float(centres[np.where(np.isnan(between), -1.0, between)[:-1].argmax()])


def weighted_histogram(
    values: Floats, weights: Floats, low: float, high: float
) -> tuple[Floats, Floats]:
    """Return what `numpy.histogram` does for values from low to high, in half the time."""
    edges = (np.arange(_BINS + 1) * ((high - low) / _BINS) + low).astype(np.float32)
    edges[-1] = high
    bins = ((values - low) * (_BINS / (high - low))).astype(np.int32)
    np.minimum(bins, _BINS - 1, out=bins)
    # Rounding can put a value that lies near an edge beside its bin.
    bins -= values < edges.take(bins)
    bins += (values >= edges.take(bins + 1)) & (bins < _BINS - 1)
    return np.bincount(bins, weights, _BINS).astype(np.float32), edges
