"""The five kinds of white cell, painted onto a smear."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from classifier.synthetic import nuclei, palette
from classifier.synthetic.palette import Canvas, Stain, blend, drifted, stained
from classifier.synthetic.texture import (
    Field,
    Grid,
    blob,
    granules,
    ramp,
    smooth_noise,
    uniform,
    union,
)

Painter = Callable[[Canvas, Grid, np.random.Generator, float], Field]


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind is painted: bounds of its radius in pixels, and its painter.

    A painter takes pixels (3, height, width), their coordinates from the cell's centre, a random
    generator and the radius; it paints in place and returns the depth inside the cell's outline.
    """

    radius: tuple[float, float]
    paint: Painter


def _chromatin(rng: np.random.Generator, depth: Field, coarse: float, fine: float) -> Field:
    """Clumps and clearings of a nucleus, darker along its membrane."""
    shape = depth.shape[0], depth.shape[1]
    clumps = smooth_noise(rng, shape, coarse) * 0.75 + smooth_noise(rng, shape, fine) * 0.7
    tone: Field = clumps - np.clip(2.6 - depth * 0.75, 0.0, 2.6)
    return tone


def _paint_nucleus(
    pixels: Canvas,
    rng: np.random.Generator,
    depth: Field,
    stain: Stain,
    scales: tuple[float, float],
) -> None:
    tone = _chromatin(rng, depth, *scales)
    blend(pixels, ramp(depth, 2.0), stained(tone, drifted(rng, stain, 3.5)))


def _beside(rng: np.random.Generator, grid: Grid, distance: float) -> Grid:
    angle = uniform(rng, 0, 2 * math.pi)
    return grid.moved(distance * math.cos(angle), distance * math.sin(angle))


def paint_neutrophil(pixels: Canvas, grid: Grid, rng: np.random.Generator, radius: float) -> Field:
    """Two to five dark lobes; pale pink cytoplasm with fine granules."""
    cell = blob(grid, rng, radius, uniform(rng, 1.0, 1.18), (0.02, 0.03, 0.02))
    cell += smooth_noise(rng, grid.shape, 12.0) * np.float32(0.8)
    tone = smooth_noise(rng, grid.shape, 3.0) * 0.55 + smooth_noise(rng, grid.shape, 18.0) * 0.7
    stain = drifted(rng, palette.NEUTROPHIL_CYTOPLASM, 4)
    blend(pixels, ramp(cell, 2.5) * uniform(rng, 0.88, 1.0), stained(tone, stain))
    patches = ramp(smooth_noise(rng, grid.shape, 22.0), 3.0) * ramp(cell - 6, 8.0)
    blend(pixels, patches * uniform(rng, 0.2, 0.8), palette.NEUTROPHIL_PATCH)
    dots, shade = granules(rng, grid.shape, 5, (0.5, 2.1), uniform(rng, 0.5, 1.0))
    dots = dots + smooth_noise(rng, grid.shape, 3.2) * np.float32(0.6)
    inside = ramp(cell - 2, 3.0)
    blend(
        pixels,
        ramp(dots, 2.4) * inside * uniform(rng, 0.25, 0.75),
        stained(shade, palette.NEUTROPHIL_GRANULE),
    )
    lobes = int(rng.choice([2, 3, 4, 5], p=[0.07, 0.45, 0.36, 0.12]))
    nucleus = nuclei.lobed(
        _beside(rng, grid, uniform(rng, 0, radius * 0.12)),
        rng,
        lobes=lobes,
        area=5300 * (radius / 75) ** 2 * uniform(rng, 0.85, 1.15),
        spacing=(1.7, 2.15),
        bridge=(0.2, 0.75),
    )
    nucleus = np.minimum(nucleus, cell - 3)
    _paint_nucleus(pixels, rng, nucleus, palette.NEUTROPHIL_NUCLEUS, (4.2, 2.4))
    return cell


