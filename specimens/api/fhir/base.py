"""What every address below /fhir/ has in common: tokens, JSON, OperationOutcome."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from django.http import HttpRequest
from django.utils.http import http_date
from rest_framework import status
from rest_framework.authentication import SessionAuthentication, get_authorization_header
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.mediatypes import order_by_precedence

from specimens.api.authentication import TokenAuthentication
from specimens.api.base import ApiView, JsonForAll
from specimens.api.fhir.outcomes import FhirError, outcome_handler
from specimens.interop.fhir.wire import MEDIA_TYPE, Resource, from_json, to_json
from specimens.models import User
from specimens.permissions import Action, require
from specimens.selectors.fhir import Records

JSON_TYPES: Final = (MEDIA_TYPE, "application/json", "application/json+fhir", "text/json")
FORMATS: Final = ("json", *JSON_TYPES)


class BearerOrToken(TokenAuthentication):
    """The same tokens; FHIR clients write `Authorization: Bearer ...`."""

    def authenticate_header(self, request: Request) -> str:
        """Return the scheme that is expected, and asked for: the one the client uses."""
        scheme = get_authorization_header(request).partition(b" ")[0]
        return "Token" if scheme.lower() == b"token" else "Bearer"


class FhirRenderer(BaseRenderer):
    """JSON with exact decimals."""

    media_type = MEDIA_TYPE
    format = "json"
    charset = "utf-8"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return the bytes; none where there is no body."""
        return b"" if data is None else to_json(data).encode()


class FhirParser(BaseParser):
    """A resource as JSON, under any of the names that has."""

    media_type = MEDIA_TYPE

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Parse exactly; ParseError says where it is no JSON."""
        try:
            return from_json(stream.read())
        except (ValueError, RecursionError) as error:
            raise ParseError(f"It is no JSON: {error}") from error


class PlainJsonParser(FhirParser):
    media_type = "application/json"


class FhirNegotiation(JsonForAll):
    """JSON only. Errors are JSON whatever was asked for: they must be readable."""

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """Choose the media type the client names; the view refuses what it cannot have."""
        accepts = order_by_precedence(self.get_accept_list(request))
        given = {one.split(";")[0].strip() for group in accepts for one in group}
        name = "application/json" if _only_plain(given) else MEDIA_TYPE
        return next(iter(renderers)), name


def _only_plain(given: set[str]) -> bool:
    return "application/json" in given and MEDIA_TYPE not in given


class FhirView(ApiView):
    """Token or session; every error an OperationOutcome; nothing of it in a shared cache."""

    authentication_classes = [BearerOrToken, SessionAuthentication]
    content_negotiation_class = FhirNegotiation
    renderer_classes = [FhirRenderer]
    parser_classes = [FhirParser, PlainJsonParser]
    schema = None  # the CapabilityStatement describes these addresses, not the OpenAPI schema
    takes_any_format = False

    def get_exception_handler(self) -> Callable[..., Response]:
        """Answer errors as FHIR has them."""
        return outcome_handler

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, then refuse XML: it would be answered in JSON nobody can read."""
        super().initial(request, *args, **kwargs)
        if not self.takes_any_format:
            _check_format(request)

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        """Keep patients' data out of shared caches."""
        finished = super().finalize_response(request, response, *args, **kwargs)
        if isinstance(finished, Response) and finished.data is not None:
            finished.content_type = f"{self.request.accepted_media_type}; charset=utf-8"
        finished.headers.setdefault("Cache-Control", "private, no-cache")
        return finished


def _check_format(request: Request) -> None:
    asked = request.query_params.get("_format")
    accepts = [one.split(";")[0].strip() for one in request.headers.get("Accept", "*/*").split(",")]
    readable = {*JSON_TYPES, "application/*", "text/*", "*/*", "text/html", ""}
    if (asked is not None and asked.replace(" ", "+") not in FORMATS) or (
        asked is None and not readable.intersection(accepts)
    ):
        text = f"Answers are JSON only: ask for {MEDIA_TYPE}."
        raise FhirError(status.HTTP_406_NOT_ACCEPTABLE, "not-supported", text)


def base_url(request: Request | HttpRequest) -> str:
    return str(request.build_absolute_uri("/fhir/"))


def records_of(request: Request) -> Records:
    """The resources of who asks; raises PermissionDenied where the role does not read here."""
    user = person(request)
    require(user, Action.EXCHANGE)
    return Records(user, base_url(request))


def person(request: Request) -> User:
    """Return who asks; the permission class has seen to it that it is an account."""
    assert isinstance(request.user, User)  # noqa: S101 - narrows the type
    return request.user


def tagged(resource: Resource) -> dict[str, str]:
    """Return ETag and Last-Modified; what keeps no versions is told apart by its digest."""
    meta = resource.get("meta", {})
    version = meta.get("versionId") or hashlib.sha256(to_json(resource).encode()).hexdigest()[:16]
    headers = {"ETag": f'W/"{version}"'}
    if "lastUpdated" in meta:
        headers["Last-Modified"] = http_date(
            datetime.fromisoformat(meta["lastUpdated"]).timestamp()
        )
    return headers


def is_known(request: Request, headers: Mapping[str, str]) -> bool:
    """Whether the client has this version already (If-None-Match)."""
    given = [one.strip() for one in request.headers.get("If-None-Match", "").split(",")]
    tag = headers.get("ETag", "")
    return bool(tag) and (tag in given or tag.removeprefix("W/") in given or "*" in given)
