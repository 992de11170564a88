"""What the OpenAPI document says of the resources: statuses, examples, headers, problems."""

from collections import defaultdict
from functools import cache
from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from specimens.api.errors import ApiError
from specimens.api.problems import MEDIA_TYPE, problem_body
from specimens.api.schema import answer
from specimens.api.serializers import Accepted

Header: Final = OpenApiParameter.HEADER

# Code: (status, an example of its text, what stands beside it).
PROBLEMS: Final[dict[str, tuple[int, str, dict[str, Any]]]] = {
    "invalid": (
        400,
        "accession_number: 261123-001 is in use at this site. Open that specimen, or give the "
        "next number.",
        {"fields": {"accession_number": "261123-001 is in use at this site."}},
    ),
    "malformed_request": (400, "The request body cannot be read: JSON parse error.", {}),
    "not_authenticated": (401, 'This call needs a token: "Authorization: Token <token>".', {}),
    "authentication_failed": (401, "The token is not valid: it is mistyped or expired.", {}),
    "not_allowed": (
        403,
        "Your role does not permit this (accession). It needs: integration, pathologist, "
        "technician.",
        {},
    ),
    "insufficient_scope": (
        403, "The token does not have the scope “write” that this call needs.", {},
    ),
    "permission_denied": (403, "CSRF Failed: CSRF token missing.", {}),
    "not_found": (404, "There is nothing at this address; /api/docs/ lists what there is.", {}),
    "method_not_allowed": (405, 'Method "DELETE" not allowed.', {}),
    "conflict": (
        409, "Patient number P000017 belongs to another record. Check the number.", {},
    ),
    "not_in_this_state": (
        409,
        "A specimen that is signed out does not permit “add images”: that is possible while it is "
        "accessioned, imaged, preclassified, in review.",
        {},
    ),
    "still_running": (
        409, "The first request with this Idempotency-Key is still being worked on.", {},
    ),
    "stale": (
        412, "The resource has changed since the version that If-Match names. Read it again.", {},
    ),
    "stale_cells": (
        409,
        "1 of the cells were changed by somebody else meanwhile. Look at them again, then decide.",
        {"cells": [{"cell": 4711, "label": "monocyte", "revision": 1, "reviewer": "Paula Thorne"}]},
    ),
    "no_file": (
        400, 'No file was sent. Send each image as a file in the field "images".', {},
    ),
    "too_large": (413, "The request is larger than 111 MB. Nothing was stored.", {}),
    "too_many_images": (
        413, "The call holds 11 images; one call takes up to 10. Nothing was stored.", {},
    ),
    "unsupported_content_type": (
        415, 'Unsupported media type "text/plain" in request.', {},
    ),
    "gate_closed": (
        422,
        "88 white cells of 100: count 12 more.",
        {
            "obstacles": [
                {
                    "code": "too_few_cells",
                    "text": "88 white cells of 100: count 12 more.",
                    "bypassable": True,
                }
            ]
        },
    ),
    "idempotency_key_reused": (
        422, "This Idempotency-Key was used for another request.", {},
    ),
    "if_match_required": (
        428, "Send If-Match with the ETag of the last answer you read of this resource.", {},
    ),
    "too_many_requests": (
        429, "This token has used up its requests of this minute (6000). Wait 12 s.", {},
    ),
    "locked_out": (
        429,
        "Too many wrong attempts. This account is locked for this address: try again in 15 "
        "minutes, or ask an administrator to unlock it.",
        {},
    ),
    "internal_error": (
        500, "The server failed on this request. The failure is recorded in its log.", {},
    ),
    "database_unavailable": (503, "The database cannot be reached at the moment. Try again.", {}),
    "queue_full": (503, "The queue is full; nothing was stored. Try again in 30 s.", {}),
    "storage_unavailable": (507, "The images could not be stored; none was accepted.", {}),
}  # fmt: skip

ALWAYS: Final = (
    "not_authenticated", "authentication_failed", "not_allowed", "insufficient_scope",
    "too_many_requests", "locked_out", "internal_error", "database_unavailable",
    "method_not_allowed",
)  # fmt: skip
READING: Final = (*ALWAYS, "not_found")
LISTING: Final = (*ALWAYS, "invalid")
WRITING: Final = (
    *READING, "invalid", "malformed_request", "unsupported_content_type", "permission_denied",
    "too_large", "conflict",
)  # fmt: skip
CREATING: Final = (*WRITING, "still_running", "idempotency_key_reused")
CHANGING: Final = (*WRITING, "stale", "if_match_required")

_TEXTS: Final = {
    400: "The request is at fault; `fields` says where.",
    401: "No token, or one that is no longer good (with WWW-Authenticate).",
    403: "The role or the scope of the token does not permit it.",
    404: "Nothing there, or not of your sites.",
    405: "Another method; Allow says which there are.",
    409: "It contradicts what is recorded, or the state of the case.",
    412: "Changed since you read it.",
    413: "Too large, or too many; nothing was stored.",
    415: "Another kind of body.",
    422: "Understood, and not possible as it is.",
    428: "If-Match is missing.",
    429: "Too many requests of this token; with Retry-After.",
    500: "The platform failed.",
    503: "Away or full; with Retry-After.",
    507: "The disk is full.",
}