def paint_eosinophil(pixels: Canvas, grid: Grid, rng: np.random.Generator, radius: float) -> Field:
    """Two, sometimes three lobes; coarse orange-red granules fill the cytoplasm."""
    cell = blob(grid, rng, radius, uniform(rng, 1.0, 1.2), (0.02, 0.025, 0.015))
    cell += smooth_noise(rng, grid.shape, 9.0) * np.float32(0.9)
    beads, shade = granules(rng, grid.shape, 5, (1.8, 3.2), 0.9)
    cell += np.clip(beads, -1.0, 1.5) * np.float32(0.5)
    blend(pixels, ramp(cell, 2.2), palette.PALE_RIM)
    stain = drifted(rng, palette.EOSINOPHIL_CYTOPLASM, 6)
    tone = shade * 0.7 + np.clip(beads, -1.5, 2.0) * 0.45
    tone += smooth_noise(rng, grid.shape, 3.0) * 0.5 + smooth_noise(rng, grid.shape, 15.0) * 0.4
    tone -= np.clip(1.6 - cell / 3.0, 0.0, 1.6)
    # Here and there a grey-blue patch or seam stays free of granules.
    bare = smooth_noise(rng, grid.shape, 26.0) * 5 + uniform(rng, 7.0, 16.0)
    filled = ramp(beads + bare, 3.0) * ramp(cell - 0.5, 2.0)
    blend(pixels, filled, stained(tone, stain))
    _paint_gaps(pixels, grid, rng, cell)
    nucleus = nuclei.lobed(
        _beside(rng, grid, uniform(rng, radius * 0.1, radius * 0.35)),
        rng,
        lobes=int(rng.choice([2, 3], p=[0.8, 0.2])),
        area=5600 * (radius / 72) ** 2 * uniform(rng, 0.85, 1.15),
        spacing=(1.8, 2.2),
        bridge=(0.08, 0.25),
    )
    nucleus = np.minimum(nucleus, cell - 2)
    _paint_nucleus(pixels, rng, nucleus, palette.EOSINOPHIL_NUCLEUS, (4.6, 2.4))
    return cell


def _paint_gaps(pixels: Canvas, grid: Grid, rng: np.random.Generator, cell: Field) -> None:
    """A few pin-point light gaps between the granules."""
    if rng.random() < 0.5:
        holes, _ = granules(rng, grid.shape, 12, (1.0, 2.2), uniform(rng, 0.05, 0.3))
        blend(pixels, ramp(holes, 2.0) * ramp(cell - 6, 4.0) * 0.8, palette.VACUOLE)


def paint_basophil(pixels: Canvas, grid: Grid, rng: np.random.Generator, radius: float) -> Field:
    """Coarse dark purple granules over a paler nucleus, some at the very edge."""
    cell = blob(grid, rng, radius, uniform(rng, 1.0, 1.2), (0.03, 0.03, 0.02))
    cell += smooth_noise(rng, grid.shape, 8.0) * np.float32(1.5)
    if rng.random() < 0.25:
        smear = smooth_noise(rng, grid.shape, 24.0) * 8 + smooth_noise(rng, grid.shape, 5.0) * 2
        faint = uniform(rng, 0.2, 0.6)
        blend(
            pixels,
            ramp(cell + 2 + smear, 12.0) * ramp(cell + 22, 12.0) * faint,
            palette.BASOPHIL_HALO,
        )
    tone = smooth_noise(rng, grid.shape, 5.0)
    blend(pixels, ramp(cell, 3.0), stained(tone, drifted(rng, palette.BASOPHIL_CYTOPLASM, 5)))
    nucleus = nuclei.lobed(
        _beside(rng, grid, uniform(rng, 0, radius * 0.25)),
        rng,
        lobes=int(rng.choice([2, 3], p=[0.6, 0.4])),
        area=6000 * (radius / 65) ** 2 * uniform(rng, 0.8, 1.2),
        spacing=(1.2, 1.6),
        bridge=(0.5, 0.9),
    )
    nucleus = np.minimum(nucleus, cell - 2)
    chromatin = _chromatin(rng, nucleus, 4.0, 2.6)
    stain = drifted(rng, palette.BASOPHIL_NUCLEUS, 4)
    blend(pixels, ramp(nucleus, 6.0), stained(chromatin, stain))
    beads, shade = granules(rng, grid.shape, 5, (1.0, 3.4), uniform(rng, 0.7, 1.0))
    beads += smooth_noise(rng, grid.shape, 3.8) * np.float32(1.1)
    beads += np.float32(uniform(rng, -0.3, 0.7))
    # Smaller over the nucleus, so that it shows through; none far outside the outline.
    thin = uniform(rng, -0.2, 0.7)
    beads -= ramp(nucleus, 6.0) * np.float32(thin)
    covered = ramp(beads, 1.8) * ramp(cell + 1.5, 2.0)
    blend(pixels, covered, stained(shade * 1.2, drifted(rng, palette.BASOPHIL_GRANULE, 3)))
    return cell


