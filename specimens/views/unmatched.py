"""DICOM instances that no specimen fits, or that contradict something: a person decides."""

from http import HTTPStatus
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from classifier.imaging.refusal import ImageRefused
from specimens import workflow
from specimens.dicom.matching import contradictions
from specimens.models import DicomInstance, Specimen, User
from specimens.permissions import Action, can, require, visible_to
from specimens.selectors.dicom import (
    WAITING,
    attributes_of,
    candidate_of,
    candidates_for,
    listed_instances,
)
from specimens.services.dicom_import_decisions import (
    IdentifiersDisagree,
    assign_instance,
    discard_instance,
    record_look,
)
from specimens.services.dicom_import_pictures import draw_thumbnail
from specimens.services.errors import Conflict
from specimens.views.access import for_people
from specimens.views.worklist import changed_query

PER_PAGE: Final = 25
SHOWN_FRAMES: Final = 60
_KEEP: Final = "private, max-age=86400, immutable"
_CHIPS: Final = {
    "": ("Waiting", WAITING),
    "unmatched": ("Unmatched", (DicomInstance.State.UNMATCHED,)),
    "quarantined": ("Quarantined", (DicomInstance.State.QUARANTINED,)),
    "discarded": ("Discarded", (DicomInstance.State.DISCARDED,)),
}


@require_GET
@for_people
def unmatched_list(request: HttpRequest, user: User) -> HttpResponse:
    """What waits, the newest first; ?state= narrows it, and shows what was discarded."""
    chosen = request.GET.get("state", "")
    state = chosen if chosen in _CHIPS else ""
    rows = listed_instances(user, _CHIPS[state][1])
    page = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    context: dict[str, Any] = {
        "page": page,
        "rows": [{"instance": one, "says": _says(one)} for one in page],
        "chips": [
            {
                "label": label,
                "on": name == state,
                "query": changed_query(request, page="", state=name),
            }
            for name, (label, _) in _CHIPS.items()
        ],
        "state": state,
        "previous_query": changed_query(request, page=str(page.number - 1)),
        "next_query": changed_query(request, page=str(page.number + 1)),
        "here": "unmatched",
    }
    return render(request, "unmatched/list.html", context)


