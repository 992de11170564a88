"""A person's own second factor: set up, moved to another app, recovery codes."""

from base64 import b32encode
from typing import Any

import segno
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from django_otp import login as prove_in_session

from specimens.account_forms import EnrolmentForm, RenewCodesForm
from specimens.models import Authenticator, User
from specimens.permissions import has_proved_second_factor, must_have_second_factor
from specimens.services.second_factor import (
    authenticator_of,
    codes_left,
    confirm_authenticator,
    is_enrolled,
    new_authenticator,
    renew_codes,
)
from specimens.views.access import for_people
from specimens.views.sign_in import answers_locked_out


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
@answers_locked_out
@for_people
def second_factor(request: HttpRequest, user: User) -> HttpResponse:
    """What the account has; with the password, new recovery codes."""
    sent = request.POST if request.method == "POST" else None
    form = RenewCodesForm(request, user, sent)
    if sent is not None:
        _require_proof(request, user)
        if form.is_valid():
            return _codes(request, renew_codes(actor=user), "Your new recovery codes")
    device = authenticator_of(user)
    context = _about(request, user) | {"form": form, "device": device, "left": codes_left(user)}
    status = 422 if form.errors else 200
    return render(request, "account/second_factor.html", context, status=status)


@sensitive_post_parameters("password", "code")
@require_http_methods(["GET", "POST"])
@answers_locked_out
@for_people
def new_second_factor(request: HttpRequest, user: User) -> HttpResponse:
    """The key of a new app as a picture and as text, until a code shows that the app has it."""
    _require_proof(request, user)
    waiting = new_authenticator(actor=user)
    sent = request.POST if request.method == "POST" else None
    form = EnrolmentForm(request, user, sent)
    if sent is not None and form.is_valid():
        code = form.cleaned_data["code"]
        try:
            codes = confirm_authenticator(request=request, actor=user, code=code)
        except ValidationError as refusal:
            form.add_error(None, refusal)
        else:
            prove_in_session(request, authenticator_of(user))
            request.session.cycle_key()
            return _codes(request, codes, "Your second factor is set up")
    context = _about(request, user) | {"form": form, "key": _in_groups(waiting)}
    context["picture"] = segno.make(waiting.config_url, error="m").png_data_uri(scale=5, border=4)
    status = 422 if form.errors else 200
    return render(request, "account/new_second_factor.html", context, status=status)


def _require_proof(request: HttpRequest, user: User) -> None:
    """Refuse to change a factor to who has the password alone."""
    if is_enrolled(user) and not has_proved_second_factor(user):
        raise PermissionDenied(
            "This session began without your second factor. Log out and in again with a code, "
            "then change it."
        )


def _codes(request: HttpRequest, codes: list[str], title: str) -> HttpResponse:
    """Show recovery codes, for the only time."""
    following = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(following, {request.get_host()}, request.is_secure())
    context = {"codes": codes, "title": title, "following": following if safe else "/"}
    return render(request, "account/recovery_codes.html", context)


def _about(request: HttpRequest, user: User) -> dict[str, Any]:
    must = must_have_second_factor(user)
    return {
        "must": must,
        "shut_out": must and not has_proved_second_factor(user),
        "following": request.POST.get("next", request.GET.get("next", "")),
    }


def _in_groups(device: Authenticator) -> str:
    """The key as apps take it by hand, in groups of four."""
    key = b32encode(device.bin_key).decode()
    return " ".join(key[start : start + 4] for start in range(0, len(key), 4))
