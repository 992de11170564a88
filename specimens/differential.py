"""The arithmetic of the differential: percentages, exact limits, absolute counts. No Django here.

White cells make the denominator; whatever is not a white cell is given per 100 of them, and a cell
that nobody has identified counts nowhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from classifier.classes import ALL_CLASSES, REPORTING_ORDER, UNIDENTIFIED, CellClass
from classifier.intervals import clopper_pearson

PLACES = 1

_OTHER_WBC = tuple(c for c in ALL_CLASSES if c.is_wbc and c not in REPORTING_ORDER)
_NON_WBC = tuple(c for c in ALL_CLASSES if not c.is_wbc and c is not UNIDENTIFIED)


@dataclass(frozen=True, slots=True)
class Row:
    """One class of the differential.

    Attributes:
        count: cells of this class.
        percent: of the white cells; the rows of a differential sum to exactly 100.
        lower, upper: 95% limits of the percentage (Clopper-Pearson), in per cent.
        absolute: cells in 10^9/L, None without the analyser's WBC count.
    """

    cell_class: CellClass
    count: int
    percent: Decimal
    lower: float
    upper: float
    absolute: Decimal | None


@dataclass(frozen=True, slots=True)
class PerHundred:
    """A class outside the denominator, per 100 white cells (None where there is no white cell)."""

    cell_class: CellClass
    count: int
    per_100_wbc: Decimal | None


@dataclass(frozen=True, slots=True)
class Differential:
    """A differential as it is shown. `counted` is the denominator; `unidentified` is not in it."""

    rows: tuple[Row, ...]
    non_wbc: tuple[PerHundred, ...]
    counted: int
    unidentified: int
    wbc_count: Decimal | None


def differential(counts: Mapping[str, int], wbc_count: Decimal | None = None) -> Differential:
    """Make the differential of `counts` (cells by class key); `wbc_count` in 10^9/L.

    The five reported classes always have a row, the other white cells only where there are any.
    """
    shown = REPORTING_ORDER + tuple(c for c in _OTHER_WBC if counts.get(c.key))
    numbers = [counts.get(c.key, 0) for c in shown]
    total = sum(numbers)
    rows = []
    for cell_class, count, percent in zip(shown, numbers, percentages(numbers), strict=True):
        lower, upper = clopper_pearson(count, total)
        absolute = _absolute(count, total, wbc_count)
        rows.append(Row(cell_class, count, percent, 100 * lower, 100 * upper, absolute))
    non_wbc = tuple(
        PerHundred(
            c, counts[c.key], _rounded(Decimal(100 * counts[c.key]) / total, 1) if total else None
        )
        for c in _NON_WBC
        if counts.get(c.key)
    )
    return Differential(
        rows=tuple(rows),
        non_wbc=non_wbc,
        counted=total,
        unidentified=counts.get(UNIDENTIFIED.key, 0),
        wbc_count=wbc_count,
    )


def percentages(counts: Sequence[int], places: int = PLACES) -> list[Decimal]:
    """Percentages that sum to exactly 100 at the shown precision (largest remainder, Hamilton).

    All zero where nothing was counted. Equal remainders go to the larger count, then to the first.
    """
    total = sum(counts)
    unit = Decimal(1).scaleb(-places)
    if total == 0:
        return [0 * unit for _ in counts]
    whole = 100 * 10**places
    floors = [count * whole // total for count in counts]
    order = sorted(range(len(counts)), key=lambda i: (-(counts[i] * whole % total), -counts[i], i))
    for i in order[: whole - sum(floors)]:
        floors[i] += 1
    return [floor * unit for floor in floors]


def _absolute(count: int, total: int, wbc_count: Decimal | None) -> Decimal | None:
    """Cells in 10^9/L, from the counts themselves and not from a rounded percentage."""
    if wbc_count is None or total == 0:
        return None
    return _rounded(wbc_count * count / total, 2)


def _rounded(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
