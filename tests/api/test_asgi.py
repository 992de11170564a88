"""How a request goes through Django under ASGI."""

import asyncio
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from wbclab.asgi import OneThreadHandler

threads: list[int] = []
stack: list[str] = []
closed = threading.Event()


class Noting:
    """A middleware that notes its thread on the way in and on the way out."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on."""
        threads.append(threading.get_ident())
        response = self._get_response(request)
        threads.append(threading.get_ident())
        return response


def at_once(_: HttpRequest) -> HttpResponse:
    """Answer."""
    threads.append(threading.get_ident())
    stack[:] = [frame.filename for frame in traceback.extract_stack()]
    return HttpResponse("done")


def block_by_block(request: HttpRequest) -> StreamingHttpResponse:
    """Answer with as many blocks as asked for, and note when nobody wants more."""

    def blocks() -> Iterator[bytes]:
        try:
            for number in range(int(request.GET["blocks"])):
                threads.append(threading.get_ident())
                yield b"%d " % number
        finally:
            threads.append(threading.get_ident())
            closed.set()

    return StreamingHttpResponse(blocks())


urlpatterns = [path("at-once", at_once), path("block-by-block", block_by_block)]


@pytest.fixture
def handler(settings: Any) -> OneThreadHandler:
    """One that has our middleware beside some of Django's that could be asynchronous."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [
        f"{__name__}.Noting",
        "django.middleware.security.SecurityMiddleware",
        f"{__name__}.Noting",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "django_htmx.middleware.HtmxMiddleware",
    ]
    threads.clear()
    closed.clear()
    return OneThreadHandler()


async def call(
    handler: OneThreadHandler, address: str, *, hangs_up_after: int | None = None
) -> list[dict[str, Any]]:
    """Send a request, perhaps hang up after some messages; return what was sent by then."""
    sent: list[dict[str, Any]] = []
    messages = iter([{"type": "http.request", "body": b""}])
    heard_enough = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if (message := next(messages, None)) is not None:
            return message
        await heard_enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(dict(message))
        if len(sent) == hangs_up_after:
            heard_enough.set()
            await asyncio.Event().wait()  # a client that takes nothing more

    route, _, query = address.partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": route,
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost")],
    }
    await asyncio.wait_for(handler(scope, receive, send), 20)
    return sent


def body(sent: list[dict[str, Any]]) -> bytes:
    """Return the body that the messages make."""
    return b"".join(message.get("body", b"") for message in sent)


def test_middleware_and_view_run_in_one_thread_without_the_event_loop(
    handler: OneThreadHandler,
) -> None:
    sent = asyncio.run(call(handler, "/at-once"))
    assert sent[0]["status"] == 200
    assert body(sent) == b"done"
    assert len(threads) == 5
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    assert not [name for name in stack if name.endswith("current_thread_executor.py")]


def test_a_stream_comes_from_the_thread_of_its_view(handler: OneThreadHandler) -> None:
    sent = asyncio.run(call(handler, "/block-by-block?blocks=3"))
    assert body(sent) == b"0 1 2 "
    assert not sent[-1].get("more_body")
    assert closed.is_set()
    assert len(threads) == 4 + 3 + 1
    assert len(set(threads)) == 1


def test_a_stream_ends_where_its_client_hangs_up(handler: OneThreadHandler) -> None:
    sent = asyncio.run(call(handler, "/block-by-block?blocks=1000000", hangs_up_after=3))
    assert body(sent) == b"0 1 "
    assert closed.wait(1)
    assert len(threads) < 20
    assert len(set(threads)) == 1, "its end ran in its thread as well"


def test_a_thread_serves_the_next_request(handler: OneThreadHandler) -> None:
    async def twice() -> None:
        await call(handler, "/at-once")
        await call(handler, "/at-once")

    asyncio.run(twice())
    assert len(threads) == 10
    assert len(set(threads)) == 1
