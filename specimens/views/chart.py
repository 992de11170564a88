"""The bars of the differential as numbers for an SVG: lengths in the units of its view box."""

from dataclasses import dataclass
from typing import Final

from specimens.differential import Differential, Row

WIDTH: Final = 200.0
# The axis ends at the first of these that holds every limit: bars stay comparable, never tiny.
_SCALES: Final = (20, 40, 60, 80, 100)


@dataclass(frozen=True, slots=True)
class Bar:
    row: Row
    length: str
    whisker_from: str
    whisker_to: str


@dataclass(frozen=True, slots=True)
class Chart:
    bars: tuple[Bar, ...]
    scale: int
    ticks: tuple[tuple[str, int], ...]


def differential_chart(counted: Differential) -> Chart:
    """Lay the rows out on one common axis in per cent."""
    widest = max((row.upper for row in counted.rows), default=100.0) if counted.counted else 100.0
    scale = next(limit for limit in _SCALES if widest <= limit + 1e-9)
    unit = WIDTH / scale
    bars = tuple(
        Bar(
            row,
            _length(float(row.percent) * unit),
            _length(row.lower * unit),
            _length(row.upper * unit),
        )
        for row in counted.rows
    )
    step = scale // 4
    ticks = tuple((_length(value * unit), value) for value in range(0, scale + 1, step))
    return Chart(bars, scale, ticks)


def _length(value: float) -> str:
    return f"{value:.1f}"
