"""Accessioning: one form, and a clear choice where a patient number is already somebody's."""

from django.contrib import messages
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from specimens.forms import AccessionForm
from specimens.models import Patient, Site, Specimen, User
from specimens.models.patients_orders import Sex
from specimens.permissions import Action, require, visible_to
from specimens.selectors.laboratory import next_accession_number, registered_patient
from specimens.services.accessioning import accession_specimen
from specimens.services.errors import Conflict
from specimens.views.access import for_people


@require_http_methods(["GET", "POST"])
@for_people
def accession(request: HttpRequest, user: User) -> HttpResponse:
    """Show the form, or record what it holds and go on to the specimen."""
    require(user, Action.ACCESSION)
    sites = list(visible_to(user, Site))
    if request.method == "GET":
        initial = {"accession_number": next_accession_number(sites[0])} if sites else {}
        return _page(request, AccessionForm(initial=initial, sites=sites))
    form = AccessionForm(request.POST, sites=sites)
    if not form.is_valid():
        return _page(request, form, status=422)
    return _record(request, user, form)


def _record(request: HttpRequest, user: User, form: AccessionForm) -> HttpResponse:
    typed = form.cleaned_data
    registered = registered_patient(user, typed["site"], typed["identifier"])
    # The choice holds for the number it was offered for, and for no other typed since.
    agreed = request.POST.get("use_registered") == typed["identifier"]
    chosen = registered if agreed else None
    try:
        specimen = accession_specimen(
            actor=user,
            site=typed["site"],
            accession_number=typed["accession_number"],
            patient=form.patient_data(chosen),
            order=form.order_data(),
            collected_at=typed["collected_at"],
            wbc_count=typed["wbc_count"],
        )
    except Conflict:
        return _page(request, form, status=409, registered=registered)
    except ValidationError as error:
        taken = visible_to(user, Specimen).filter(
            site=typed["site"], accession_number=typed["accession_number"]
        )
        _add_errors(form, error, taken=taken.first())
        return _page(request, form, status=422, taken=taken.first())
    messages.success(request, f"{specimen.accession_number} accessioned. Add its cell images.")
    return redirect("specimen", pk=specimen.pk)


def _add_errors(form: AccessionForm, error: ValidationError, *, taken: Specimen | None) -> None:
    """Put each error beside its field; that a number is taken is an error of the number."""
    if taken is not None:
        form.add_error(
            "accession_number",
            "This number is taken. Keep the proposed number, or open the specimen that has it.",
        )
        return
    fields = error.message_dict if hasattr(error, "error_dict") else {None: error.messages}
    for name, texts in fields.items():
        field = name if name in form.fields else None
        label = "" if field or name in (None, NON_FIELD_ERRORS) else f"{name}: "
        for text in texts:
            form.add_error(field, f"{label}{text}")


def _page(
    request: HttpRequest,
    form: AccessionForm,
    *,
    status: int = 200,
    registered: Patient | None = None,
    taken: Specimen | None = None,
) -> HttpResponse:
    context = {
        "form": form,
        "registered": registered,
        "typed_sex": Sex(form.cleaned_data["sex"]).label if registered else "",
        "taken": taken,
        "here": "worklist",
    }
    return render(request, "accession/page.html", context, status=status)
