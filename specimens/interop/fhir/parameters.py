"""Search parameters as FHIR writes them (R4, search): tokens, dates with prefixes, references.

Pure: what is asked for, not how it is found.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

PREFIXES: Final = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb")
_DATE: Final = re.compile(
    r"(?P<prefix>[a-z]{2})?(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)"
    r"(T(?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)(\.\d+)?)?"
    r"(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)


class ParameterError(ValueError):
    """A parameter that cannot be understood; the text names it and says what would be."""


@dataclass(frozen=True, slots=True)
class Token:
    """`system|value`. `system` None: any; empty: values without a system."""

    value: str
    system: str | None = None

    def matches(self, system: str, value: str) -> bool:
        """Whether a coding or identifier is meant; without a value, any of the system."""
        return self.system in (None, system) and self.value in ("", value)


@dataclass(frozen=True, slots=True)
class DateRange:
    """A prefix and the time its value spans: [start, end)."""

    prefix: str
    start: datetime
    end: datetime


def split_values(text: str) -> list[str]:
    r"""Split at commas, which mean "or"; `\,` is a comma (R4, search, 3.1.1.4.0.1)."""
    return [
        re.sub(r"\\([,|$\\])", r"\1", part) for part in re.split(r"(?<!\\),", text) if part.strip()
    ]


def tokens(name: str, text: str) -> list[Token]:
    """Parse the value of a token parameter."""
    found = []
    for value in split_values(text):
        system, bar, code = value.rpartition("|")
        if not code and not system:
            raise ParameterError(f"{name}: write system|value, or value alone.")
        found.append(Token(code, system if bar else None))
    return found


def references(name: str, text: str, kind: str) -> list[str]:
    """Parse a reference parameter: the ids of `kind`, from 12, Patient/12 or an address."""
    found = []
    for value in split_values(text):
        parts = value.rstrip("/").split("/")
        if len(parts) > 1 and parts[-2] != kind:
            raise ParameterError(f"{name}: {value} is no {kind}. Write {kind}/id.")
        found.append(parts[-1])
    return found


def dates(name: str, text: str, zone: tzinfo) -> list[DateRange]:
    """Parse a date parameter; what names no time zone is meant in `zone`."""
    return [_date(name, value, zone) for value in split_values(text)]


def _date(name: str, value: str, zone: tzinfo) -> DateRange:
    # A plus sign in an address is a space; nothing else here can be one.
    found = _DATE.fullmatch(value.replace(" ", "+"))
    if found is None or (found["prefix"] or "eq") not in PREFIXES:
        raise ParameterError(
            f"{name}: “{value}” is no date. Write 2026, 2026-11, 2026-11-22 or "
            f"2026-11-22T09:15:00Z, after one of {', '.join(PREFIXES)} where it is a limit."
        )
    part = {key: int(found[key] or 0) for key in ("year", "hour", "minute", "second")}
    month, day = int(found["month"] or 1), int(found["day"] or 1)
    where: tzinfo = zone
    if found["zone"]:
        where = (
            UTC if found["zone"] == "Z" else datetime.strptime(found["zone"], "%z").tzinfo or UTC
        )
    try:
        start = datetime(
            part["year"], month, day, part["hour"], part["minute"], part["second"], tzinfo=where
        )
        end = _end(start, found)
    except (ValueError, OverflowError) as error:
        raise ParameterError(f"{name}: “{value}” is no date of the calendar.") from error
    return DateRange(found["prefix"] or "eq", start, end)


def _end(start: datetime, found: "re.Match[str]") -> datetime:
    if found["second"] is not None:
        return start + timedelta(seconds=1)
    if found["hour"] is not None:
        return start + timedelta(minutes=1)
    if found["day"] is not None:
        return start + timedelta(days=1)
    if found["month"] is not None:
        years, month = divmod(start.month, 12)
        return start.replace(year=start.year + years, month=month + 1)
    return start.replace(year=start.year + 1)
