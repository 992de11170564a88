"""Reading the elements of a resource somebody sent: every fault, each with its place."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

_INSTANT: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: FHIRPath of the element, and a text for people.

    `code` is of the value set issue-type: required, value, business-rule, not-supported, ...
    """

    code: str
    expression: str
    text: str


class Refused(Exception):
    """The resource cannot be taken; `faults` says why. `status` is the HTTP status."""

    def __init__(self, faults: Iterable[Fault], status: int = 422) -> None:
        self.faults = tuple(faults)
        self.status = status
        super().__init__(" ".join(fault.text for fault in self.faults))


class Reader:
    """Walks one resource and collects what is wrong; `path` is where it stands (FHIRPath)."""

    def __init__(self, resource: Any, path: str, faults: list[Fault] | None = None) -> None:
        self.path = path
        self.faults: list[Fault] = [] if faults is None else faults
        self.values: Mapping[str, Any] = resource if isinstance(resource, Mapping) else {}
        if not isinstance(resource, Mapping):
            self.fault("structure", "", "Send a JSON object here.")

    def fault(self, code: str, element: str, text: str) -> None:
        place = f"{self.path}.{element}" if element else self.path
        self.faults.append(Fault(code, place, f"{place}: {text}"))

    def text(self, element: str, *, required: bool = False) -> str:
        """A string, "" where it is absent."""
        value = self.values.get(element, "")
        if not isinstance(value, str):
            self.fault("structure", element, "This is a string in FHIR.")
            return ""
        if required and not value.strip():
            self.fault("required", element, "This is needed.")
        if "\0" in value:
            self.fault("value", element, "The character U+0000 cannot be stored.")
            return ""
        return value.strip()

    def code(self, element: str, allowed: Iterable[str], default: str = "") -> str:
        """A code out of `allowed`."""
        value = self.text(element) or default
        known = list(allowed)
        if value not in known:
            given = f"“{value}” is" if value else "This is needed:"
            self.fault("code-invalid", element, f"{given} none of {', '.join(known)}.")
            return known[0]
        return value

    def part(self, element: str) -> "Reader":
        """An object; an empty one where it is absent."""
        return Reader(self.values.get(element, {}), f"{self.path}.{element}", self.faults)

    def parts(self, element: str) -> list["Reader"]:
        """The objects of a list; none where it is absent."""
        value = self.values.get(element, [])
        if not isinstance(value, list):
            self.fault("structure", element, "This is a list in FHIR.")
            return []
        return [
            Reader(one, f"{self.path}.{element}[{n}]", self.faults) for n, one in enumerate(value)
        ]

    def instant(self, element: str) -> datetime | None:
        """A time with its zone; a mere day is refused, for it would be stored as midnight."""
        value = self.text(element)
        if not value:
            return None
        try:
            if _INSTANT.fullmatch(value):
                return datetime.fromisoformat(value)
        except ValueError:
            pass
        text = f"“{value}” is no full time. Write 2026-11-22T09:15:00+01:00."
        self.fault("value", element, text)
        return None

    def day(self, element: str) -> date | None:
        """A full date."""
        value = self.text(element)
        if not value:
            return None
        try:
            if re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
                return date.fromisoformat(value)
        except ValueError:
            pass
        self.fault(
            "value", element, f"“{value}” is no full date. Write 1964-08-12, or leave it out."
        )
        return None

    def refuse_modifiers(self) -> None:
        """Refuse what would change the meaning of all the rest (R4, extensibility)."""
        for element in ("modifierExtension", "implicitRules"):
            if element in self.values:
                text = "This may change the meaning of the resource, and is not understood here."
                self.fault("extension", element, text)


def checked_kind(resource: Any, kind: str) -> Reader:
    """Return the reader of a resource; raises Refused (400) where it is none of `kind`."""
    reader = Reader(resource, kind)
    given = reader.values.get("resourceType")
    if given != kind:
        text = f"Send a {kind}; resourceType is {given!r}." if given else f"Send a {kind}."
        raise Refused([Fault("structure", f"{kind}.resourceType", text)], 400)
    reader.refuse_modifiers()
    return reader
