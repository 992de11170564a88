"""The review page and what it asks the server behind: cells, decisions, remarks, assignment."""

import json
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from specimens import workflow
from specimens.models import SecondRead, Specimen, User
from specimens.permissions import Action, can, require
from specimens.selectors.bench import Known, bench_of, changed_cells, known_from
from specimens.selectors.review_queue import reviewers_by_site
from specimens.services import audit
from specimens.services.decisions import parse_decisions
from specimens.services.errors import Conflict, StaleReview
from specimens.services.preferences import set_hotkeys
from specimens.services.review import add_comment, assign_case, review_cells
from specimens.views.access import for_people, specimen_or_404
from specimens.views.answers import refusals_as_json, refused
from specimens.views.bench_json import bench_json, cells_json, classes_json, comment_json, page_json


def _own_open_read(user: User, found: Specimen) -> SecondRead | None:
    return found.second_reads.filter(reader=user, finished_at__isnull=True).first()


@require_GET
@for_people
def review(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """The bench of one case. Who reads it blinded is sent to their own read."""
    found = specimen_or_404(user, pk)
    require(user, Action.REVIEW)
    if _own_open_read(user, found) is not None:
        messages.info(request, "Finish your blinded second read first.")
        return redirect("second_read", pk=found.pk)
    audit.record_view(actor=user, specimen=found)
    context = {
        "specimen": found,
        "patient": found.order.patient,
        "order": found.order,
        "bench": page_json(user, found),
        "editable": workflow.may(workflow.Act.REVIEW, found.state),
        "may_sign": can(user, Action.SIGN_OUT),
        "people": reviewers_by_site(user).get(found.site, []),
        "here": "review",
    }
    return render(request, "review/page.html", context)


@require_GET
@refusals_as_json
@for_people
def bench_cells(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """All cells, or with `since` those that people changed after it."""
    found = specimen_or_404(user, pk)
    require(user, Action.REVIEW)
    if _own_open_read(user, found) is not None:
        raise Conflict("Your blinded second read of this case is open: finish it first.")
    if "since" not in request.GET:
        return JsonResponse(bench_json(bench_of(found), found))
    since = known_from(request.GET["since"])
    if since is None:
        raise ValidationError("“since” must be what an earlier answer gave.")
    return JsonResponse(_changes(found, since))


def _changes(found: Specimen, since: Known) -> dict[str, Any]:
    return bench_json(bench_of(found, changed_cells(found, since)), found)


@require_POST
@refusals_as_json
@for_people
def bench_reviews(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Record decisions, all or none; 409 with the cells somebody else was faster on."""
    found = specimen_or_404(user, pk)
    decisions = parse_decisions(request.body)
    try:
        images = review_cells(actor=user, specimen=found, decisions=decisions)
    except StaleReview as refusal:
        stale = bench_of(found, set(refusal.current))
        text = str(refusal)
        return refused(HTTPStatus.CONFLICT, "stale", text, cells=cells_json(stale.cells))
    changed = bench_of(found, {image.pk for image in images})
    return JsonResponse({"cells": cells_json(changed.cells)})


@require_POST
@refusals_as_json
@for_people
def bench_comments(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Add a remark to the case, or to the cell that is named."""
    found = specimen_or_404(user, pk)
    sent = _json_object(request)
    cell, text = sent.get("cell"), sent.get("text")
    if not isinstance(text, str):
        raise ValidationError("Write the comment.")
    image = None
    if cell is not None:
        image = found.cell_images.filter(pk=cell).first() if isinstance(cell, int) else None
        if image is None:
            raise ValidationError("The cell is not of this case.")
    comment = add_comment(
        actor=user,
        specimen=found,
        text=text,
        cell_image=image,
        on_report=sent.get("on_report") is True,
    )
    return JsonResponse(comment_json(comment), status=HTTPStatus.CREATED)


@require_POST
@for_people
def assign(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Take the case, hand it to the person named in `to`, or release it (`to` empty)."""
    found = specimen_or_404(user, pk)
    wanted = request.POST.get("to", "")
    # Of the site only: who works elsewhere is nobody this person need hear of.
    to = found.site.users.filter(pk=int(wanted)).first() if wanted.isdecimal() else None
    try:
        if wanted and to is None:
            raise ValidationError("Choose who gets the case.")
        assign_case(actor=user, specimen=found, to=to)
    except ValidationError as refusal:
        messages.error(request, " ".join(refusal.messages))
    else:
        whose = "is nobody's now" if to is None else f"is {to.display_name}’s now"
        messages.success(request, f"{found.accession_number} {whose}.")
    back = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(back, allowed_hosts=None) and back.startswith("/"):
        return redirect(back)
    return redirect("review", pk=found.pk)


@require_POST
@refusals_as_json
@for_people
def hotkeys(request: HttpRequest, user: User) -> HttpResponse:
    """Keep the person's own class keys; the classes come back with the keys that hold now."""
    person = set_hotkeys(actor=user, keys=_json_object(request))
    return JsonResponse({"classes": classes_json(person)})


def _json_object(request: HttpRequest) -> dict[str, Any]:
    try:
        sent = json.loads(request.body)
    except ValueError as error:
        raise ValidationError("The request body is not JSON.") from error
    if not isinstance(sent, dict):
        raise ValidationError("The request body is not a JSON object.")
    return sent
