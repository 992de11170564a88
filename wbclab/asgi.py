"""ASGI entry point. WSGI is not offered: Django drops chunked request bodies there."""

import os

import django
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponseBase

from wbclab.request_body import BoundedBody, body_limit


class OneThreadHandler(ASGIHandler):
    """Answers each request in one thread, from the first middleware to the view and back.

    No middleware and no view of ours is asynchronous. Django's own handler would go to the event
    loop and back for each middleware that could be, which took more than half of a web process.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the chain of functions; Django asks for one of coroutines."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Run the whole chain in the thread that belongs to the request."""
        return await sync_to_async(self.get_response)(request)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wbclab.settings")
django.setup(set_prefix=False)
application = BoundedBody(OneThreadHandler(), body_limit)
