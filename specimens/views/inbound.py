"""What hospital systems sent: the messages, the held ones a person decides, expected orders."""

from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from specimens.inbound_forms import CorrectionForm, DiscardForm, ExpectedTubeForm
from specimens.interop.hl7.message import parse_message
from specimens.interop.hl7.refusals import Refused
from specimens.models import InboundMessage, Order, User
from specimens.permissions import Action, can, require, visible_to
from specimens.selectors.inbound import ShownLine, find_patient, listed_messages, shown_lines
from specimens.selectors.laboratory import next_accession_number
from specimens.services.accessioning import accession_specimen
from specimens.services.errors import Conflict
from specimens.services.inbound_messages import read, record_message_view
from specimens.services.inbound_resolution import discard_message, retry_message
from specimens.views.access import for_people
from specimens.views.worklist import changed_query

PER_PAGE: Final = 50
State = InboundMessage.State


@require_GET
@for_people
def message_list(request: HttpRequest, user: User) -> HttpResponse:
    """Messages of the own sites; the held ones unless another state is asked for."""
    state = request.GET.get("state", State.HELD)
    state = state if state in State.values else ""
    text = request.GET.get("q", "").strip()[:100]
    page = Paginator(listed_messages(user, state, text), PER_PAGE).get_page(request.GET.get("page"))
    chips = [(value, label) for value, label in State.choices] + [("all", "All")]
    context = {
        "page": page,
        "state": state,
        "text": text,
        "chips": [
            {
                "label": label,
                "on": value == (state or "all"),
                "query": changed_query(request, page="", state=value),
            }
            for value, label in chips
        ],
        "previous_query": changed_query(request, page=str(page.number - 1)),
        "next_query": changed_query(request, page=str(page.number + 1)),
        "here": "inbound",
    }
    return render(request, "inbound/list.html", context)


@require_GET
@for_people
def message(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """One message, field by field; the look at it is recorded."""
    found = _message_or_404(user, pk)
    record_message_view(actor=user, message=found)
    return _page(request, user, found)


def _page(
    request: HttpRequest,
    user: User,
    found: InboundMessage,
    *,
    form: CorrectionForm | None = None,
    discard: DiscardForm | None = None,
    status: int = 200,
) -> HttpResponse:
    is_held = found.state == State.HELD
    context = {
        "message": found,
        "lines": _lines(found),
        "raw": bytes(found.raw).decode("utf-8", errors="replace").replace("\r", "\n"),
        "form": form or CorrectionForm(message=found),
        "discard": discard or DiscardForm(),
        "compared": _compared(found) if is_held and found.code == "patient_differs" else [],
        "may_resolve": is_held and can(user, Action.ACCESSION),
        "here": "inbound",
    }
    return render(request, "inbound/page.html", context, status=status)


def _lines(found: InboundMessage) -> list[ShownLine]:
    try:
        return shown_lines(parse_message(bytes(found.raw)))
    except Refused:
        return []


def _compared(found: InboundMessage) -> list[tuple[str, Any, Any]]:
    """The recorded patient beside the one of the message: name, recorded, sent."""
    try:
        person = read(bytes(found.raw)).person
    except Refused:
        return []
    known = find_patient(found.site, person)
    if known is None:
        return []
    fields = ("family_name", "given_name", "birth_date", "sex")
    return [
        (name.replace("_", " ").capitalize(), getattr(known, name), getattr(person, name))
        for name in fields
    ]


@require_POST
@for_people
def retry(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Follow a held message again, with what was decided."""
    found = _message_or_404(user, pk)
    require(user, Action.ACCESSION)
    form = CorrectionForm(request.POST, message=found)
    try:
        if not form.is_valid():
            return _page(request, user, found, form=form, status=422)
        row = retry_message(actor=user, message=found, **form.cleaned_data)
    except ValidationError as error:
        for name, texts in getattr(error, "message_dict", {None: error.messages}).items():
            form.add_error(name if name in form.fields else None, texts)
        return _page(request, user, found, form=form, status=422)
    except Conflict as conflict:
        messages.error(request, str(conflict))
        return redirect("inbound_message", pk=found.pk)
    if row.state == State.HELD:
        messages.error(request, f"Still held: {row.text}")
        return redirect("inbound_message", pk=found.pk)
    messages.success(request, row.text)
    return redirect("inbound_list")


@require_POST
@for_people
def discard(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Close a held message with a reason."""
    found = _message_or_404(user, pk)
    require(user, Action.ACCESSION)
    form = DiscardForm(request.POST)
    if not form.is_valid():
        return _page(request, user, found, discard=form, status=422)
    try:
        discard_message(actor=user, message=found, reason=form.cleaned_data["reason"])
    except Conflict as conflict:
        messages.error(request, str(conflict))
    else:
        messages.success(request, f"{found} is discarded; it stays in the list.")
    return redirect("inbound_list")


@require_http_methods(["GET", "POST"])
@for_people
def accession_expected(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Accession the tube of an expected order: one number to scan."""
    order = get_object_or_404(
        visible_to(user, Order).select_related("patient", "site"), pk=pk
    )  # fmt: skip
    require(user, Action.ACCESSION)
    if request.method == "GET":
        number = order.filler_number or next_accession_number(order.site)
        return _expected_page(
            request, order, ExpectedTubeForm(initial={"accession_number": number})
        )
    form = ExpectedTubeForm(request.POST)
    if not form.is_valid():
        return _expected_page(request, order, form, status=422)
    try:
        specimen = accession_specimen(actor=user, site=order.site, order=order, **form.cleaned_data)
    except Conflict as conflict:
        form.add_error(None, str(conflict))
        return _expected_page(request, order, form, status=409)
    except ValidationError as error:
        for name, texts in getattr(error, "message_dict", {None: error.messages}).items():
            form.add_error(name if name in form.fields else None, texts)
        return _expected_page(request, order, form, status=422)
    messages.success(request, f"{specimen.accession_number} accessioned. Add its cell images.")
    return redirect("specimen", pk=specimen.pk)


def _expected_page(
    request: HttpRequest, order: Order, form: ExpectedTubeForm, *, status: int = 200
) -> HttpResponse:
    specimens = list(order.specimens.order_by("pk"))
    context = {"order": order, "form": form, "specimens": specimens, "here": "worklist"}
    return render(request, "inbound/expected.html", context, status=status)


def _message_or_404(user: User, pk: int) -> InboundMessage:
    rows = visible_to(user, InboundMessage).select_related("site", "patient", "handled_by")
    return get_object_or_404(rows.prefetch_related("orders", "specimens"), pk=pk)
