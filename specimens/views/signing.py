"""The sign-out sheet, and opening a signed case again. Every guard is the service's."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from classifier.classes import CLASS_BY_KEY
from specimens import workflow
from specimens.models import Specimen, User
from specimens.permissions import Action, can, require
from specimens.selectors.case import Case, case_of
from specimens.selectors.reports import newest_report
from specimens.services import audit
from specimens.services.errors import Conflict, GateClosed, LockedOut
from specimens.services.guessing import confirm_password
from specimens.services.signing import MEANING, sign_out_report, start_amendment
from specimens.views.access import for_people, specimen_or_404
from specimens.views.chart import differential_chart

Errors = dict[str, list[str]]
# Where on the review page each obstacle is cleared; the others are cleared elsewhere.
_CLEARED_AT = {
    "unidentified": "#group-unidentified",
    "unreviewed": "#unreviewed",
    "failed": "#group-failed",
}


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
@for_people
def sign_out(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Show what would be signed and what is missing; or sign it."""
    found = specimen_or_404(user, pk)
    require(user, Action.SIGN_OUT)
    if request.method == "GET":
        if workflow.may(workflow.Act.START_AMENDMENT, found.state):
            signed = newest_report(found)
            return redirect("report", pk=signed.pk) if signed else redirect("specimen", pk=pk)
        audit.record_view(actor=user, specimen=found)
        return _sheet(request, user, found)
    try:
        _count_password(request, user)
    except LockedOut as locked:
        return _sheet(request, user, found, errors={"password": [str(locked)]}, status=429)
    return _sign(request, user, found)


def _count_password(request: HttpRequest, user: User) -> None:
    """Bound the guesses of who found the page open; whether it is right, the service says."""
    if password := request.POST.get("password", ""):
        confirm_password(request=request, actor=user, password=password, step="signature")


def _sign(request: HttpRequest, user: User, found: Specimen) -> HttpResponse:
    sent = request.POST
    try:
        report = sign_out_report(
            actor=user,
            specimen=found,
            password=sent.get("password", ""),
            seen_revision=sent.get("seen_revision", ""),
            meaning=sent.get("meaning", ""),
            bypass=sent.getlist("bypass"),
            bypass_reason=sent.get("bypass_reason", ""),
            acknowledged={
                name.removeprefix("told-"): sent.get(name, "")
                for name in sent
                if name.startswith("told-")
            },
        )
    except ValidationError as refusal:
        return _sheet(request, user, found, errors=_by_field(refusal), status=422)
    except GateClosed as refusal:
        return _sheet(request, user, found, errors={"gate": [str(refusal)]}, status=422)
    except (Conflict, workflow.NotAllowedInState) as refusal:
        return _conflict(request, user, found, str(refusal))
    messages.success(request, f"Signed: version {report.version} of {found.accession_number}.")
    return redirect("report", pk=report.pk)


@sensitive_post_parameters("password")
@require_POST
@for_people
def amend(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Open a signed case again, with reason and password; the review goes on from there."""
    found = specimen_or_404(user, pk)
    reason = request.POST.get("reason", "")
    require(user, Action.AMEND)
    try:
        _count_password(request, user)
        start_amendment(
            actor=user,
            specimen=found,
            reason=reason,
            password=request.POST.get("password", ""),
        )
    except ValidationError as refusal:
        context = {"specimen": found, "errors": _by_field(refusal), "reason": reason}
        context |= {"report": newest_report(found), "here": "specimens"}
        return render(request, "signing/amend.html", context, status=422)
    except LockedOut as locked:
        context = {"specimen": found, "errors": {"password": [str(locked)]}, "reason": reason}
        context |= {"report": newest_report(found), "here": "specimens"}
        return render(request, "signing/amend.html", context, status=429)
    except (Conflict, workflow.NotAllowedInState) as refusal:
        return _conflict(request, user, found, str(refusal))
    messages.success(request, f"{found.accession_number} is open again. The signed report stays.")
    return redirect("review", pk=found.pk)


def _sheet(
    request: HttpRequest,
    user: User,
    found: Specimen,
    *,
    errors: Errors | None = None,
    status: int = 200,
) -> HttpResponse:
    """The sheet with the case as it is now; what was typed stays, except the password."""
    case = case_of(found)
    obstacles = workflow.sign_obstacles(case.facts(user))
    sent = request.POST
    context = {
        "specimen": found,
        "patient": found.order.patient,
        "case": case,
        "rows": _rows(case),
        "obstacles": [_obstacle(request, found, one) for one in obstacles],
        "may_bypass": can(user, Action.BYPASS_GATE) and any(o.bypassable for o in obstacles),
        "critical": _critical(request, case),
        "may_sign_now": workflow.may(workflow.Act.SIGN_OUT, found.state),
        "open_to_signing": all(one.bypassable for one in obstacles),
        "errors": errors or {},
        "meaning": sent.get("meaning", MEANING),
        "bypass_reason": sent.get("bypass_reason", ""),
        "here": "review",
    }
    return render(request, "signing/sheet.html", context, status=status)


def _rows(case: Case) -> list[dict[str, Any]]:
    """Bars of the differential with what each value was judged by."""
    judged = {(value.key, value.quantity): value for value in case.judged}
    return [
        {
            "bar": bar,
            "row": bar.row,
            "percent": judged.get((bar.row.cell_class.key, "percent")),
            "absolute": judged.get((bar.row.cell_class.key, "absolute")),
        }
        for bar in differential_chart(case.differential).bars
    ]


def _obstacle(request: HttpRequest, found: Specimen, one: workflow.Obstacle) -> dict[str, Any]:
    return {
        "code": one.code,
        "text": one.text,
        "bypassable": one.bypassable,
        "chosen": one.code in request.POST.getlist("bypass"),
        "address": reverse("review", args=[found.pk]) + _CLEARED_AT.get(one.code, ""),
    }


def _critical(request: HttpRequest, case: Case) -> list[dict[str, str]]:
    """One field for each class with a critical value, however many of its quantities are."""
    found: dict[str, dict[str, str]] = {}
    for value in case.critical:
        unit = "%" if value.quantity == "percent" else "× 10⁹/L"
        words = f"{value.value} {unit}, {value.flag.value.replace('_', ' ')}"
        entry = found.setdefault(
            value.key,
            {
                "name": CLASS_BY_KEY[value.key].name,
                "key": value.key,
                "words": "",
                "told": request.POST.get(f"told-{value.key}", ""),
            },
        )
        entry["words"] = "; ".join(part for part in (entry["words"], words) if part)
    return list(found.values())


def _conflict(request: HttpRequest, user: User, found: Specimen, text: str) -> HttpResponse:
    """Say what happened meanwhile, and what there is to do about it."""
    found = specimen_or_404(user, found.pk)
    context = {
        "specimen": found,
        "text": text,
        "report": newest_report(found),
        "may_sign_now": workflow.may(workflow.Act.SIGN_OUT, found.state),
        "here": "review",
    }
    return render(request, "signing/conflict.html", context, status=409)


def _by_field(refusal: ValidationError) -> Errors:
    if hasattr(refusal, "error_dict"):
        return dict(refusal.message_dict)
    return {"form": list(refusal.messages)}
