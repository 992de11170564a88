"""Exact confidence limits of a proportion: for reports and for evaluations alike."""

import math
from functools import lru_cache

ALPHA = 0.05
_EPSILON = 1e-15
_TINY = 1e-300


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
