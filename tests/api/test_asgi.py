"""How a request goes through Django under ASGI."""

import asyncio
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path

from wbclab.asgi import OneThreadHandler

threads: list[int] = []
stack: list[str] = []
entered, released = threading.Event(), threading.Event()


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


def when_released(_: HttpRequest) -> HttpResponse:
    """Wait as a predict call does, then answer."""
    entered.set()
    assert released.wait(10)
    threads.append(threading.get_ident())
    return HttpResponse("done")


urlpatterns = [path("at-once", at_once), path("when-released", when_released)]


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
    entered.clear()
    released.clear()
    return OneThreadHandler()


async def call(handler: OneThreadHandler, address: str, *, hang_up: bool) -> list[dict[str, Any]]:
    """Send a request, and where asked to, hang up once the view has it; return what was sent."""
    sent: list[dict[str, Any]] = []
    messages = iter([{"type": "http.request", "body": b""}])

    async def receive() -> dict[str, Any]:
        if (message := next(messages, None)) is not None:
            return message
        if not hang_up:
            await asyncio.Event().wait()
        await asyncio.to_thread(entered.wait, 10)
        asyncio.get_running_loop().call_later(0.1, released.set)
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(dict(message))

    scope = {"type": "http", "method": "GET", "path": address, "headers": [(b"host", b"localhost")]}
    await asyncio.wait_for(handler(scope, receive, send), 20)
    return sent


def test_middleware_and_view_run_in_one_thread_without_the_event_loop(
    handler: OneThreadHandler,
) -> None:
    sent = asyncio.run(call(handler, "/at-once", hang_up=False))
    assert sent[0]["status"] == 200
    assert b"".join(message.get("body", b"") for message in sent) == b"done"
    assert len(threads) == 5
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    assert not [name for name in stack if name.endswith("current_thread_executor.py")]


def test_what_was_begun_for_who_hangs_up_is_ended(handler: OneThreadHandler) -> None:
    assert asyncio.run(call(handler, "/when-released", hang_up=True)) == []
    assert len(threads) == 5, "the view and the middleware around it ran to their end"
