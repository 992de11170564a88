"""From the query of an address to a search (R4, search): what is not known is said, or refused."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from rest_framework.request import Request

from specimens.interop.fhir.parameters import ParameterError
from specimens.selectors.fhir_kinds import Kind
from specimens.selectors.fhir_search import LARGEST_PAGE, PAGE, Asked

RESULT_PARAMETERS: Final = (
    "_count", "_cursor", "_include", "_revinclude", "_summary", "_format", "_pretty",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Query:
    """A search as it was understood.

    `used` is what the self link repeats; `ignored` are parameters nothing here knows.
    """

    asked: Asked
    used: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]
    only_count: bool

    def link(self, url: str, cursor: str = "") -> str:
        """Return the address of this page, or of the one at `cursor`."""
        kept = [pair for pair in self.used if pair[0] != "_cursor" or not cursor]
        query = urlencode([*kept, ("_cursor", cursor)] if cursor else kept)
        return f"{url}?{query}" if query else url


def is_strict(request: Request) -> bool:
    """Whether unknown parameters are to be refused (Prefer: handling=strict)."""
    prefer = request.headers.get("Prefer", "")
    return "handling=strict" in {part.strip() for part in re.split("[,;]", prefer)}


def understand(kind: Kind, pairs: Sequence[tuple[str, str]], *, strict: bool) -> Query:
    """Return the search `pairs` ask for. Raises ParameterError.

    A modifier, or a value, that is not understood is always refused: ignoring it would give an
    answer to another question.
    """
    asked = Asked(kind)
    parameters, used, ignored = [], [], []
    only_count = False
    for name, value in pairs:
        if "\0" in value:
            raise ParameterError(f"{name}: the character U+0000 occurs in no value.")
        if name in RESULT_PARAMETERS:
            asked, counted = _result_parameter(asked, name, value)
            only_count = only_count or counted
        elif (plain := _plain_name(kind, name)) in kind.parameters:
            if value.strip():
                parameters.append((plain, value))
        else:
            ignored.append(name)
            continue
        used.append((name, value))
    if ignored and strict:
        known = ", ".join([*kind.parameters, *RESULT_PARAMETERS])
        raise ParameterError(f"Unknown for {kind.name}: {', '.join(ignored)}. Known: {known}.")
    return Query(
        replace(asked, parameters=tuple(parameters)), tuple(used), tuple(ignored), only_count
    )


def _plain_name(kind: Kind, name: str) -> str:
    """The name without a type modifier (subject:Patient); any other modifier is refused."""
    plain, _, modifier = name.partition(":")
    if not modifier:
        return name
    chained = modifier.partition(".")
    if plain in ("subject", "patient") and chained[0] == "Patient":
        return plain + "".join(chained[1:])
    if plain in kind.parameters:
        raise ParameterError(f"{name}: the modifier “{modifier}” is not supported.")
    return name


def _result_parameter(asked: Asked, name: str, value: str) -> tuple[Asked, bool]:
    if name == "_count":
        return _counted(asked, value)
    if name == "_cursor":
        return replace(asked, cursor=value), False
    if name == "_include":
        return replace(asked, includes=(*asked.includes, *_includes(asked.kind, value))), False
    if name == "_revinclude":
        found = _revinclude(asked.kind, value)
        return replace(asked, revincludes=(*asked.revincludes, found)), False
    if name == "_summary" and value not in ("count", "false"):
        raise ParameterError("_summary: count and false are supported.")
    return asked, name == "_summary" and value == "count"


def _counted(asked: Asked, value: str) -> tuple[Asked, bool]:
    if not re.fullmatch(r"[0-9]{1,6}", value, re.ASCII):
        raise ParameterError(f"_count: a number from 0 to {LARGEST_PAGE}; larger ones are cut.")
    number = int(value)
    return replace(asked, count=min(number, LARGEST_PAGE) or PAGE), number == 0


def _includes(kind: Kind, value: str) -> list[str]:
    """`Type:parameter`, `Type:parameter:target`, or * for all."""
    if value == "*":
        return list(kind.includes)
    source, _, parameter = value.partition(":")
    parameter = parameter.partition(":")[0]
    if source == kind.name and parameter in kind.includes:
        return [parameter]
    known = ", ".join(f"{kind.name}:{one}" for one in kind.includes) or "none"
    raise ParameterError(f"_include: “{value}” is not known here. Known: {known}.")


def _revinclude(kind: Kind, value: str) -> str:
    plain = ":".join(value.split(":")[:2])
    if plain in kind.revincludes:
        return plain
    known = ", ".join(kind.revincludes) or "none"
    raise ParameterError(f"_revinclude: “{value}” is not known here. Known: {known}.")
