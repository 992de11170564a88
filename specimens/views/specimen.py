"""The page of one specimen: who and what it is, its pictures coming in, its cells by class."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from specimens import workflow
from specimens.differential import differential
from specimens.forms import RejectForm
from specimens.models import Specimen, User
from specimens.permissions import Action, can, require
from specimens.selectors.cells import gallery_of
from specimens.selectors.dicom_network import pacs_servers
from specimens.selectors.laboratory import timeline
from specimens.selectors.reports import newest_report
from specimens.selectors.worklist import is_late
from specimens.services import audit
from specimens.services.accessioning import reject_specimen
from specimens.services.queue_entry import requeue_cell_images
from specimens.views.access import for_people, specimen_or_404
from specimens.views.chart import differential_chart


@require_GET
@for_people
def specimen(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    found = specimen_or_404(user, pk)
    audit.record_view(actor=user, specimen=found)
    context = _live(user, found) | {
        "may_add": can(user, Action.ADD_IMAGES)
        and workflow.may(workflow.Act.ADD_IMAGES, found.state),
        "may_fetch": can(user, Action.ADD_IMAGES)
        and workflow.may(workflow.Act.ADD_IMAGES, found.state)
        and pacs_servers(user, found.site).exists(),
        "may_reject": can(user, Action.REJECT_SPECIMEN)
        and workflow.may(workflow.Act.REJECT, found.state),
        "may_review": can(user, Action.REVIEW) and workflow.may(workflow.Act.REVIEW, found.state),
        "may_export": can(user, Action.EXPORT_DICOM),
        "may_sign": can(user, Action.SIGN_OUT) and workflow.may(workflow.Act.SIGN_OUT, found.state),
        "newest_report": newest_report(found),
        "here": "worklist",
    }
    return render(request, "specimen/page.html", context)


@require_GET
@for_people
def specimen_live(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """The part that changes while cells are classified; nothing (204) where nothing changed."""
    found = specimen_or_404(user, pk)
    context = _live(user, found)
    if request.GET.get("revision") == context["gallery"].revision:
        return HttpResponse(status=204)
    return render(request, "specimen/_live.html", context)


@require_POST
@for_people
def requeue(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Queue the failed images again: all of them, or the one that was named."""
    found = specimen_or_404(user, pk)
    named = request.POST.get("cell_image", "")
    images = list(found.cell_images.filter(pk=int(named))) if named.isdecimal() else None
    try:
        count = requeue_cell_images(actor=user, specimen=found, cell_images=images)
    except workflow.NotAllowedInState as refusal:
        messages.error(request, str(refusal))
    else:
        noun = "image" if count == 1 else "images"
        messages.success(request, f"{count} {noun} queued again.")
    return redirect("specimen", pk=found.pk)


@require_POST
@for_people
def reject(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    found = specimen_or_404(user, pk)
    require(user, Action.REJECT_SPECIMEN)
    form = RejectForm(request.POST)
    try:
        if not form.is_valid():
            raise ValidationError(list(form.errors["reason"]))
        reject_specimen(actor=user, specimen=found, reason=form.cleaned_data["reason"])
    except ValidationError as refusal:
        messages.error(request, " ".join(refusal.messages))
    except workflow.NotAllowedInState as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"{found.accession_number} is rejected.")
    return redirect("specimen", pk=found.pk)


def _live(user: User, found: Specimen) -> dict[str, Any]:
    gallery = gallery_of(user, found)
    counted = differential(gallery.counts(), found.wbc_count)
    return {
        "specimen": found,
        "patient": found.order.patient,
        "order": found.order,
        "timeline": timeline(user, found)[:50],
        "late": is_late(found),
        "gallery": gallery,
        "differential": counted,
        "chart": differential_chart(counted),
        "may_requeue": can(user, Action.REQUEUE)
        and workflow.may(workflow.Act.REQUEUE, found.state),
    }
