"""Bounds request bodies before Django reads them, and gives chunked ones the length Django wants.

DICOMweb bodies go on as they come, counted: nothing there asks for a length, and they may be large.

Django writes a body to a temporary file to its end before any view is asked, so an endless one
would fill the disk; and its multipart parser takes a body without Content-Length for an empty one.
"""

import json
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping
from typing import IO, Any, Final

from django.conf import settings

from classifier.imaging.refusal import MAX_BYTES

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

DICOMWEB: Final = "/dicom-web/"
MEBIBYTE: Final = 1024 * 1024
IN_MEMORY_BYTES: Final = 2 * MEBIBYTE
BLOCK_BYTES: Final = 64 * 1024
TENSOR_BYTES: Final = 32 * MEBIBYTE  # JSON, which takes several times its size to read
RESOURCE_BYTES: Final = 2 * MEBIBYTE  # one FHIR resource, without pictures
# Read and thrown away behind the limit, so that a client that is still sending gets to our answer.
PATIENCE_BYTES: Final = 256 * MEBIBYTE


def body_limit(path: str) -> int:
    """Return how many bytes a request to `path` may have: as many files as one call may hold."""
    if path.startswith(DICOMWEB):
        return int(settings.DICOM_STOW_MB) * MEBIBYTE
    if path.startswith("/v2/"):
        return TENSOR_BYTES
    if path.startswith("/fhir/"):
        return RESOURCE_BYTES
    api = path.startswith("/api/")
    files: int = settings.PREDICT_BATCH_LIMIT if api else settings.UPLOAD_BATCH_LIMIT
    # One file more than allowed, so that the view can say what is wrong; and room for the form.
    return (files + 1) * MAX_BYTES + MEBIBYTE


class BoundedBody:
    """ASGI middleware: 413 for a body above `limit(path)` bytes, chunked bodies made whole."""

    def __init__(self, app: App, limit: Callable[[str], int]) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        limit = self._limit(scope["path"])
        length = headers.get(b"content-length")
        if length is not None:
            # The server holds a body to its declared length.
            if int(length) > limit:
                waits = b"expect" in headers
                await _refuse(receive, send, limit, path=scope["path"], waits=waits)
            else:
                await self._app(scope, receive, send)
        elif b"transfer-encoding" in headers and scope["path"].startswith(DICOMWEB):
            await self._pass_on_counted(scope, receive, send, limit)
        elif b"transfer-encoding" in headers:
            await self._pass_on_chunked(scope, receive, send, limit)
        else:
            await self._app(scope, receive, send)

    async def _pass_on_chunked(
        self, scope: Scope, receive: Receive, send: Send, limit: int
    ) -> None:
        """Read a body without a length, then pass it on with one."""
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as body:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body.write(message.get("body", b""))
                more = message.get("more_body", False)
                if body.tell() > limit:
                    await _refuse(receive, send, limit, path=scope["path"], more=more)
                    return
            await self._app(_with_length(scope, body.tell()), _replay(body, receive), send)

    async def _pass_on_counted(
        self, scope: Scope, receive: Receive, send: Send, limit: int
    ) -> None:
        """Pass a body without a length on block by block; above the limit it breaks off."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # Django takes this for a client that hung up, and asks no view.
            return message if received <= limit else {"type": "http.disconnect"}

        async def unless_refused(message: Message) -> None:
            if received <= limit:
                await send(message)

        await self._app(scope, counted, unless_refused)
        if received > limit:
            await _refuse(receive, send, limit, path=scope["path"])


def _with_length(scope: Scope, length: int) -> Scope:
    headers = [pair for pair in scope["headers"] if pair[0].lower() != b"transfer-encoding"]
    return {**scope, "headers": [*headers, (b"content-length", str(length).encode())]}


def _replay(body: IO[bytes], receive: Receive) -> Receive:
    """Return a `receive` that hands out `body`, then what the server still has to say."""
    length = body.tell()
    body.seek(0)
    ended = False

    async def replay() -> Message:
        nonlocal ended
        if ended:
            return await receive()
        block = body.read(BLOCK_BYTES)
        ended = body.tell() >= length
        return {"type": "http.request", "body": block, "more_body": not ended}

    return replay


async def _refuse(
    receive: Receive, send: Send, limit: int, *, path: str, waits: bool = False, more: bool = True
) -> None:
    """Answer 413 in the shape of the API's errors (specimens/api/errors.py, problems.py).

    A client that `waits` for "100 Continue" has sent nothing yet: asking for its body would start
    it off.
    """
    thrown_away = 0
    while more and not waits and thrown_away < PATIENCE_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        thrown_away += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = f"The request is larger than {limit // MEBIBYTE} MB. Nothing was stored."
    media_type = b"application/json"
    body: dict[str, Any] = {"success": False, "error": text, "code": "too_large"}
    if path.startswith("/api/v1/"):
        media_type, body = b"application/problem+json", _problem(text)
    elif path.startswith("/v2/"):
        body = {"error": text}
    elif path.startswith("/fhir/"):
        media_type, body = b"application/fhir+json", _outcome(text)
    content = json.dumps(body).encode()
    headers = [
        (b"content-type", media_type),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _outcome(text: str) -> dict[str, Any]:
    issue = {"severity": "error", "code": "too-long", "details": {"text": text}}
    return {"resourceType": "OperationOutcome", "issue": [issue | {"diagnostics": text}]}


def _problem(text: str) -> dict[str, Any]:
    code = "too_large"
    return {
        "type": f"urn:wbclab:problem:{code}",
        "title": "Request Entity Too Large",
        "status": 413,
        "detail": text,
        "code": code,
    }