@require_GET
@for_people
def unmatched_instance(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """One instance: its pictures, what it says, which specimens it may be of."""
    instance = _instance_or_404(user, pk)
    record_look(actor=user, instance=instance)
    return _page(request, user, instance)


@require_POST
@for_people
def assign(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Make it cell images of the specimen chosen, or of the one whose number was typed."""
    instance = _instance_or_404(user, pk)
    require(user, Action.ADD_IMAGES)
    specimen = _chosen(request, user, instance)
    if specimen is None:
        number = request.POST.get("accession_number", "").strip()
        text = (
            f"There is no specimen {number} at {instance.site}." if number else "Choose a specimen."
        )
        messages.error(request, text)
        return _page(request, user, instance, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        assign_instance(
            actor=user, instance=instance, specimen=specimen, confirmed="confirmed" in request.POST
        )
    except IdentifiersDisagree as refusal:
        context = {"disputed": specimen, "dispute": str(refusal)}
        return _page(request, user, instance, status=HTTPStatus.CONFLICT, **context)
    except (Conflict, workflow.NotAllowedInState) as refusal:
        messages.error(request, str(refusal))
        return redirect("unmatched_instance", pk=instance.pk)
    count = instance.number_of_frames
    noun = "image" if count == 1 else "images"
    messages.success(request, f"{count} {noun} added to specimen {specimen.accession_number}.")
    return redirect("unmatched")


@require_POST
@for_people
def discard(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Put it aside, with a reason."""
    instance = _instance_or_404(user, pk)
    require(user, Action.ADD_IMAGES)
    try:
        discard_instance(actor=user, instance=instance, reason=request.POST.get("reason", ""))
    except ValidationError as refusal:
        messages.error(request, " ".join(refusal.messages))
        return _page(request, user, instance, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    except Conflict as refusal:
        messages.error(request, str(refusal))
        return redirect("unmatched_instance", pk=instance.pk)
    messages.success(request, "Discarded. It stays under “Discarded”, and can be assigned yet.")
    return redirect("unmatched")


@require_GET
@for_people
def frame_picture(request: HttpRequest, user: User, pk: int, number: int) -> HttpResponse:
    """The small picture of a frame."""
    instance = _instance_or_404(user, pk)
    if not 1 <= number <= instance.number_of_frames:
        raise Http404("The object has no such frame.")
    try:
        name = draw_thumbnail(instance=instance, frame=number)
        with default_storage.open(name) as file:
            content = file.read()
    except (ImageRefused, FileNotFoundError) as refusal:
        raise Http404(str(refusal)) from refusal
    headers = {"Cache-Control": _KEEP, "X-Content-Type-Options": "nosniff"}
    return HttpResponse(content, content_type="image/jpeg", headers=headers)


def _instance_or_404(user: User, pk: int) -> DicomInstance:
    rows = visible_to(user, DicomInstance)
    related = "site", "specimen", "conflicts_with__specimen", "decided_by", "received_from"
    return get_object_or_404(rows.select_related(*related), pk=pk)


def _chosen(request: HttpRequest, user: User, instance: DicomInstance) -> Specimen | None:
    specimens = visible_to(user, Specimen).filter(site_id=instance.site_id)
    specimens = specimens.select_related("order__patient")
    named = request.POST.get("specimen", "")
    if named.isdecimal():
        return specimens.filter(pk=int(named)).first()
    number = request.POST.get("accession_number", "").strip()
    return specimens.filter(accession_number=number).first() if number else None


def _page(
    request: HttpRequest,
    user: User,
    instance: DicomInstance,
    status: HTTPStatus = HTTPStatus.OK,
    **more: Any,
) -> HttpResponse:
    attributes = attributes_of(instance)
    ours = instance.site.accession_issuers
    candidates = [
        {
            "specimen": specimen,
            "patient": specimen.order.patient,
            "against": contradictions(attributes, candidate_of(specimen), ours),
            "may_add": workflow.may(workflow.Act.ADD_IMAGES, specimen.state),
        }
        for specimen in candidates_for(instance)
    ]
    context: dict[str, Any] = {
        "instance": instance,
        "says": _says(instance),
        "candidates": candidates,
        "frames": range(1, min(SHOWN_FRAMES, instance.number_of_frames) + 1),
        "hidden_frames": max(0, instance.number_of_frames - SHOWN_FRAMES),
        "open": instance.state != DicomInstance.State.MATCHED and can(user, Action.ADD_IMAGES),
        "may_discard": instance.state in WAITING and can(user, Action.ADD_IMAGES),
        "here": "unmatched",
    }
    return render(request, "unmatched/instance.html", context | more, status=status)


def _says(instance: DicomInstance) -> list[tuple[str, str]]:
    """What the data set says, in the words of the page; absent attributes are left out."""
    said = attributes_of(instance)
    patient = " ".join(part for part in (said.patient_id, _by(said.patient_issuer)) if part)
    specimens = ", ".join(" ".join((one.value, _by(one.issuer))).strip() for one in said.specimens)
    lines = [
        ("Accession", " ".join((said.accession_number, _by(said.accession_issuer))).strip()),
        ("Specimen", specimens),
        ("Container", " ".join((said.container_identifier, _by(said.container_issuer))).strip()),
        ("Patient", patient),
        ("Name", said.patient_name.replace("^", " ").strip()),
        ("Born", _date(said.patient_birth_date)),
        ("Sex", said.patient_sex),
        ("Study", " ".join((_date(said.study_date), said.study_description)).strip()),
    ]
    return [(name, value) for name, value in lines if value]


def _by(issuer: str) -> str:
    return f"({issuer})" if issuer else ""


def _date(value: str) -> str:
    """A DA (PS3.5 table 6.2-1) as the pages write dates; what is none stays as it is."""
    if len(value) == 8 and value.isdecimal():
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    return value
