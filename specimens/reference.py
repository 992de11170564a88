"""Judging a value by reference limits. Pure: no database here."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Flag(StrEnum):
    """HL7 table 0078 in words; `letter` is its code."""

    NORMAL = "normal"
    LOW = "low"
    HIGH = "high"
    CRITICAL_LOW = "critical_low"
    CRITICAL_HIGH = "critical_high"

    @property
    def letter(self) -> str:
        return {"normal": "N", "low": "L", "high": "H", "critical_low": "LL"}.get(self.value, "HH")

    @property
    def is_critical(self) -> bool:
        return self in (Flag.CRITICAL_LOW, Flag.CRITICAL_HIGH)


@dataclass(frozen=True, slots=True)
class Limits:
    """Normal and critical limits; None: open on that side. A value on a limit is within it."""

    low: Decimal | None = None
    high: Decimal | None = None
    critical_low: Decimal | None = None
    critical_high: Decimal | None = None
    source: str = ""


def judge(value: Decimal, limits: Limits) -> Flag:
    """Return where `value` lies; the critical limits go before the normal ones."""
    if limits.critical_low is not None and value < limits.critical_low:
        return Flag.CRITICAL_LOW
    if limits.critical_high is not None and value > limits.critical_high:
        return Flag.CRITICAL_HIGH
    if limits.low is not None and value < limits.low:
        return Flag.LOW
    if limits.high is not None and value > limits.high:
        return Flag.HIGH
    return Flag.NORMAL
