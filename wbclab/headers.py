"""Headers that Django has no setting for."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

# Nothing of a laboratory's pages needs them; a page that was taken over shall not get them either.
_REFUSED = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
PERMISSIONS_POLICY = ", ".join(f"{name}=()" for name in _REFUSED)


class SafeHeaders:
    """Adds Permissions-Policy; what is for one person is kept by no cache unless it says so."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, with the headers."""
        response = self._get_response(request)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        known = request.headers.get("Authorization") or "Cookie" in response.get("Vary", "")
        if known:
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response
