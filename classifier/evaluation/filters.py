"""How the numbers of a report are written, on the page and in text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.template import Library

register = Library()

NOTHING = "–"


@register.filter
def percent(value: float | None, digits: int = 1) -> str:
    """``98.7%``; a dash for nothing."""
    return NOTHING if value is None else f"{value:.{digits}%}"


@register.filter
def number(value: float | None, digits: int = 3) -> str:
    """A plain number; a dash for nothing."""
    return NOTHING if value is None else f"{value:.{digits}f}"


@register.filter
def short(value: float) -> str:
    """A number with three digits, without trailing zeros."""
    return f"{value:.3g}"


@register.filter
def interval(entry: Mapping[str, Any]) -> str:
    """The limits of a proportion: ``97.2 to 99.5%``."""
    if entry["value"] is None:
        return NOTHING
    low, high = entry["interval_95"]
    return f"{100 * low:.1f} to {100 * high:.1f}%"


@register.filter
def proportion(entry: Mapping[str, Any]) -> str:
    """``98.7% (97.2 to 99.5, n = 300)``, or a dash where there is nothing to count."""
    if entry["value"] is None:
        return NOTHING
    low, high = entry["interval_95"]
    return f"{entry['value']:.2%} ({100 * low:.2f} to {100 * high:.2f}, n = {entry['n']})"