def paint_lymphocyte(pixels: Canvas, grid: Grid, rng: np.random.Generator, radius: float) -> Field:
    """A large, round, dense nucleus and a thin blue rim."""
    share = uniform(rng, 0.8, 0.91)
    cell = blob(grid, rng, radius, uniform(rng, 1.0, 1.15), (0.02, 0.03, 0.02))
    nucleus = nuclei.rounded(
        _beside(rng, grid, radius * (1 - share) * uniform(rng, 0.3, 1.0)), rng, radius * share
    )
    np.maximum(cell, nucleus + 1.5, out=cell)
    cell += smooth_noise(rng, grid.shape, 3.0) * uniform(rng, 0.2, 1.0)
    cell += smooth_noise(rng, grid.shape, 9.0) * uniform(rng, 0.3, 1.8)
    tone = smooth_noise(rng, grid.shape, 2.6) * 0.4 + smooth_noise(rng, grid.shape, 6.0) * 0.4
    tone += uniform(rng, -0.6, 0.8)
    tone -= np.clip(3.0 - cell * 0.75, 0.0, 3.0)
    stain = drifted(rng, palette.LYMPHOCYTE_CYTOPLASM, 5)
    blend(pixels, ramp(cell, 2.4), stained(tone, stain))
    # Dense chromatin: faint clumps, few clearings, darker towards the membrane.
    clumps = smooth_noise(rng, grid.shape, 9.0) * 0.35 + smooth_noise(rng, grid.shape, 2.0) * 0.5
    clearings = np.maximum(smooth_noise(rng, grid.shape, 3.0) - 1.0, 0.0) * 1.8
    depth = np.clip(nucleus / 12.0, 0.0, 1.0)
    chromatin = clumps + clearings + depth * 1.5 - 1.6
    stain = drifted(rng, palette.LYMPHOCYTE_NUCLEUS, 3)
    blend(pixels, ramp(nucleus, 2.4), stained(chromatin, stain))
    return cell


def paint_monocyte(pixels: Canvas, grid: Grid, rng: np.random.Generator, radius: float) -> Field:
    """A folded nucleus with lacy chromatin; grey-blue, ragged cytoplasm with vacuoles."""
    cell = blob(grid, rng, radius, uniform(rng, 1.02, 1.3), (0.05, 0.05, 0.04, 0.03))
    if rng.random() < 0.35:
        foot = _beside(rng, grid, radius * uniform(rng, 0.8, 1.0))
        size = radius * uniform(rng, 0.2, 0.4)
        cell = union(cell, blob(foot, rng, size, 1.3, (0.1, 0.1)), 14.0)
    cell += smooth_noise(rng, grid.shape, 3.4) * uniform(rng, 0.1, 0.9)
    cell += smooth_noise(rng, grid.shape, 13.0) * uniform(rng, 0.4, 2.0)
    tone = smooth_noise(rng, grid.shape, 2.6) * 0.55 + smooth_noise(rng, grid.shape, 8.0) * 0.6
    stain = drifted(rng, palette.MONOCYTE_CYTOPLASM, 5)
    blend(pixels, ramp(cell, 3.6), stained(tone, stain))
    if rng.random() < 0.75:
        holes, _ = granules(rng, grid.shape, 14, (2.0, 8.0), uniform(rng, 0.2, 0.8))
        # Vacuoles lie in groups, on one side.
        group = ramp(smooth_noise(rng, grid.shape, 60.0) - 0.3, 0.6)
        blend(pixels, ramp(holes, 2.4) * ramp(cell - 5, 4.0) * group, palette.VACUOLE)
    nucleus = nuclei.folded(
        _beside(rng, grid, radius * uniform(rng, 0.02, 0.16)),
        rng,
        58 * (radius / 80) ** 0.7 * uniform(rng, 0.96, 1.12),
    )
    nucleus = np.minimum(nucleus, cell - 3)
    # Lace: pale threads where a slow wave crosses zero.
    threads = 0.8 - np.abs(smooth_noise(rng, grid.shape, 5.0))
    tone = threads * 0.6 + smooth_noise(rng, grid.shape, 2.6) * 0.85
    tone += smooth_noise(rng, grid.shape, 12.0) * np.float32(0.4)
    tone -= np.clip(3.0 - nucleus * 0.7, 0.0, 3.0)
    stain = drifted(rng, palette.MONOCYTE_NUCLEUS, 5)
    blend(pixels, ramp(nucleus, 2.0), stained(tone, stain))
    return cell


KINDS: dict[str, Kind] = {
    "Basophil": Kind((57, 70), paint_basophil),
    "Eosinophil": Kind((65, 78), paint_eosinophil),
    "Lymphocyte": Kind((48, 58), paint_lymphocyte),
    "Monocyte": Kind((73, 87), paint_monocyte),
    "Neutrophil": Kind((68, 78), paint_neutrophil),
}
