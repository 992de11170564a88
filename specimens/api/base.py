"""What every view of the API has in common."""

import json
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from rest_framework.authentication import SessionAuthentication
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from specimens.api.authentication import TokenAuthentication
from specimens.api.throttling import TokenThrottle, allowance_of
from specimens.permissions import Action, can


class JsonForAll(DefaultContentNegotiation):
    """JSON whatever the Accept header says: an error must be readable, too."""

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """Choose the first, and only, renderer."""
        renderer = next(iter(renderers))
        return renderer, renderer.media_type or ""


class SafeJSONRenderer(JSONRenderer):
    """JSON that can always be sent: half a surrogate pair that came in goes out as an escape."""

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        """Return the JSON in UTF-8, or in ASCII where that is impossible."""
        try:
            return bytes(super().render(data, *args, **kwargs))
        except UnicodeEncodeError:
            return json.dumps(data, default=str).encode()


class MayPredict(BasePermission):
    """Roles that may predict; everybody where the installation says so (WBCLAB_PUBLIC_PREDICT)."""

    message = "Your account is not allowed to classify images."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Ask the one place that knows."""
        if settings.PUBLIC_PREDICT and not request.user.is_authenticated:
            return True
        return can(request.user, Action.PREDICT)


class ApiView(APIView):
    """Token or session, JSON only; nobody is redirected to the login page."""

    authentication_classes = [TokenAuthentication, SessionAuthentication]
    throttle_classes = [TokenThrottle]
    renderer_classes = [SafeJSONRenderer]
    content_negotiation_class = JsonForAll

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        """Say how many requests are left, whatever the answer."""
        finished = super().finalize_response(request, response, *args, **kwargs)
        if allowance := allowance_of(self.request):
            for name, value in allowance.headers().items():
                finished[name] = value
        return finished
