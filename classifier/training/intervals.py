"""Exact confidence limits of a proportion."""

from __future__ import annotations

import math
from collections.abc import Callable

_STEPS = 60


def clopper_pearson(successes: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Exact two-sided confidence interval of a proportion.

    Args:
        successes: Number of successes.
        total: Number of trials.
        level: Confidence level.

    Returns:
        Lower and upper limit, in 0..1.

    Raises:
        ValueError: If the counts are impossible.

    Source: Clopper and Pearson 1934, Biometrika 26:404.
    """
    if total < 1 or not 0 <= successes <= total:
        raise ValueError(f"impossible counts: {successes} of {total}")
    tail = (1.0 - level) / 2.0
    lower = 0.0
    if successes:
        lower = _solve(lambda p: 1.0 - _cumulative(successes - 1, total, p) < tail)
    upper = 1.0
    if successes < total:
        upper = _solve(lambda p: _cumulative(successes, total, p) > tail)
    return lower, upper


def _cumulative(successes: int, total: int, p: float) -> float:
    """Probability of at most so many successes."""
    if p <= 0.0 or p >= 1.0:
        return float(p <= 0.0 or successes >= total)
    log_p, log_q = math.log(p), math.log1p(-p)
    constant = math.lgamma(total + 1)
    terms = (
        constant - math.lgamma(k + 1) - math.lgamma(total - k + 1) + k * log_p + (total - k) * log_q
        for k in range(successes + 1)
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def _solve(is_below: Callable[[float], bool]) -> float:
    """Bisect for the point up to which ``is_below(p)`` holds."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2.0
