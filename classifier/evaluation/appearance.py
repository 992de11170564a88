"""How pictures look, in a few numbers: to tell whether two laboratories' images are alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.evaluation.cell_region import CellRegion, Density, find_cell, optical_density

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Appearance:
    """One picture. None where no cell was found, or nothing is there to measure.

    Attributes:
        frame: shorter side of the picture in pixels.
        cell_diameter: of a circle of the cell's area, as a share of the frame's side.
        background_brightness: mean level of the background, 0..1.
        background_warmth: red minus blue of the background, 0..1; positive is yellow.
        nucleus_strength: mean optical density of the nucleus over that of the background.
        nucleus_blueness: share of that density that lies in red light: high is blue, low is red.
        cytoplasm_blueness: the same for the cytoplasm.
        sharpness: contrast between neighbouring pixels in the cell, relative to that of the whole
            cell, times its diameter: the same at every magnification.
    """

    frame: float
    cell_diameter: float | None
    background_brightness: float
    background_warmth: float
    nucleus_strength: float | None
    nucleus_blueness: float | None
    cytoplasm_blueness: float | None
    sharpness: float | None


NAMES = tuple(field.name for field in fields(Appearance))


def measure(image: Image.Image, frame: int) -> Appearance:
    """Measure an RGB picture.

    Args:
        image: the picture as it was taken, possibly made smaller.
        frame: shorter side of the picture before that, in pixels.
    """
    density = optical_density(image)
    region = find_cell(density)
    background = _background(density, region)
    level = np.exp(-background)
    bright, warmth = float(level.mean()), float(level[0] - level[2])
    if region is None:
        return Appearance(float(frame), None, bright, warmth, None, None, None, None)
    nucleus = density[region.nucleus].mean(axis=0) - background
    return Appearance(
        frame=float(frame),
        cell_diameter=_diameter(region),
        background_brightness=bright,
        background_warmth=warmth,
        nucleus_strength=float(nucleus.mean()),
        nucleus_blueness=_blueness(nucleus),
        cytoplasm_blueness=_cytoplasm(density, region, background),
        sharpness=_sharpness(density, region),
    )


def _background(density: Density, region: CellRegion | None) -> NDArray[np.float32]:
    """Mean density (3,) of the clearest tenth of what is not the cell."""
    outside = density.reshape(-1, 3) if region is None else density[~region.cell]
    if len(outside) < 100:
        outside = density.reshape(-1, 3)
    green = outside[:, 1]
    clearest: NDArray[np.float32] = outside[green <= np.quantile(green, 0.1)].mean(axis=0)
    return clearest


def _blueness(density: NDArray[np.float32]) -> float | None:
    total = float(density.sum())
    return float(density[0]) / total if total > 0.1 else None


def _cytoplasm(
    density: Density, region: CellRegion, background: NDArray[np.float32]
) -> float | None:
    cytoplasm = region.cell & ~region.nucleus
    if cytoplasm.sum() < 50:
        return None
    return _blueness(density[cytoplasm].mean(axis=0) - background)


def _sharpness(density: Density, region: CellRegion) -> float | None:
    green = density[..., 1]
    steps = np.abs(np.diff(green, axis=0))[:, :-1] + np.abs(np.diff(green, axis=1))[:-1]
    inside = region.cell[:-1, :-1]
    contrast = float(green[region.cell].std())
    if contrast <= 0.02:
        return None
    return float(steps[inside].mean()) / contrast * _diameter(region)


def _diameter(region: CellRegion) -> float:
    return float(np.sqrt(4 / np.pi * region.cell.mean()))


def describe_appearance(pictures: Iterable[Appearance]) -> dict[str, Any]:
    """Quantiles (1, 5, 25, 50, 75, 95, 99%) of each number, ready for JSON."""
    pictures = list(pictures)
    described: dict[str, Any] = {"n": len(pictures), "quantiles": list(QUANTILES)}
    for name in NAMES:
        values = [value for p in pictures if (value := getattr(p, name)) is not None]
        described[name] = quantiles(values)
    return described


def quantiles(values: Iterable[float]) -> list[float] | None:
    """The quantiles of `QUANTILES`, rounded; None without a value."""
    numbers = list(values)
    if not numbers:
        return None
    return [round(float(value), 4) for value in np.quantile(numbers, QUANTILES)]
