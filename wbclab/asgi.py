"""ASGI entry point. WSGI is not offered: Django drops chunked request bodies there."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, cast

import django
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.signals import request_started
from django.http import FileResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from wbclab.affinity import bind, own_core
from wbclab.request_body import BoundedBody, body_limit


class OneThreadHandler(ASGIHandler):
    """Answers each request in one thread, entered once.

    No middleware and no view of ours is asynchronous. Django's own handler goes to a thread and
    back for each middleware that could be, for the signals at both ends, and to close the answer,
    each time with a copy of the context: more than half of a web process's time.
    """

    def __init__(self) -> None:
        super().__init__()
        # As many as there were ever requests at once: one that waits must keep no other waiting.
        self._idle: list[ThreadPoolExecutor] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer in the thread that was used last, which is the warmest."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        thread = self._idle.pop() if self._idle else _new_thread()
        try:
            response = await _in(thread, self._respond, scope, body)
            if isinstance(response, StreamingHttpResponse):
                await self._stream(response, thread, receive, send)
            else:
                await self.send_response(response, send)
        finally:
            body.close()
            self._idle.append(thread)

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the chain of functions; Django asks for one of coroutines."""
        super().load_middleware(is_async=False)

    def _respond(self, scope: Any, body: IO[bytes]) -> HttpResponseBase:
        """Run the middleware and the view; an answer that is whole is closed already."""
        set_script_prefix(get_script_prefix(scope))
        request_started.send(sender=type(self), scope=scope)
        request, refusal = self.create_request(scope, body)
        response = cast("HttpResponseBase", self.get_response(request) if request else refusal)
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        if not response.streaming:
            response.close()
        return response

    async def _stream(
        self, response: StreamingHttpResponse, thread: ThreadPoolExecutor, receive: Any, send: Any
    ) -> None:
        """Send an answer block by block, until its end or until the client hangs up."""
        response.streaming_content = _blocks(thread, iter(response))
        sending = asyncio.create_task(self.send_response(response, send))
        hanging_up = asyncio.create_task(receive())
        try:
            await asyncio.wait({sending, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            hanging_up.cancel()
            sending.cancel()
            await asyncio.wait({sending, hanging_up})
            await _in(thread, response.close)


def _new_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "request", initializer=bind, initargs=(own_core(),))


def _in(thread: ThreadPoolExecutor, work: Any, *arguments: Any) -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().run_in_executor(thread, work, *arguments)


async def _blocks(thread: ThreadPoolExecutor, blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (block := await _in(thread, next, blocks, None)) is not None:
        yield block


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wbclab.settings")
django.setup(set_prefix=False)
application = BoundedBody(OneThreadHandler(), body_limit)
