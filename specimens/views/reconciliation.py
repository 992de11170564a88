"""Signed against delivered, as a page; what was never queued can be queued from here."""

from datetime import date, datetime, time, timedelta

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_GET, require_POST

from specimens.models import Destination, Report, User
from specimens.permissions import Action, can, require, visible_to
from specimens.selectors.deliveries import destinations_of
from specimens.selectors.reconciliation import NEVER_QUEUED, reconcile
from specimens.services.deliveries import enqueue_missing
from specimens.services.errors import Conflict
from specimens.views.access import for_people


@require_GET
@for_people
def reconciliation(request: HttpRequest, user: User) -> HttpResponse:
    """Each destination over the days asked for; without any, the last seven."""
    require(user, Action.VIEW_DELIVERIES)
    today = timezone.localdate()
    first = _day(request.GET.get("since", "")) or today - timedelta(days=6)
    last = _day(request.GET.get("until", "")) or today
    destinations = [one for one in destinations_of(user) if one.active or one.due_count]  # type: ignore[attr-defined]
    found = [
        reconcile(one, since=_midnight(first), until=_midnight(last + timedelta(days=1)))
        for one in destinations
    ]
    context = {
        "since": first,
        "until": last,
        "wrong_order": first > last,
        "found": found,
        "missing": sum(one.missing for one in found),
        "never_queued": NEVER_QUEUED,
        "may_queue": can(user, Action.ADMINISTER),
        "here": "deliveries",
    }
    return render(request, "deliveries/reconciliation.html", context)


@require_POST
@for_people
def queue_missing(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Queue one report for a destination that never got a delivery of it."""
    destination = get_object_or_404(visible_to(user, Destination), pk=pk)
    require(user, Action.ADMINISTER)
    number = request.POST.get("report", "")
    reports = visible_to(user, Report).select_related("specimen")
    report = get_object_or_404(reports, pk=int(number) if number.isdecimal() else 0)
    try:
        enqueue_missing(actor=user, report=report, destination=destination)
    except Conflict as refusal:
        messages.error(request, str(refusal))
    except ValidationError as refusal:
        messages.error(request, " ".join(refusal.messages))
    else:
        messages.success(request, f"{report} is queued for {destination.name}.")
    days = {name: day for name in ("since", "until") if (day := _day(request.POST.get(name, "")))}
    query = "&".join(f"{name}={day.isoformat()}" for name, day in days.items())
    return redirect(f"{reverse('reconciliation')}?{query}")


def _day(text: str) -> date | None:
    try:
        return parse_date(text)
    except ValueError:  # a well-formed day that no month has
        return None


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
