"""The review queue: which case comes next, and whose it is."""

from typing import Any, Final

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from specimens.models import User
from specimens.permissions import Action, require
from specimens.selectors.review_queue import (
    QueueFilters,
    Reviewed,
    age_of,
    queued_cases,
    reviewed_of,
    reviewers_by_site,
)
from specimens.views.access import for_people
from specimens.views.worklist import changed_query

PER_PAGE: Final = 50
_CHIPS: Final = {
    "mine": "Mine",
    "unassigned": "Nobody’s",
    "stat": "STAT",
    "flagged": "With flags",
}


@require_GET
@for_people
def review_queue(request: HttpRequest, user: User) -> HttpResponse:
    """Cases that wait for a reviewer: STAT first, then those a rule brought up, then the oldest."""
    require(user, Action.REVIEW)
    on = {name: name in request.GET for name in _CHIPS}
    filters = QueueFilters(**on, site=request.GET.get("site", ""))
    page = Paginator(queued_cases(user, filters), PER_PAGE).get_page(request.GET.get("page"))
    reviewed = reviewed_of(specimen.pk for specimen in page)
    rows = [
        {
            "specimen": specimen,
            "patient": specimen.order.patient,
            "order": specimen.order,
            "reviewed": reviewed.get(specimen.pk, Reviewed()),
            "flags": [flag for flag in specimen.review_flags if flag["code"] != "stat"],
            "age": age_of(specimen),
        }
        for specimen in page
    ]
    context: dict[str, Any] = {
        "page": page,
        "rows": rows,
        "people_by_site": reviewers_by_site(user),
        "is_filtered": filters != QueueFilters(),
        "chips": [
            {
                "label": label,
                "on": on[name],
                "query": changed_query(request, page="", **{name: "" if on[name] else "1"}),
            }
            for name, label in _CHIPS.items()
        ],
        "query": changed_query(request, page=str(page.number)),
        "previous_query": changed_query(request, page=str(page.number - 1)),
        "next_query": changed_query(request, page=str(page.number + 1)),
        "here": "review",
    }
    fragment = "review/_queue.html" if getattr(request, "htmx", False) else "review/queue.html"
    return render(request, fragment, context)
