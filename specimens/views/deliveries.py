"""What goes to other systems: the list, one delivery with its tries, retry and cancel."""

from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from specimens.models import Delivery, Destination, User
from specimens.permissions import Action, can, require, visible_to
from specimens.selectors.deliveries import (
    OPEN,
    DeliveryFilters,
    delivery_page,
    destinations_of,
    waits_for,
)
from specimens.services.deliveries import (
    cancel_delivery,
    record_payload_view,
    retry_delivery,
    retry_held,
)
from specimens.services.errors import Conflict
from specimens.views.access import for_people
from specimens.views.worklist import changed_query

PER_PAGE: Final = 50
MOST_SHOWN: Final = 200_000  # characters of a message on a page
State = Delivery.State
# The list's chips: what is asked for, and how it is called.
_CHIPS: Final = (
    (OPEN, "Not delivered yet"),
    (State.HELD, "Held"),
    (State.DELIVERED, "Delivered"),
    (State.CANCELLED, "Cancelled"),
)


@require_GET
@for_people
def delivery_list(request: HttpRequest, user: User) -> HttpResponse:
    """A page of deliveries, the newest first; ?before= is where the page before it ended."""
    require(user, Action.VIEW_DELIVERIES)
    destinations = list(destinations_of(user))
    filters = _filters(request, destinations)
    before = request.GET.get("before", "")
    rows, following = delivery_page(
        user,
        filters,
        before=int(before) if before.isdecimal() and len(before) < 19 else None,
        size=PER_PAGE,
    )
    context = {
        "rows": rows,
        "destinations": destinations,
        "filters": filters,
        "chips": [
            {
                "label": label,
                "on": filters.state == state,
                "query": changed_query(
                    request, state="" if filters.state == state else state, before=""
                ),
            }
            for state, label in _CHIPS
        ],
        "is_filtered": filters != DeliveryFilters(),
        "following": following,
        "is_first": not before,
        "newest_query": changed_query(request, before=""),
        "older_query": changed_query(request, before=str(following or "")),
        "may_retry": can(user, Action.RETRY_DELIVERY),
        "here": "deliveries",
    }
    return render(request, "deliveries/list.html", context)


def _filters(request: HttpRequest, destinations: list[Destination]) -> DeliveryFilters:
    """Read the filters of the URL; an unknown value narrows nothing."""
    asked = request.GET
    state, destination = asked.get("state", ""), asked.get("destination", "")
    known = {str(one.pk): one.pk for one in destinations}
    return DeliveryFilters(
        state=state if state in {OPEN, *State.values} else "",
        destination=known.get(destination),
        accession_number=asked.get("specimen", "").strip()[:100],
    )


@require_GET
@for_people
def delivery(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """One delivery: what became of each try, and what can be done."""
    require(user, Action.VIEW_DELIVERIES)
    return _page(request, user, _delivery_or_404(user, pk))


def _page(
    request: HttpRequest,
    user: User,
    found: Delivery,
    *,
    errors: dict[str, list[str]] | None = None,
    status: int = 200,
) -> HttpResponse:
    is_open = found.state in (State.DUE, State.HELD)
    context = {
        "delivery": found,
        "attempts": found.log.order_by("-number")[:100],
        "waits_for": waits_for(found),
        "may_retry": is_open and can(user, Action.RETRY_DELIVERY),
        "may_cancel": is_open and can(user, Action.CANCEL_DELIVERY),
        "may_see_payload": can(user, Action.VIEW_PAYLOAD),
        "errors": errors or {},
        "reason": request.POST.get("reason", ""),
        "here": "deliveries",
    }
    return render(request, "deliveries/page.html", context, status=status)


@require_GET
@for_people
def payload(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """The message as it is sent; the look at it is recorded."""
    found = _delivery_or_404(user, pk)
    require(user, Action.VIEW_PAYLOAD)
    record_payload_view(actor=user, delivery=found)
    text, is_binary = _readable(found)
    context = {
        "delivery": found,
        "text": text[:MOST_SHOWN],
        "is_cut": len(text) > MOST_SHOWN,
        "is_binary": is_binary,
        "size": len(found.payload or b""),
        "here": "deliveries",
    }
    return render(request, "deliveries/payload.html", context)


def _readable(found: Delivery) -> tuple[str, bool]:
    """Return the message as text, one HL7 segment a line; not readable where it is binary."""
    content = bytes(found.payload or b"")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        if found.destination.kind != Destination.Kind.HL7:
            return "", True
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\x0b\x1c\n"), "\0" in text


@require_POST
@for_people
def retry(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Send it now: the same message, or one made anew."""
    found = _delivery_or_404(user, pk)
    anew = "render_again" in request.POST
    try:
        retry_delivery(actor=user, delivery=found, render_again=anew)
    except Conflict as refusal:
        messages.error(request, str(refusal))
    else:
        again = "is made anew and sent" if anew else "is sent again"
        messages.success(request, f"The message to {found.destination.name} {again} now.")
    return redirect("delivery", pk=pk)


@require_POST
@for_people
def retry_all_held(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Send everything that is held for a destination."""
    found = get_object_or_404(visible_to(user, Destination), pk=pk)
    count = retry_held(actor=user, destination=found)
    noun = "delivery is" if count == 1 else "deliveries are"
    messages.success(request, f"{count} held {noun} sent to {found.name} again.")
    return redirect("delivery_list")


@require_POST
@for_people
def cancel(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Give it up, with a reason."""
    found = _delivery_or_404(user, pk)
    try:
        cancel_delivery(actor=user, delivery=found, reason=request.POST.get("reason", ""))
    except ValidationError as refusal:
        return _page(request, user, found, errors=_by_field(refusal), status=422)
    except Conflict as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"It will not be sent to {found.destination.name}.")
    return redirect("delivery", pk=pk)


def _by_field(refusal: ValidationError) -> dict[str, list[str]]:
    found: dict[str, Any] = refusal.message_dict
    return found


def _delivery_or_404(user: User, pk: int) -> Delivery:
    related = ("destination", "specimen__order__patient", "report", "cancelled_by")
    rows = visible_to(user, Delivery).select_related(*related)
    return get_object_or_404(rows.defer("content", "report__content"), pk=pk)
