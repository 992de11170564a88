"""Reading and searching FHIR resources, page by page, with what they refer to."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from specimens.interop.fhir.parameters import ParameterError
from specimens.interop.fhir.wire import Resource
from specimens.models import Report, Specimen
from specimens.selectors.fhir import Records, reported
from specimens.selectors.fhir_kinds import KINDS, Kind

PAGE: Final = 20
LARGEST_PAGE: Final = 100
# Rows looked at for one page where only the built resource tells whether it is meant.
SCANNED: Final = 500
INCLUDED: Final = 1000
_CURSOR: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,6})")
_VERSIONED: Final = re.compile(r"DiagnosticReport/([0-9]{1,18})/_history/([0-9]{1,9})")


class TooCostly(Exception):
    """The answer would take reading too many cases; the text says how to narrow it down."""


@dataclass(frozen=True, slots=True)
class Found:
    """A resource and the row it is made of."""

    resource: Resource
    row: Any

    @property
    def name(self) -> str:
        return f"{self.resource['resourceType']}/{self.resource['id']}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A search: parameters in the order given (each must hold), and what else to bring."""

    kind: Kind
    parameters: Sequence[tuple[str, str]] = ()
    count: int = PAGE
    cursor: str = ""
    includes: Sequence[str] = ()
    revincludes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """One page: what was asked for, what comes with it, where the next one begins ("": nowhere).

    `total` is None where counting would mean building every resource.
    """

    matches: list[Found]
    included: list[Found] = field(default_factory=list)
    following: str = ""
    total: int | None = None


def read(records: Records, kind: Kind, ident: str) -> Found | None:
    """Return one resource; None where there is none, or none for this user."""
    key = kind.key(ident)
    rows = kind.rows(records.user).filter(key) if key is not None else ()
    for row in rows[:2]:
        for resource in kind.build(records, row):
            if resource["id"] == ident:
                return Found(resource, row)
    return None


def read_version(records: Records, ident: str, version: str) -> Found | None:
    """Return a version of a DiagnosticReport: a signed one, or the machine result as it stands."""
    rows = reported(records.user).filter(pk=int(ident)) if re.fullmatch(r"\d{1,18}", ident) else ()
    for row in rows:
        is_signed = re.fullmatch(r"[1-9][0-9]{0,8}", version) is not None
        case = records.case(row, int(version) if is_signed else None)
        if case is not None and case.version_id == version:
            return Found(records.diagnostic_report(case), row)
    return None


def versions(records: Records, ident: str) -> list[Found]:
    """Return the versions of a DiagnosticReport, the newest first."""
    current = read(records, KINDS["DiagnosticReport"], ident)
    if current is None:
        return []
    newest = current.resource["meta"]["versionId"]
    if not newest.isdecimal():
        return [current]
    older = [read_version(records, ident, str(number)) for number in range(int(newest) - 1, 0, -1)]
    return [current, *(one for one in older if one is not None)]


def search(records: Records, asked: Asked) -> Page:
    """Return a page of what matches. Raises ParameterError."""
    matches, following = _page(records, asked)
    included = _included(records, asked, matches)
    total = None if _needs_building(asked) else _rows(records, asked).count()
    return Page(matches, included, following, total)


def count(records: Records, asked: Asked) -> int:
    """Return how many match. Raises TooCostly where more cases than SCANNED had to be built."""
    rows = _rows(records, asked)
    number: int = rows.count()
    if not _needs_building(asked):
        return number
    if number > SCANNED:
        raise TooCostly(
            f"More than {SCANNED} cases would have to be read to count these. "
            "Narrow the search by patient, accession or date."
        )
    return sum(1 for row in rows for _ in _matching(records, asked, row))


def _needs_building(asked: Asked) -> bool:
    several = asked.kind.name == "Observation"
    return several or any(asked.kind.parameters[name].built for name, _ in asked.parameters)


