"""Where results go to, for administrators: entered, changed, asked for a sign of life."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from specimens.destination_forms import DestinationForm
from specimens.interop.channels import DeliveryFailure
from specimens.models import Destination, Site, User
from specimens.permissions import Action, require, visible_to
from specimens.selectors.deliveries import destinations_of
from specimens.services.destinations import (
    add_destination,
    change_destination,
    probe_destination,
)
from specimens.views.access import for_people


@require_GET
@for_people
def destination_list(request: HttpRequest, user: User) -> HttpResponse:
    require(user, Action.ADMINISTER)
    context = {"destinations": destinations_of(user), "here": "deliveries"}
    return render(request, "deliveries/destinations.html", context)


@require_http_methods(["GET", "POST"])
@for_people
def new_destination(request: HttpRequest, user: User) -> HttpResponse:
    """Show the form, or enter what it holds."""
    require(user, Action.ADMINISTER)
    sites = list(visible_to(user, Site))
    if request.method == "GET":
        return _page(request, DestinationForm(sites=sites))
    form = DestinationForm(request.POST, sites=sites)
    if form.is_valid():
        try:
            added = add_destination(actor=user, **form.cleaned_data)
        except ValidationError as refusal:
            _add_errors(form, refusal)
        else:
            messages.success(request, f"{added.name} is entered. Send it a test.")
            return redirect("destination", pk=added.pk)
    return _page(request, form, status=422)


@require_http_methods(["GET", "POST"])
@for_people
def destination(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Show a destination in its form, or change it."""
    found = get_object_or_404(visible_to(user, Destination).select_related("site"), pk=pk)
    require(user, Action.ADMINISTER)
    if request.method == "GET":
        return _page(request, DestinationForm(sites=[], instance=found), destination=found)
    form = DestinationForm(request.POST, sites=[], instance=found)
    if form.is_valid():
        try:
            change_destination(actor=user, destination=found, **form.cleaned_data)
        except ValidationError as refusal:
            _add_errors(form, refusal)
        else:
            messages.success(request, f"{form.cleaned_data['name']} is changed.")
            return redirect("destination", pk=pk)
    return _page(request, form, destination=found, status=422)


@require_POST
@for_people
def probe(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Ask the other side for a sign of life, and say what came of it."""
    found = get_object_or_404(visible_to(user, Destination), pk=pk)
    try:
        receipt = probe_destination(actor=user, destination=found)
    except DeliveryFailure as failure:
        messages.error(request, f"The test of {found.name} failed. {failure}")
    except ValidationError as refusal:
        messages.error(request, " ".join(refusal.messages))
    else:
        messages.success(request, f"The test of {found.name} succeeded. {receipt.text}")
    return redirect("destination", pk=pk)


def _add_errors(form: DestinationForm, refusal: ValidationError) -> None:
    for name, texts in refusal.message_dict.items():
        field = name if name in form.fields else None
        label = "" if field or name == NON_FIELD_ERRORS else f"{name}: "
        for text in texts:
            form.add_error(field, f"{label}{text}")


def _page(
    request: HttpRequest,
    form: DestinationForm,
    *,
    destination: Destination | None = None,
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {"form": form, "destination": destination, "here": "deliveries"}
    return render(request, "deliveries/destination.html", context, status=status)
