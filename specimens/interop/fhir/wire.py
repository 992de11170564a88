"""FHIR's JSON: decimals keep the digits they were given with (R4, datatypes, decimal)."""

import json
import re
from decimal import Decimal
from typing import Any, Final

MEDIA_TYPE: Final = "application/fhir+json"
Resource = dict[str, Any]
# R4, datatypes, string: no control characters but tab and line ends.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def to_json(value: Any) -> str:
    """Return `value` as JSON; a Decimal as it is written, 7.20 never as 7.2."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{to_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(to_json(item) for item in value) + "]"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def from_json(text: str | bytes) -> Any:
    """Parse JSON with exact decimals; raises ValueError where it is none, or names a key twice."""
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=_once)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def without_empty(resource: Resource) -> Resource:
    """Drop what is None or empty, at every depth: FHIR has no empty elements (R4, JSON).

    Texts lose what a string may not hold, and the space around them.
    """
    found = {key: _filled(value) for key, value in resource.items()}
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def _filled(value: Any) -> Any:
    if isinstance(value, str):
        return _CONTROL.sub("", value).strip()
    if isinstance(value, dict):
        return without_empty(value)
    if isinstance(value, list):
        return [item for item in (_filled(item) for item in value) if item not in (None, "", {})]
    return value
