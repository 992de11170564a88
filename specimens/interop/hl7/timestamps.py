"""Dates and times (HL7 v2.5.1 section 2.A.22 DTM, 2.A.77 TS)."""

import re
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Final

_TIME: Final = re.compile(
    r"(\d{4})(?:(\d{2})(?:(\d{2})(?:(\d{2})(\d{2})?(?:(\d{2})(?:\.\d{1,4})?)?)?)?)?([+-]\d{4})?"
)


def read_time(text: str, zone: tzinfo) -> datetime | None:
    """Return the moment, `zone` holding where the text has none; None where it names no hour.

    Raises ValueError for what is no time.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"“{text}” is no time; write YYYYMMDDHHMMSS+ZZZZ.")
    year, month, day, hour, minute, second, offset = found.groups()
    if hour is None:
        if text:
            date(int(year), int(month or 1), int(day or 1))
        return None
    where = _offset(offset) if offset else zone
    return datetime(
        int(year), int(month), int(day), int(hour), int(minute or 0), int(second or 0), tzinfo=where
    )


def read_date(text: str) -> date | None:
    """Return the day; None where only year or month are known. Raises ValueError."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"“{text}” is no date; write YYYYMMDD.")
    year, month, day = found[1], found[2], found[3]
    return date(int(year), int(month), int(day)) if day else None


def _offset(text: str) -> tzinfo:
    minutes = int(text[1:3]) * 60 + int(text[3:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def write_time(moment: datetime | str | None) -> str:
    """Write a moment, or an ISO 8601 text of one, with its offset; empty for none."""
    if not moment:
        return ""
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return when.strftime("%Y%m%d%H%M%S%z")


def write_date(day: str | None) -> str:
    """Write an ISO 8601 day; empty for none."""
    return day.replace("-", "") if day else ""
