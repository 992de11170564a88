"""The two lists of specimens, and the search field that a barcode scanner types into."""

from typing import Any, Final
from urllib.parse import urlencode

from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from specimens.models import Order, SavedView, Specimen, User
from specimens.models.patients_orders import Priority
from specimens.permissions import Action, can
from specimens.selectors.inbound import expected_order_by_scan, expected_orders
from specimens.selectors.worklist import (
    OPEN_STATES,
    Filters,
    Progress,
    is_late,
    listed_specimens,
    progress_of,
    specimens_by_scan,
    target_minutes,
)
from specimens.views.access import for_people

PER_PAGE: Final = 50
EXPECTED_SHOWN: Final = 50
_CHIP_NAMES: Final = ("state", "priority", "mine", "failed")


@require_GET
@for_people
def worklist(request: HttpRequest, user: User) -> HttpResponse:
    """What still waits for somebody."""
    return _list_page(request, user, open_only=True)


@require_GET
@for_people
def specimen_list(request: HttpRequest, user: User) -> HttpResponse:
    """Every specimen, the newest first."""
    return _list_page(request, user, open_only=False)


@require_GET
@for_people
def search(request: HttpRequest, user: User) -> HttpResponse:
    """Open the specimen whose accession number was scanned, else list what matches."""
    text = request.GET.get("q", "").strip()
    found = specimens_by_scan(user, text) if text else []
    if len(found) == 1:
        return redirect("specimen", pk=found[0].pk)
    order = None if found or not text else expected_order_by_scan(user, text)
    if order is not None and can(user, Action.ACCESSION):
        return redirect("accession_expected", pk=order.pk)
    return redirect(f"{reverse('specimen_list')}?{urlencode({'q': text})}")


def _list_page(request: HttpRequest, user: User, *, open_only: bool) -> HttpResponse:
    filters = _filters(request, open_only=open_only)
    page = Paginator(listed_specimens(user, filters), PER_PAGE).get_page(request.GET.get("page"))
    rows = _rows(page)
    expected = _expected(request, user, filters)
    context = {
        "page": page,
        "rows": rows,
        "expected": expected[:EXPECTED_SHOWN],
        "more_expected": len(expected) > EXPECTED_SHOWN,
        "filters": filters,
        "is_filtered": filters != Filters(open_only=open_only),
        "chips": _chips(request, filters),
        # The chips hold while the text or the site of the form changes.
        "kept": [(name, request.GET[name]) for name in _CHIP_NAMES if request.GET.get(name)],
        "query": changed_query(request, page=str(page.number)),
        "previous_query": changed_query(request, page=str(page.number - 1)),
        "next_query": changed_query(request, page=str(page.number + 1)),
        "saved_views": _saved_views(request, user) if open_only else [],
        "polls": any(row["progress"].waiting for row in rows),
        "here": "worklist" if open_only else "specimens",
    }
    fragment = "worklist/_table.html" if getattr(request, "htmx", False) else "worklist/page.html"
    return render(request, fragment, context)


def _expected(request: HttpRequest, user: User, filters: Filters) -> list[Order]:
    """Orders whose tube is still to come, below the worklist where no filter excludes them."""
    only_specimens = filters.state or filters.mine or filters.failed or not filters.open_only
    if only_specimens or getattr(request, "htmx", False):
        return []
    found = expected_orders(user, filters.text)
    if filters.site:
        found = found.filter(site__code=filters.site)
    if filters.priority:
        found = found.filter(priority=filters.priority)
    return list(found[: EXPECTED_SHOWN + 1])


def _filters(request: HttpRequest, *, open_only: bool) -> Filters:
    """Read the filters of the URL; an unknown value narrows nothing."""
    asked = request.GET
    states = OPEN_STATES if open_only else tuple(Specimen.State)
    state, priority = asked.get("state", ""), asked.get("priority", "")
    return Filters(
        open_only=open_only,
        state=state if state in states else "",
        priority=priority if priority in Priority.values else "",
        site=asked.get("site", ""),
        mine="mine" in asked,
        failed="failed" in asked,
        text=asked.get("q", "").strip()[:100],
    )


def _rows(page: "Page[Specimen]") -> list[dict[str, Any]]:
    progress = progress_of(specimen.pk for specimen in page)
    return [
        {
            "specimen": specimen,
            "order": specimen.order,
            "patient": specimen.order.patient,
            "progress": progress.get(specimen.pk, Progress()),
            "late": is_late(specimen),
            "target": target_minutes(specimen),
        }
        for specimen in page
    ]


def changed_query(request: HttpRequest, **changes: str) -> str:
    """The query string of this page with some parameters changed; an empty value removes one."""
    parameters = request.GET.copy()
    for name, value in changes.items():
        if value:
            parameters[name] = value
        else:
            parameters.pop(name, None)
    return parameters.urlencode()


def _saved_views(request: HttpRequest, user: User) -> list[dict[str, Any]]:
    """The person's own views; the one whose filters are on now is marked."""
    if getattr(request, "htmx", False):
        return []
    now = {name: value for name, value in request.GET.items() if name != "page" and value}
    return [
        {"view": view, "on": QueryDict(view.query).dict() == now}
        for view in SavedView.objects.filter(user=user)
    ]


def _chips(request: HttpRequest, filters: Filters) -> list[dict[str, Any]]:
    """One chip per filter: where it leads, and whether it is on. A second click turns it off."""
    states = OPEN_STATES if filters.open_only else tuple(Specimen.State)
    chips = [("state", s.value, s.label, filters.state == s) for s in states]
    chips.append(("priority", Priority.STAT.value, "STAT", filters.priority == Priority.STAT))
    chips.append(("mine", "1", "Mine", filters.mine))
    chips.append(("failed", "1", "With failed images", filters.failed))
    return [
        {
            "label": label,
            "on": on,
            "query": changed_query(request, page="", **{name: "" if on else value}),
        }
        for name, value, label, on in chips
    ]