class LabelledCell(serializers.Serializer[Any]):
    cell = serializers.IntegerField()
    label = serializers.CharField(allow_blank=True)  # type: ignore[assignment] # Field's own label
    revision = serializers.IntegerField()
    reviewer = serializers.CharField(allow_blank=True, help_text="Empty: taken back.")


class ObstacleShape(serializers.Serializer[Any]):
    code = serializers.CharField()
    text = serializers.CharField()
    bypassable = serializers.BooleanField()


class Problem(serializers.Serializer[Any]):
    """An error, as RFC 9457 has it."""

    type = serializers.CharField(help_text="A URN that ends in the code.")
    title = serializers.CharField(help_text="The phrase of the status.")
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="What was wrong and what to do, for people.")
    code = serializers.CharField(help_text="The kind of problem, for programs.")
    fields = serializers.DictField(  # type: ignore[assignment]
        child=serializers.CharField(), required=False, help_text="Faults by field."
    )
    cells = LabelledCell(many=True, required=False, help_text="Of 409 stale: as they stand now.")
    obstacles = ObstacleShape(many=True, required=False, help_text="Of 422 gate_closed.")
    accepted = Accepted(required=False, help_text="Where a file was at fault.")


def problems(*codes: str) -> dict[Any, OpenApiResponse]:
    """Return the responses for these kinds of problem, each with its example."""
    by_status: dict[int, list[OpenApiExample]] = defaultdict(list)
    for code in dict.fromkeys(codes):
        status, text, extra = PROBLEMS[code]
        name = "stale" if code == "stale_cells" else code
        body = problem_body(ApiError(status, name, text, **extra))
        by_status[status].append(OpenApiExample(code.replace("_", " "), value=body))
    return {
        (status, MEDIA_TYPE): OpenApiResponse(Problem, _TEXTS[status], examples=examples)
        for status, examples in sorted(by_status.items())
    }


UNCHANGED: Final[dict[Any, Any]] = {
    304: OpenApiResponse(None, "You have it: If-None-Match names its ETag.")
}

IF_NONE_MATCH: Final = OpenApiParameter(
    "If-None-Match", OpenApiTypes.STR, Header, description="An ETag you have; 304 if it holds."
)
IF_MATCH: Final = OpenApiParameter(
    "If-Match", OpenApiTypes.STR, Header, required=True, description="The ETag you have read."
)
IDEMPOTENCY_KEY: Final = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
    Header,
    description="Drawn by you; the same key repeats the answer instead of the act.",
)


def _header(name: str, text: str, *statuses: int) -> OpenApiParameter:
    return OpenApiParameter(
        name, OpenApiTypes.STR, Header, description=text, response=list(statuses)
    )


ETAG: Final = _header("ETag", "Changes with the content.", 200, 201, 304)
LINK: Final = _header("Link", 'rel="next" and rel="prev", RFC 8288.', 200)
LOCATION: Final = _header("Location", "Of the new resource.", 201)
RETRY_AFTER: Final = _header("Retry-After", "Seconds.", 429, 503)

ONE: Final = [IF_NONE_MATCH, ETAG, RETRY_AFTER]
LIST: Final = [IF_NONE_MATCH, ETAG, LINK, RETRY_AFTER]
CREATE: Final = [IDEMPOTENCY_KEY, ETAG, LOCATION, RETRY_AFTER]
CHANGE: Final = [IF_MATCH, ETAG, RETRY_AFTER]


@cache
def listing(shape: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """Return the shape of a page of `shape`."""
    fields = {
        "next": serializers.URLField(allow_null=True, help_text="The page of older rows."),
        "previous": serializers.URLField(allow_null=True, help_text="The page of newer rows."),
        "results": shape(many=True, help_text="The newest first."),
    }
    return type(f"{shape.__name__}Page", (serializers.Serializer,), fields)


def read_one(shape: Any, example: Any, *more: str) -> dict[Any, Any]:
    """Return the responses of reading one resource."""
    found = answer(shape, "As it is now.", found=example)
    return {200: found, **UNCHANGED, **problems(*READING, *more)}


def read_list(shape: Any, example: Any, *more: str) -> dict[Any, Any]:
    """Return the responses of reading a list."""
    example = {"next": None, "previous": None, "results": [example]}
    found = answer(shape, "A page, the newest first.", page=example)
    return {200: found, **UNCHANGED, **problems(*LISTING, *more)}


def create_one(shape: Any, example: Any, *more: str) -> dict[Any, Any]:
    """Return the responses of a create."""
    return {201: answer(shape, "Created.", created=example), **problems(*CREATING, *more)}


def change_one(shape: Any, example: Any, *more: str) -> dict[Any, Any]:
    """Return the responses of a change."""
    return {200: answer(shape, "As it is now.", changed=example), **problems(*CHANGING, *more)}
