"""Where the white cell lies in a picture: found from its nucleus, in NumPy and Pillow alone.

Good enough to measure how much of the frame the cell fills and whether an explanation lies on it;
never used to classify.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Mask = NDArray[np.bool_]
Density = NDArray[np.float32]

# Pictures are searched at this size: enough for an outline, and fast.
SIDE = 128
# Pieces below this share of the frame are platelets or dirt.
_SMALLEST_NUCLEUS = 0.008
# A difference in optical density below which there is nothing to find.
_LEAST_CONTRAST = 0.15
# How far from the middle of the frame a nucleus may lie, as a share of the side.
_FARTHEST = 0.35
# How far the cytoplasm may reach beyond the nucleus, in radii of the nucleus.
_REACH = 0.8
# Density in green, above that of the background, from which on something is stained.
_STAINED = 0.13


@dataclass(frozen=True, slots=True, eq=False)
class CellRegion:
    """Boolean arrays (128, 128) over the whole frame.

    Attributes:
        nucleus: the darkly stained part.
        cell: nucleus and cytoplasm.
    """

    nucleus: Mask
    cell: Mask


def optical_density(image: Image.Image) -> Density:
    """Density (128, 128, 3) of a picture: additive in the amount of stain (Lambert and Beer)."""
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    levels = np.asarray(small, dtype=np.float32)
    density: Density = -np.log(np.clip(levels, 4.0, 255.0) / 255.0)
    return density


def find_cell(density: Density) -> CellRegion | None:
    """The white cell nearest to the middle, or None where none is found.

    The nucleus absorbs red light, which only the blue dyes of the stain do. The cell is the
    nucleus, and what is stained within reach of it and connected with it.

    Args:
        density: from `optical_density`.
    """
    nucleus = _find_nucleus(density)
    if nucleus is None:
        return None
    radius = float(np.sqrt(nucleus.sum() / np.pi))
    whole = shrunk(grown(nucleus, round(0.4 * radius)), round(0.4 * radius)) | nucleus
    green = _smooth(density[..., 1])
    stained = green > np.quantile(green, 0.05) + _STAINED
    cell = _connected(whole | (grown(whole, round(_REACH * radius)) & stained), whole)
    # What hangs on by a thread is a neighbour.
    thread = max(3, round(0.3 * radius))
    cell = whole | _connected(grown(shrunk(cell, thread), thread) & cell, whole)
    return CellRegion(nucleus, cell)


def _find_nucleus(density: Density) -> Mask | None:
    red_light = _smooth(density[..., 0])
    threshold, contrast = _otsu(red_light)
    if contrast < _LEAST_CONTRAST:
        return None
    pieces = [piece for piece in _pieces(red_light > threshold) if piece.sum() > 8]
    large = [piece for piece in pieces if piece.sum() >= _SMALLEST_NUCLEUS * SIDE**2]
    ranked = [(_centrality(piece), piece) for piece in large if _distance(piece) < _FARTHEST]
    if not ranked:
        return None
    main = max(ranked, key=lambda entry: entry[0])[1]
    nucleus = main
    # Lobes of one nucleus lie close together.
    near = grown(main, round(0.7 * float(np.sqrt(main.sum() / np.pi))))
    for piece in pieces:
        if piece is not main and (piece & near).sum() > 0.5 * piece.sum():
            nucleus = nucleus | piece
    return nucleus


def _smooth(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over 3 x 3 pixels."""
    padded = np.pad(plane, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    mean: NDArray[np.float32] = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / np.float32(9)
    return mean


def _otsu(values: NDArray[np.float32]) -> tuple[float, float]:
    """Threshold that separates two groups best (Otsu 1979), and the distance of their means."""
    if float(np.ptp(values)) < _LEAST_CONTRAST:
        return float(values.max()), 0.0
    counts, edges = np.histogram(values, bins=128)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * centres)
    low = sums[:-1] / np.maximum(below, 1)
    high = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (high - low) ** 2
    best = int(between.argmax())
    return float(edges[best + 1]), float(high[best] - low[best])


def _distance(piece: Mask) -> float:
    """From the middle of the frame to the nearest part of a piece, as a share of the side."""
    rows, columns = np.nonzero(piece)
    middle = (SIDE - 1) / 2
    return float(np.hypot(rows - middle, columns - middle).min()) / SIDE


def _centrality(piece: Mask) -> float:
    rows, columns = np.nonzero(piece)
    middle = (SIDE - 1) / 2
    away = np.hypot(rows.mean() - middle, columns.mean() - middle) / SIDE
    return float(np.sqrt(len(rows)) * np.exp(-((away / 0.25) ** 2)))


def grown(mask: Mask, radius: int) -> Mask:
    """Everything within `radius` pixels, in an eight-sided neighbourhood."""
    result = mask.copy()
    for step in range(max(0, radius)):
        wider = result.copy()
        wider[1:] |= result[:-1]
        wider[:-1] |= result[1:]
        # A square in one step of two and a diamond in the other make an octagon.
        across = wider if step % 2 else result
        wider[:, 1:] |= across[:, :-1].copy()
        wider[:, :-1] |= across[:, 1:].copy()
        result = wider
    return result


def shrunk(mask: Mask, radius: int) -> Mask:
    """What remains when the outside grows; the border of the frame counts as inside."""
    return ~grown(~mask, radius)


def _connected(mask: Mask, seed: Mask) -> Mask:
    """The pieces of a mask that touch the seed."""
    result = np.zeros_like(mask)
    for piece in _pieces(mask):
        if (piece & seed).any():
            result |= piece
    return result


def _pieces(mask: Mask) -> list[Mask]:
    """Connected pieces (four neighbours), by joining the runs of each row with those above."""
    parents: list[int] = []
    spans: list[tuple[int, int, int]] = []
    above: list[int] = []
    for row in range(mask.shape[0]):
        edges = np.flatnonzero(np.diff(mask[row].astype(np.int8), prepend=0, append=0))
        current = []
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            own = len(parents)
            parents.append(own)
            spans.append((row, start, end))
            for other in above:
                if spans[other][1] < end and start < spans[other][2]:
                    parents[_root(parents, other)] = _root(parents, own)
            current.append(own)
        above = current
    found: dict[int, Mask] = {}
    for index, (row, start, end) in enumerate(spans):
        piece = found.setdefault(_root(parents, index), np.zeros(mask.shape, dtype=np.bool_))
        piece[row, start:end] = True
    return list(found.values())


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index
