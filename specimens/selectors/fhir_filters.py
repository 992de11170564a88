"""Search parameters of FHIR as conditions on rows, and on built resources where a row cannot tell.

A filter is made for a row whose site is `site`; numbers mean something only within a site.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Q
from django.utils import timezone

from specimens.interop.fhir.naming import Systems
from specimens.interop.fhir.parameters import (
    DateRange,
    ParameterError,
    Token,
    dates,
    references,
    split_values,
    tokens,
)
from specimens.interop.fhir.wire import Resource
from specimens.selectors.fhir import Records

Rows = Callable[[Records, str, str], Q]
Built = Callable[[Resource, str, str], bool]
NOTHING: Final = Q(pk__in=[])
_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """One search parameter: its FHIR type, and what it means for rows and for resources."""

    type: str
    documentation: str
    rows: Rows | None = None
    built: Built | None = None


def _any(conditions: Iterable[Q]) -> Q:
    found = NOTHING
    for condition in conditions:
        found |= condition
    return found


def _number(text: str) -> int | None:
    is_id = text.isascii() and text.isdigit() and int(text) <= _LARGEST
    return int(text) if is_id else None


def _keys(texts: Iterable[str]) -> list[int]:
    return [key for key in map(_number, texts) if key is not None]


def by_reference(kind: str, column: str) -> Rows:
    """Match rows that refer to a resource of `kind`, whose id is the value of `column`."""

    def rows(_: Records, name: str, text: str) -> Q:
        return Q(**{f"{column}__in": _keys(references(name, text, kind))})

    return rows


def by_number(column: str, *system_of: Callable[[Systems], str]) -> Rows:
    """Match a number of the laboratory or of whoever ordered, in any of its systems."""

    def one(records: Records, token: Token) -> Q:
        value = Q(**{column: token.value}) if token.value else ~Q(**{column: ""})
        if token.system is None:
            return value
        sites = [
            site.pk
            for site in records.sites
            if token.system in {of(records.at(site)) for of in system_of}
        ]
        return value & Q(site__in=sites)

    def rows(records: Records, name: str, text: str) -> Q:
        return _any(one(records, token) for token in tokens(name, text))

    return rows


def by_patient_number(prefix: str = "") -> Rows:
    """Match the number of a patient; its system is that of the issuer, which a site may name."""

    def one(records: Records, token: Token) -> Q:
        value = Q(**{f"{prefix}identifier": token.value}) if token.value else Q()
        if token.system is None:
            return value
        if token.system == "":
            return NOTHING  # every number has a system
        return value & _any(
            Q(site=site, **{f"{prefix}issuer": records.at(site).issuer_of(token.system)})
            for site in records.sites
        )

    def rows(records: Records, name: str, text: str) -> Q:
        return _any(one(records, token) for token in tokens(name, text))

    return rows


def either(*choices: Rows) -> Rows:
    """Match where any of `choices` does."""

    def rows(records: Records, name: str, text: str) -> Q:
        return _any(choice(records, name, text) for choice in choices)

    return rows


def by_time(column: str, *, is_day: bool = False) -> Rows:
    """Match a date with its prefix; `is_day` for columns that hold a day without a time."""

    def rows(_: Records, name: str, text: str) -> Q:
        found = dates(name, text, timezone.get_current_timezone())
        return _any(_within(column, one, is_day) for one in found)

    return rows


def _within(column: str, asked: DateRange, is_day: bool) -> Q:
    def at(moment: datetime) -> Any:
        return moment.date() if is_day else moment

    start, end = at(asked.start), at(asked.end)
    if is_day and end == start:  # a value more exact than a day
        end = datetime.fromordinal(start.toordinal() + 1).date()
    inside = Q(**{f"{column}__gte": start, f"{column}__lt": end})
    after, before = Q(**{f"{column}__gte": end}), Q(**{f"{column}__lt": start})
    return {
        "eq": inside,
        "ne": after | before,
        "gt": after,
        "sa": after,
        "lt": before,
        "eb": before,
        "ge": inside | after,
        "le": inside | before,
    }[asked.prefix]


def by_text(column: str) -> Rows:
    """Match the beginning of a text, whatever its case (R4, search, string)."""

    def rows(_: Records, name: str, text: str) -> Q:
        return _any(Q(**{f"{column}__istartswith": one}) for one in split_values(text))

    return rows


def by_choice(column: str, values: Mapping[str, tuple[str, ...]]) -> Rows:
    """Match a column by codes of FHIR; `values` are those of the column for each code."""

    def rows(_: Records, name: str, text: str) -> Q:
        wanted = known_codes(name, text, values)
        return _any(Q(**{f"{column}__in": values[one]}) for one in wanted)

    return rows


def known_codes(name: str, text: str, known: Iterable[str]) -> set[str]:
    """Return the codes asked for; one that no resource ever has is refused."""
    codes, wanted = list(known), {token.value for token in tokens(name, text)}
    if unknown := wanted - set(codes):
        raise ParameterError(f"{name}: {', '.join(sorted(unknown))} is none of {', '.join(codes)}.")
    return wanted


def is_one_of(*known: str) -> Rows:
    """Refuse unknown codes, before any resource is built."""

    def rows(_: Records, name: str, text: str) -> Q:
        known_codes(name, text, known)
        return Q()

    return rows


def has_status(resource: Resource, name: str, text: str) -> bool:
    return resource["status"] in {token.value for token in tokens(name, text)}


def has_coding(element: str) -> Built:
    """Match a CodeableConcept, or any of several, by its codings; never by text."""

    def built(resource: Resource, name: str, text: str) -> bool:
        concepts = resource.get(element, [])
        concepts = concepts if isinstance(concepts, list) else [concepts]
        codings = [(c["system"], c["code"]) for one in concepts for c in one["coding"]]
        return any(
            token.matches(system, code) for token in tokens(name, text) for system, code in codings
        )

    return built


def has_identifier(resource: Resource, name: str, text: str) -> bool:
    """Match any of the identifiers of the built resource."""
    given = [(one["system"], one["value"]) for one in resource.get("identifier", [])]
    return any(token.matches(*one) for token in tokens(name, text) for one in given)


def has_id(resource: Resource, name: str, text: str) -> bool:
    return resource["id"] in split_values(text)
