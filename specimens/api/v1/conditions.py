"""Conditional requests (RFC 9110, section 13): entity tags over the content of a resource."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from django.utils.http import parse_etags
from rest_framework import status
from rest_framework.request import Request

from specimens.api.errors import ApiError
from specimens.services.errors import StaleVersion


def etag_of(body: Any) -> str:
    """Return the strong entity tag of a JSON body."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def is_known(request: Request, tag: str) -> bool:
    """Tell whether If-None-Match names `tag`, by weak comparison."""
    given = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in given or any(one.removeprefix("W/") == tag for one in given)


def precondition(request: Request) -> Callable[[Any], None]:
    """Return a check of the current body against If-Match; it raises StaleVersion.

    Raises 428 where the header is missing: a write that looked at nothing would undo the changes
    of others.
    """
    header = request.headers.get("If-Match", "").strip()
    if not header:
        text = "Send If-Match with the ETag of the last answer you read of this resource."
        raise ApiError(status.HTTP_428_PRECONDITION_REQUIRED, "if_match_required", text)
    given = parse_etags(header)

    def check(body: Any) -> None:
        if "*" not in given and etag_of(body) not in given:
            raise StaleVersion(
                "The resource has changed since the version that If-Match names. Read it again, "
                "then decide."
            )

    return check
