"""A client of the API that holds every answer to the OpenAPI schema."""

import functools
import json
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import jsonschema
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from specimens.api.problems import MEDIA_TYPE as PROBLEM
from specimens.models import User
from specimens.services.tokens import create_token


@functools.cache
def openapi() -> dict[str, Any]:
    """Return the published schema."""
    generated: dict[str, Any] = json.loads(json.dumps(SchemaGenerator().get_schema(public=True)))
    return generated


@functools.cache
def _addresses() -> list[tuple[re.Pattern[str], str]]:
    """Return the addresses of the schema as patterns, those with the fewest variables first."""
    paths = sorted(openapi()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in paths]


def operation(method: str, path: str) -> dict[str, Any] | None:
    """Return what the schema says of a call, None where the address is not in it."""
    bare = path.partition("?")[0].rstrip("/")
    for pattern, template in _addresses():
        if pattern.fullmatch(bare):
            found: dict[str, Any] | None = openapi()["paths"][template].get(method.lower())
            return found
    return None


def check_body(
    responses: dict[str, Any], status: int, body: Any, media_type: str = "application/json"
) -> None:
    """Fail unless the schema has this status, and the body the shape it names."""
    assert str(status) in responses, f"status {status} is not documented: {body}"
    content = responses[str(status)]["content"]
    assert media_type in content, f"{status} with {media_type} is not documented: {body}"
    jsonschema.validate(
        body, content[media_type]["schema"] | {"components": openapi()["components"]}
    )


def token_of(
    user: User,
    *,
    expiry: timedelta = timedelta(days=1),
    scopes: Sequence[str] = ("read", "write"),
) -> str:
    """Make a token for an account."""
    token, _ = create_token(actor=None, user=user, lifetime=expiry, scopes=scopes)
    return token


class Api:
    """Calls as one account, or as nobody."""

    def __init__(self, token: str | None = None) -> None:
        headers = {"authorization": f"Token {token}"} if token else {}
        self.http = Client(headers=headers, raise_request_exception=False)

    def get(self, path: str, **options: Any) -> HttpResponse:
        """GET, checked."""
        return self.request("GET", path, **options)

    def post(self, path: str, data: Any = None, **options: Any) -> HttpResponse:
        """POST, as multipart unless told otherwise, checked."""
        return self.request("POST", path, data=data, **options)

    def predict(self, content: bytes, name: str = "cell.png", **options: Any) -> HttpResponse:
        """Send one image."""
        form = {"file": SimpleUploadedFile(name, content)}
        return self.post("/api/predict", form, **options)

    def predict_batch(self, *contents: bytes) -> HttpResponse:
        """Send several images, named by their position."""
        files = [SimpleUploadedFile(f"{i}.png", content) for i, content in enumerate(contents)]
        return self.post("/api/predict_batch", {"images": files})

    def request(self, method: str, path: str, **options: Any) -> HttpResponse:
        """Call, then hold the answer to the schema and to the one shape of an error."""
        call = getattr(self.http, method.lower())
        response: HttpResponse = call(path, **options)
        described = operation(method, path)
        media_type = response.get("Content-Type", "")
        if media_type not in ("application/json", PROBLEM):
            assert described, response.content[:300]
            documented = described["responses"][str(response.status_code)].get("content", {"": 0})
            assert media_type in documented
            return response
        body = json.loads(response.content)
        if described:
            check_body(described["responses"], response.status_code, body, media_type)
        elif response.status_code >= 400 and path.startswith("/api/") and media_type != PROBLEM:
            assert set(body) - {"accepted", "id"} == {"success", "error", "code"}
        return response


def body_of(response: HttpResponse) -> dict[str, Any]:
    """Return the JSON of an answer."""
    body: dict[str, Any] = json.loads(response.content)
    return body
