"""Signing in: password, then the code where the account has a second factor; and out again.

Nobody is signed in between the two: the session only remembers whose password was right.
"""

import time
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, Concatenate, Final, ParamSpec, cast

from django.conf import settings
from django.contrib.auth import login, views
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from django_otp import login as prove_in_session

from specimens.account_forms import CodeForm, OwnPasswordForm, SignInForm
from specimens.models import RecoveryCodes, User
from specimens.services.errors import LockedOut
from specimens.services.second_factor import Device, is_enrolled, prove
from specimens.services.sign_in import record_end, record_password_change, record_sign_in
from specimens.views.answers import refused
from specimens.views.sessions import is_from_script

P = ParamSpec("P")
BACKEND: Final = "django.contrib.auth.backends.ModelBackend"
_WAITING: Final = "waits_for_code"
_PATIENCE: Final = 600.0  # seconds between password and code


def answers_locked_out(
    view: Callable[Concatenate[HttpRequest, P], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """Say when to try again, on a page or as JSON, where there were too many wrong attempts."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except LockedOut as locked:
            return locked_out(request, locked)

    return cast("Callable[Concatenate[HttpRequest, P], HttpResponseBase]", wrapped)


def locked_out(request: HttpRequest, locked: LockedOut) -> HttpResponse:
    """Answer 429 with a text and Retry-After."""
    answer: HttpResponse
    if is_from_script(request):
        answer = refused(HTTPStatus.TOO_MANY_REQUESTS, "locked_out", str(locked))
    else:
        context = {"text": str(locked)}
        answer = render(request, "account/locked_out.html", context, status=429)
    answer["Retry-After"] = str(locked.retry_after_seconds)
    return answer


@method_decorator(answers_locked_out, name="dispatch")
class SignIn(views.LoginView):
    """User name and password."""

    template_name = "account/login.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def form_valid(self, form: Any) -> HttpResponse:
        """Ask for the code where the account has one, else begin the session."""
        user: User = form.get_user()
        if not is_enrolled(user):
            return _begin(self.request, user, None, self.get_success_url())
        session = self.request.session
        session.flush()  # what the session of somebody anonymous knew is no business of this one
        session[_WAITING] = {
            "user": user.pk,
            "hash": user.get_session_auth_hash(),
            "at": time.time(),
            "next": self.get_success_url(),
        }
        return redirect("login_code")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say how long sessions last."""
        minutes = settings.SESSION_IDLE_SECONDS // 60
        return super().get_context_data(**kwargs) | {"idle_minutes": minutes}


@login_not_required
@never_cache
@csrf_protect
@sensitive_post_parameters("code")
@require_http_methods(["GET", "POST"])
@answers_locked_out
def login_code(request: HttpRequest) -> HttpResponse:
    """The second step: a code of the authenticator app, or a recovery code."""
    waiting = _waiting(request)
    if waiting is None:
        return redirect("login")
    user, following = waiting
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            device = prove(request=request, user=user, code=form.cleaned_data["code"])
        except ValidationError as refusal:
            form.add_error(None, refusal)
        else:
            return _begin(request, user, device, following)
    status = 422 if form.errors else 200
    return render(request, "account/code.html", {"form": form, "person": user}, status=status)


def _waiting(request: HttpRequest) -> tuple[User, str] | None:
    """Return whose password was right a moment ago, and where they were going."""
    kept = request.session.get(_WAITING)
    if not kept or time.time() - kept["at"] > _PATIENCE:
        return None
    user = User.objects.filter(pk=kept["user"], is_active=True).first()
    if user is None or not constant_time_compare(kept["hash"], user.get_session_auth_hash()):
        return None  # the password was changed in between
    return user, kept["next"]


def _begin(request: HttpRequest, user: User, device: Device | None, following: str) -> HttpResponse:
    request.session.pop(_WAITING, None)
    login(request, user, backend=BACKEND)
    if device is not None:
        prove_in_session(request, device)
    record_sign_in(request=request, actor=user, second_factor=device is not None)
    # Whoever needed one of the codes sees how many are left, and can set up another app.
    return redirect("second_factor" if isinstance(device, RecoveryCodes) else following)


class SignOut(views.LogoutView):
    """The end that somebody asked for."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        """Record it, then end the session."""
        if isinstance(request.user, User):
            record_end(request=request, actor=request.user, why="asked for")
        return super().post(request, *args, **kwargs)


@method_decorator(answers_locked_out, name="dispatch")
class ChangePassword(views.PasswordChangeView):
    """A new password for oneself; ends the other sessions of the account."""

    template_name = "account/password.html"
    form_class = OwnPasswordForm

    def get_form(self, form_class: Any = None) -> Any:
        """Tell the form from where the password is tried."""
        form = super().get_form(form_class)
        form.request = self.request  # type: ignore[attr-defined]
        return form

    def form_valid(self, form: Any) -> HttpResponse:
        """Change it, and keep the second factor that this session has proved."""
        answer = super().form_valid(form)
        if isinstance(self.request.user, User):
            record_password_change(request=self.request, actor=self.request.user)
        return answer

    def get_success_url(self) -> str:
        """Where it is said that the other sessions have ended."""
        return reverse("password_change_done")