def _rows(records: Records, asked: Asked) -> Any:
    rows = asked.kind.rows(records.user)
    for name, text in asked.parameters:
        parameter = asked.kind.parameters[name]
        if parameter.rows is not None:
            # By key: a condition across a relation would bring a row once for each match.
            wanted = asked.kind.rows(records.user).filter(parameter.rows(records, name, text))
            rows = rows.filter(pk__in=wanted.values("pk"))
    return rows.order_by("-pk")


def _matching(records: Records, asked: Asked, row: Any) -> Iterator[Found]:
    for resource in asked.kind.build(records, row):
        if all(
            parameter.built(resource, name, text)
            for name, text in asked.parameters
            if (parameter := asked.kind.parameters[name]).built is not None
        ):
            yield Found(resource, row)


def _page(records: Records, asked: Asked) -> tuple[list[Found], str]:
    """Walk from the cursor (key of a row, and how many of its resources were given before)."""
    rows, skipped = _rows(records, asked), 0
    if asked.cursor:
        place = _CURSOR.fullmatch(asked.cursor)
        if place is None:
            raise ParameterError("_cursor: take the address of the next page as it was given.")
        skipped = int(place[2])
        rows = rows.filter(pk__lte=int(place[1]))
    limit = SCANNED if _needs_building(asked) else asked.count
    found: list[Found] = []
    for number, row in enumerate(rows[: limit + 1]):
        if number == limit:
            return found, f"{row.pk}.0"
        for position, match in enumerate(_matching(records, asked, row)):
            if number == 0 and position < skipped:
                continue
            if len(found) == asked.count:
                return found, f"{row.pk}.{position}"
            found.append(match)
    return found, ""


def _included(records: Records, asked: Asked, matches: list[Found]) -> list[Found]:
    """Return what the matches lead to, and what leads to them, each once and none twice."""
    held = {match.name: match for match in matches}
    brought: dict[str, Found] = {}
    for match in matches:
        for target in _targets(match.resource, asked):
            if target not in held and target not in brought:
                found = _follow(records, target)
                if found is not None:
                    brought[target] = found
    for name in asked.revincludes:
        for found in _leading_to(records, name, asked.kind.name, matches):
            if found.name not in held:
                brought.setdefault(found.name, found)
    return list(brought.values())[:INCLUDED]


def _targets(resource: Resource, asked: Asked) -> Iterator[str]:
    for name in asked.includes:
        for element in asked.kind.includes[name]:
            yield from _references(resource, element.split("."))


def _references(value: Any, path: Sequence[str]) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _references(item, path)
    elif path and isinstance(value, Mapping):
        yield from _references(value.get(path[0], []), path[1:])
    elif isinstance(value, Mapping) and "reference" in value:
        yield value["reference"]


def _follow(records: Records, target: str) -> Found | None:
    if versioned := _VERSIONED.fullmatch(target):
        return read_version(records, versioned[1], versioned[2])
    kind, _, ident = target.partition("/")
    return read(records, KINDS[kind], ident) if kind in KINDS else None


def _leading_to(
    records: Records, name: str, kind: str, matches: Iterable[Found]
) -> Iterator[Found]:
    source, _, parameter = name.partition(":")
    wanted = ",".join(f"{kind}/{match.resource['id']}" for match in matches)
    if not wanted:
        return
    asked = Asked(KINDS[source], [(parameter, wanted)], count=INCLUDED)
    yield from _page(records, asked)[0]


def specimens_in(found: Iterable[Found]) -> dict[int, tuple[Specimen, list[str]]]:
    """The specimens whose data is in `found`, by key, with the names of the resources."""
    specimens: dict[int, tuple[Specimen, list[str]]] = {}
    for one in found:
        row = one.row.specimen if isinstance(one.row, Report) else one.row
        if isinstance(row, Specimen):
            specimens.setdefault(row.pk, (row, []))[1].append(one.name)
    return specimens
