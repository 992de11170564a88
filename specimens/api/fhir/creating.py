"""Creating a Patient or a ServiceRequest: once, however often it is sent (R4, http, create)."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from django.db import IntegrityError
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from specimens.api.fhir.base import person, records_of, tagged
from specimens.api.fhir.outcomes import FhirError, issue, outcome
from specimens.api.fhir.queries import understand
from specimens.interop.fhir.incoming import read_order, read_patient
from specimens.models import User
from specimens.permissions import Action, require
from specimens.selectors.fhir import Records
from specimens.selectors.fhir_kinds import Kind
from specimens.selectors.fhir_search import Found, read, search
from specimens.services.fhir import record_look
from specimens.services.fhir_orders import Taken, take_order, take_patient

TAKES: Final[Mapping[str, Callable[[User, Any], Taken]]] = {
    "Patient": lambda actor, body: take_patient(actor=actor, sent=read_patient(body)),
    "ServiceRequest": lambda actor, body: take_order(actor=actor, sent=read_order(body)),
}
# Two at once: the slower one finds the work of the other at its second try.
TRIES: Final = 2


def create(kind: Kind, request: Request) -> Response:
    """Answer 201 with Location; 200 where the same is recorded already."""
    records = records_of(request)
    require(person(request), Action.ACCESSION)
    if condition := request.headers.get("If-None-Exist"):
        known = _matching(records, kind, condition)
        if known is not None:
            record_look(actor=person(request), found=[known], interaction="create")
            return _answer(request, records, known, status.HTTP_200_OK)
    taken = _taken(kind, person(request), request.data)
    found = read(records, kind, str(taken.row.pk))
    assert found is not None  # noqa: S101 - it was made at a site of the account
    code = status.HTTP_201_CREATED if taken.is_new else status.HTTP_200_OK
    return _answer(request, records, found, code)


def _taken(kind: Kind, actor: User, body: Any) -> Taken:
    for _ in range(TRIES - 1):
        try:
            return TAKES[kind.name](actor, body)
        except IntegrityError:
            continue
    return TAKES[kind.name](actor, body)


def _matching(records: Records, kind: Kind, condition: str) -> Found | None:
    """The only resource that meets If-None-Exist; 412 where several do."""
    query = understand(kind, parse_qsl(condition.lstrip("?")), strict=True)
    if not query.asked.parameters:
        text = "If-None-Exist: write a search, such as identifier=system|value."
        raise FhirError(status.HTTP_400_BAD_REQUEST, "value", text)
    matches = search(records, query.asked).matches
    if len(matches) > 1:
        text = "If-None-Exist: several resources match. Search by the identifier, with its system."
        raise FhirError(status.HTTP_412_PRECONDITION_FAILED, "multiple-matches", text)
    return matches[0] if matches else None


def _answer(request: Request, records: Records, found: Found, code: int) -> Response:
    headers = {"Location": records.base + found.name, **tagged(found.resource)}
    prefer = request.headers.get("Prefer", "")
    if "return=minimal" in prefer:
        return Response(status=code, headers=headers)
    if "return=OperationOutcome" in prefer:
        text = "Recorded." if code == status.HTTP_201_CREATED else "It was recorded already."
        body = outcome([issue("informational", text, severity="information")])
        return Response(body, status=code, headers=headers)
    return Response(found.resource, status=code, headers=headers)
