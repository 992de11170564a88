"""How long a session lasts, and what it may do before the second factor is proved.

Middleware. A request that a page sends by itself (every few seconds, `X-Unattended`) keeps no
session alive. Whoever is signed out gets the login page, a script 401 with a text.
"""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from specimens.models import User
from specimens.permissions import has_proved_second_factor, must_have_second_factor
from specimens.services.second_factor import is_enrolled
from specimens.services.sign_in import record_end
from specimens.views.answers import refused

GetResponse = Callable[[HttpRequest], HttpResponse]
SIGNED_OUT: Final = "You are signed out. Log in in another tab, then go on here."
_FOR_PROGRAMS: Final = ("/api/", "/fhir/", "/dicom-web/")
_STARTED, _SEEN = "started_at", "seen_at"
_RENEWED_AFTER: Final = 30.0  # seconds; a row is not written for each request


def is_unattended(request: HttpRequest) -> bool:
    """Tell whether the page sent this by itself, with nobody's doing."""
    return "X-Unattended" in request.headers


def is_from_script(request: HttpRequest) -> bool:
    """Tell whether a script waits for the answer, and would take a login page for it."""
    return "HX-Request" in request.headers or "application/json" in request.headers.get(
        "Accept", ""
    )


class Sessions(SessionMiddleware):
    """Django's own, where a session that ends while a request is answered has just ended.

    Somebody logged out in another tab, or the database went back to a backup. What the view did
    stands; "this request was not understood" would be wrong.
    """

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save the session; lead to the login page, or tell a script, where it has ended."""
        try:
            return super().process_response(request, response)
        except SessionInterrupted:
            if is_from_script(request) or request.path.startswith(_FOR_PROGRAMS):
                return refused(HTTPStatus.UNAUTHORIZED, "signed_out", SIGNED_OUT)
            return redirect_to_login(request.get_full_path() if request.method == "GET" else "/")


class SessionLimits:
    """Ends a session that was idle for too long, or is too old."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """End the session, or note that somebody is there; then answer."""
        if settings.SESSION_COOKIE_NAME in request.COOKIES and isinstance(request.user, User):
            now = time.time()
            if why := _why_over(request, now):
                record_end(request=request, actor=request.user, why=why)
                logout(request)
            elif not is_unattended(request) or _SEEN not in request.session:
                _note(request, now)
        return self._get_response(request)


def seconds_left(request: HttpRequest) -> int:
    """Return how long the session lasts if nobody does anything."""
    now, session = time.time(), request.session
    idle = session.get(_SEEN, now) + settings.SESSION_IDLE_SECONDS - now
    whole = session.get(_STARTED, now) + settings.SESSION_COOKIE_AGE - now
    return max(0, int(min(idle, whole)))


def _why_over(request: HttpRequest, now: float) -> str:
    session = request.session
    if now - session.get(_STARTED, now) > settings.SESSION_COOKIE_AGE:
        return "too old"
    return "idle" if now - session.get(_SEEN, now) > settings.SESSION_IDLE_SECONDS else ""


def _note(request: HttpRequest, now: float) -> None:
    session = request.session
    session.setdefault(_STARTED, now)
    if now - session.get(_SEEN, 0.0) > min(_RENEWED_AFTER, settings.SESSION_IDLE_SECONDS / 4):
        session[_SEEN] = now


class SecondFactorFirst:
    """Lets who must have a second factor do nothing else before it is enrolled and proved."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response
        open_names = ("second_factor", "new_second_factor", "logout", "login", "session")
        self._open = {reverse(name) for name in open_names}

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, or lead to where the factor is enrolled."""
        if settings.SESSION_COOKIE_NAME not in request.COOKIES or request.path in self._open:
            return self._get_response(request)
        user = request.user
        if not must_have_second_factor(user) or has_proved_second_factor(user):
            return self._get_response(request)
        if isinstance(user, User) and is_enrolled(user):
            logout(request)  # from before the enrolment: the code is asked for at the login
            return self._get_response(request)
        if is_from_script(request) or request.path.startswith(_FOR_PROGRAMS):
            text = f"Your account needs a second factor: set it up at {reverse('second_factor')}."
            return refused(HTTPStatus.FORBIDDEN, "second_factor_required", text)
        return redirect(f"{reverse('second_factor')}?{urlencode({'next': request.path})}")


class SignedInFirst(LoginRequiredMiddleware):
    """Django's own, with an answer for scripts."""

    def handle_no_permission(  # type: ignore[override]
        self, request: HttpRequest, view_func: Callable[..., Any]
    ) -> HttpResponseBase:
        """Lead people to the login page; tell a script that nobody is signed in."""
        if is_from_script(request):
            return refused(HTTPStatus.UNAUTHORIZED, "signed_out", SIGNED_OUT)
        return super().handle_no_permission(request, view_func)


@login_not_required
@require_GET
def session_state(request: HttpRequest) -> JsonResponse:
    """Tell a page how long its session lasts; 401 once it has ended."""
    if not request.user.is_authenticated:
        return refused(HTTPStatus.UNAUTHORIZED, "signed_out", SIGNED_OUT)
    answer = JsonResponse({"seconds_left": seconds_left(request), "user": request.user.pk})
    answer["Cache-Control"] = "no-store"
    return answer
