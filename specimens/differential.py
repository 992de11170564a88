"""The arithmetic of the differential: percentages, exact limits, absolute counts. No Django here.

White cells make the denominator; whatever is not a white cell is given per 100 of them, and a cell
that nobody has identified counts nowhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from classifier.classes import ALL_CLASSES, REPORTING_ORDER, UNIDENTIFIED, CellClass

PLACES = 1
ALPHA = 0.05

_OTHER_WBC = tuple(c for c in ALL_CLASSES if c.is_wbc and c not in REPORTING_ORDER)
_NON_WBC = tuple(c for c in ALL_CLASSES if not c.is_wbc and c is not UNIDENTIFIED)
_EPSILON = 1e-15
_TINY = 1e-300


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


@lru_cache(maxsize=4096)
def clopper_pearson(successes: int, trials: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Exact limits of a proportion. Clopper and Pearson, Biometrika 26 (1934), 404-413.

    Returns:
        Lower and upper limit, 0..1; (0, 1) where nothing was counted.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in 0..{trials}, received {successes}")
    if trials == 0:
        return 0.0, 1.0
    lower, upper = 0.0, 1.0
    if successes > 0:
        lower = _inverse_beta(alpha / 2, successes, trials - successes + 1)
    if successes < trials:
        upper = _inverse_beta(1 - alpha / 2, successes + 1, trials - successes)
    return lower, upper


def _inverse_beta(probability: float, a: float, b: float) -> float:
    """Return x with I_x(a, b) = probability. Bisection: 60 halvings are exact."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _incomplete_beta(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b) (DLMF 8.17.22, 8.17.4)."""
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    logarithm = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    front = math.exp(logarithm)
    # The continued fraction converges fast only on this side of the mean.
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(x, a, b) / a
    return 1.0 - front * _beta_fraction(1.0 - x, b, a) / b


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Continued fraction of the incomplete beta function by the modified Lentz method."""
    c = 1.0
    d = 1.0 / _not_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1.0 / _not_zero(1.0 + numerator * d)
            c = _not_zero(1.0 + numerator / c)
            value *= d * c
        if abs(d * c - 1.0) < _EPSILON:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _absolute(count: int, total: int, wbc_count: Decimal | None) -> Decimal | None:
    """Cells in 10^9/L, from the counts themselves and not from a rounded percentage."""
    if wbc_count is None or total == 0:
        return None
    return _rounded(wbc_count * count / total, 2)


def _rounded(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
