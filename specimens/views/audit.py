"""The audit trail of the own sites, for administrators."""

from datetime import date
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_GET

from specimens.models import AuditEvent, User
from specimens.permissions import Action, require
from specimens.selectors.audit import AuditFilters, audit_page
from specimens.views.access import for_people

PER_PAGE: Final = 100
_FIELDS: Final = ("actor", "action", "specimen", "day")


@require_GET
@for_people
def audit_trail(request: HttpRequest, user: User) -> HttpResponse:
    """A page of events, the newest first; ?before= is where the page before it ended."""
    require(user, Action.VIEW_AUDIT)
    asked = {name: request.GET.get(name, "").strip()[:100] for name in _FIELDS}
    before = request.GET.get("before", "")
    filters = AuditFilters(
        actor=asked["actor"],
        action=asked["action"].replace(" ", "_"),
        accession_number=asked["specimen"],
        day=_day(asked["day"]),
    )
    events, following = audit_page(
        user,
        filters,
        before=int(before) if before.isdecimal() and len(before) < 19 else None,
        size=PER_PAGE,
    )
    query = request.GET.copy()
    query.pop("before", None)
    context = {
        "events": [(event, readable(event)) for event in events],
        "asked": asked,
        "day_is_wrong": bool(asked["day"]) and filters.day is None,
        "is_filtered": any(asked.values()),
        "following": following,
        "is_first": not before,
        "query": query.urlencode(),
        "here": "audit",
    }
    return render(request, "audit/page.html", context)


def readable(event: AuditEvent) -> list[tuple[str, str]]:
    """The details as names and words; lists of changes one after the other."""
    return [(name.replace("_", " "), _words(value)) for name, value in event.details.items()]


def _words(value: Any) -> str:
    if value in (None, "", [], {}):
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items())
    if isinstance(value, list):
        shown = [_words(part) for part in value[:20]]
        more = [f"and {len(value) - 20} more"] if len(value) > 20 else []
        return "; ".join(shown + more)
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _day(text: str) -> date | None:
    try:
        return parse_date(text)
    except ValueError:  # a well-formed day that no month has
        return None
