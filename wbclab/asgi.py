"""ASGI entry point. WSGI is not offered: Django drops chunked request bodies there."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponseBase

from wbclab.request_body import BoundedBody, body_limit


class OneThreadHandler(ASGIHandler):
    """Answers each request in one thread, from the first middleware to the view and back.

    No middleware and no view of ours is asynchronous. Django's own handler would go to the event
    loop and back for each middleware that could be, which took more than half of a web process;
    and it would start and end a thread for each request.
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
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(1, "request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await self.handle(scope, receive, send)
        finally:
            self._idle.append(thread)

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the chain of functions; Django asks for one of coroutines."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Run the whole chain in the thread that belongs to the request."""
        return await sync_to_async(self.get_response)(request)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wbclab.settings")
django.setup(set_prefix=False)
application = BoundedBody(OneThreadHandler(), body_limit)
