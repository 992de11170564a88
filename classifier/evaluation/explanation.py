"""Whether the explanation map sits on the cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.evaluation.cell_region import SIDE, CellRegion


def mass_on_cell(explanation: NDArray[np.uint8], region: CellRegion) -> float | None:
    """Share of the map's mass that lies inside the cell; None for a map of zeros.

    Args:
        explanation: (16, 16), of the prepared image.
        region: of the same prepared image.
    """
    fine = Image.fromarray(explanation).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    mass = np.asarray(fine, dtype=np.float64)
    total = mass.sum()
    return float(mass[region.cell].sum() / total) if total > 0 else None


def describe_explanations(shares: list[float], areas: list[float]) -> dict[str, Any] | None:
    """The check over many cells, ready for JSON; None without a cell.

    Args:
        shares: of the map's mass inside the cell, for each cell that was found.
        areas: share of the frame inside the cell: what a map that says nothing would have.
    """
    if not shares:
        return None
    values = np.array(shares)
    return {
        "n": len(values),
        "median": round(float(np.median(values)), 4),
        "percentile_10": round(float(np.quantile(values, 0.1)), 4),
        "share_under_half": round(float((values < 0.5).mean()), 4),
        "median_cell_area": round(float(np.median(areas)), 4),
    }
