"""Bodies before Django sees them: bounded, and made whole where they come in chunks."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from wbclab.request_body import PATIENCE_BYTES, BoundedBody, body_limit

LIMIT = 1000


class Exchange:
    """One request with these body parts; what the application behind saw, and what was answered."""

    def __init__(
        self,
        parts: Sequence[bytes],
        hang_up: bool = False,
        path: str = "/api/predict",
        **headers: str,
    ) -> None:
        names = {name.replace("_", "-").encode(): v.encode() for name, v in headers.items()}
        self.scope = {"type": "http", "path": path, "headers": list(names.items())}
        self.messages = self._messages(parts, hang_up)
        self.read = 0
        self.seen: bytes | None = None
        self.seen_headers: dict[bytes, bytes] = {}
        self.after: dict[str, Any] | None = None
        self.sent: list[Any] = []
        asyncio.run(BoundedBody(self._app, lambda path: LIMIT)(self.scope, self.receive, self.send))

    @staticmethod
    def _messages(parts: Sequence[bytes], hang_up: bool) -> Iterator[dict[str, Any]]:
        for position, part in enumerate(parts):
            more = hang_up or position + 1 < len(parts)
            yield {"type": "http.request", "body": part, "more_body": more}
        yield {"type": "http.disconnect"}

    async def receive(self) -> dict[str, Any]:
        self.read += 1
        return next(self.messages)

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen, more = b"", True
        self.seen_headers = dict(scope["headers"])
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break
            self.seen += message["body"]
            more = message["more_body"]
        self.after = await receive() if not more else None
        await send({"type": "http.response.start", "status": 200, "headers": []})

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


def test_a_body_with_a_length_passes_untouched() -> None:
    exchange = Exchange([b"a" * 500, b"b" * 500], content_length="1000")
    assert exchange.status == 200
    assert exchange.seen == b"a" * 500 + b"b" * 500


def test_a_body_above_the_limit_is_refused_after_it_was_sent() -> None:
    exchange = Exchange([b"a" * 500] * 4, content_length="2000")
    assert exchange.seen is None
    assert exchange.status == 413
    assert exchange.read == 4
    body = json.loads(exchange.sent[1]["body"])
    assert (body["success"], body["code"]) == (False, "too_large")
    assert (b"connection", b"close") in exchange.sent[0]["headers"]


@pytest.mark.parametrize(
    ("path", "media_type", "member"),
    [
        ("/api/v1/specimens/1/cells", b"application/problem+json", "detail"),
        ("/v2/models/dmfnet/infer", b"application/json", "error"),
    ],
)
def test_each_interface_is_refused_in_its_own_shape(
    path: str, media_type: bytes, member: str
) -> None:
    exchange = Exchange([b"a" * 2000], path=path, content_length="2000")
    assert (b"content-type", media_type) in exchange.sent[0]["headers"]
    assert "larger than" in json.loads(exchange.sent[1]["body"])[member]


def test_a_client_that_asks_first_sends_nothing() -> None:
    exchange = Exchange([b"a"], content_length="2000", expect="100-continue")
    assert (exchange.status, exchange.read) == (413, 0)


def test_our_patience_ends() -> None:
    part = bytes(PATIENCE_BYTES // 4)
    exchange = Exchange([part] * 8, content_length=str(8 * len(part)))
    assert (exchange.status, exchange.read) == (413, 4)


def test_a_sender_that_hangs_up_gets_no_answer() -> None:
    assert Exchange([b"a"], hang_up=True, content_length="2000").sent == []
    assert Exchange([b"a"], hang_up=True, transfer_encoding="chunked").sent == []


@pytest.mark.parametrize("parts", [[b""], [b"a"], [b"a" * 500, b"b" * 500], [b"x"] * 1000])
def test_a_chunked_body_gets_its_length(parts: list[bytes]) -> None:
    exchange = Exchange(parts, transfer_encoding="chunked")
    whole = b"".join(parts)
    assert exchange.seen == whole
    assert exchange.seen_headers == {b"content-length": str(len(whole)).encode()}
    assert exchange.after == {"type": "http.disconnect"}


def test_an_endless_chunked_body_is_refused() -> None:
    exchange = Exchange([b"x" * 400] * 5, transfer_encoding="chunked")
    assert (exchange.seen, exchange.status) == (None, 413)
    assert exchange.read == 5


def test_a_request_without_a_body_passes() -> None:
    assert Exchange([b""]).status == 200


def test_what_is_not_http_passes() -> None:
    passed = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    asyncio.run(BoundedBody(app, lambda path: 0)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert passed == ["lifespan"]


def test_the_limits_let_the_largest_allowed_call_through() -> None:
    assert body_limit("/api/predict_batch") > 10 * 10 * 1024**2
    assert body_limit("/specimens/1/images") > body_limit("/api/predict")
