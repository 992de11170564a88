"""Reads decisions about cells out of a JSON body: one place for the page and the API."""

import json
from typing import Any, Final, TypeGuard

from django.core.exceptions import ValidationError

from specimens.services.review import Decision

MOST: Final = 2000  # more cells than any smear is counted to


def parse_decisions(body: bytes | str | object) -> list[Decision]:
    """Return the decisions of `{"decisions": [{"cell", "label", "revision"}]}`.

    `body` is the text of a request, or what a parser made of it. Raises ValidationError with a text
    that says which entry is wrong; whether cells and classes exist is the service's question.
    """
    if isinstance(body, bytes | str):
        try:
            body = json.loads(body)
        except ValueError as error:
            raise ValidationError("The request body is not JSON.") from error
    entries = body.get("decisions") if isinstance(body, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValidationError('Send {"decisions": [{"cell": …, "label": …, "revision": …}]}.')
    if len(entries) > MOST:
        raise ValidationError(f"{len(entries)} decisions in one request; {MOST} is the most.")
    return [_decision(number, entry) for number, entry in enumerate(entries, start=1)]


def _decision(number: int, entry: Any) -> Decision:
    if not isinstance(entry, dict):
        raise ValidationError(f"Decision {number} is not an object.")
    cell, label, revision = entry.get("cell"), entry.get("label"), entry.get("revision")
    if not _is_count(cell):
        raise ValidationError(f"Decision {number}: “cell” must be the number of a cell.")
    if not isinstance(label, str):
        raise ValidationError(f"Decision {number}: “label” must be a class key, or empty.")
    if not _is_count(revision):
        raise ValidationError(f"Decision {number}: “revision” must be the one you have seen.")
    return Decision(cell, label, revision)


def _is_count(value: object) -> TypeGuard[int]:
    # True is an int to Python, and no number to anybody else.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
