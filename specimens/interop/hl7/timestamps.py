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
    try:
        if found is None:
            raise ValueError
        year, month, day, hour, minute, second, offset = found.groups()
        date(int(year), int(month or 1), int(day or 1))
        if hour is None:
            return None
        where = _offset(offset) if offset else zone
        numbers = (int(part or 0) for part in (year, month, day, hour, minute, second))
        return datetime(*numbers, tzinfo=where)  # type: ignore[misc,arg-type]
    except ValueError:
        raise ValueError(f"“{text[:40]}” is no time; write YYYYMMDDHHMMSS+ZZZZ.") from None


def read_date(text: str) -> date | None:
    """Return the day; None where only year or month are known. Raises ValueError."""
    found = _TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        day = date(int(found[1]), int(found[2] or 1), int(found[3] or 1))
    except ValueError:
        raise ValueError(f"“{text[:40]}” is no date; write YYYYMMDD.") from None
    return day if found[3] else None


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
