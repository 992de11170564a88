"""The blinded second read: the bench without anything of the first reader, and what came of it."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from classifier.classes import CLASS_BY_KEY
from specimens.models import SecondRead, Specimen, User
from specimens.permissions import Action, require, visible_to
from specimens.selectors.bench import bench_of
from specimens.services import audit
from specimens.services.decisions import parse_decisions
from specimens.services.errors import Conflict
from specimens.services.second_read import (
    Agreement,
    agreement_of,
    finish_second_read,
    label_second_read,
    start_second_read,
)
from specimens.views.access import for_people, specimen_or_404
from specimens.views.answers import refusals_as_json
from specimens.views.bench_json import blinded_json, page_json


def _own_read_or_404(user: User, found: Specimen) -> SecondRead:
    return get_object_or_404(visible_to(user, SecondRead), specimen=found, reader=user)


@require_GET
@for_people
def second_read(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Offer the read, go on with it, or show how far the two readers agree."""
    found = specimen_or_404(user, pk)
    require(user, Action.REVIEW)
    read = found.second_reads.filter(reader=user).first()
    audit.record_view(actor=user, specimen=found)
    context: dict[str, Any] = {
        "specimen": found,
        "patient": found.order.patient,
        "order": found.order,
        "here": "review",
    }
    if read is not None and read.finished_at is None:
        context |= {"read": read, "editable": True, "bench": page_json(user, found, read=read)}
        return render(request, "review/page.html", context)
    finished = found.second_reads.filter(finished_at__isnull=False).select_related("reader")
    context |= {
        "own": read,
        "took_part": found.cell_images.filter(reviews__reviewer=user).exists(),
        "reads": [(one, _lines(agreement_of(one))) for one in finished],
    }
    return render(request, "review/second_read.html", context)


def _lines(agreement: Agreement) -> dict[str, Any]:
    return {
        "agreement": agreement,
        "rows": [(CLASS_BY_KEY[row.key], row) for row in agreement.table],
    }


@require_POST
@for_people
def second_read_start(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    found = specimen_or_404(user, pk)
    try:
        start_second_read(actor=user, specimen=found)
    except Conflict as refusal:
        messages.error(request, str(refusal))
    return redirect("second_read", pk=found.pk)


@require_GET
@refusals_as_json
@for_people
def second_read_cells(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """The cells with the reader's own labels only."""
    found = specimen_or_404(user, pk)
    read = _own_read_or_404(user, found)
    labels = dict(read.labels.values_list("cell_image_id", "label"))
    bench = bench_of(found)
    cells = [blinded_json(cell, labels.get(cell.image.pk, "")) for cell in bench.cells]
    return JsonResponse(
        {
            "since": "0.0",
            "stock": bench.stock,
            "editable": read.finished_at is None,
            "assigned": "",
            "unfinished": bench.unfinished,
            "failed": bench.failed,
            "cells": cells,
            "comments": [],
        }
    )


@require_POST
@refusals_as_json
@for_people
def second_read_labels(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    found = specimen_or_404(user, pk)
    read = _own_read_or_404(user, found)
    decisions = parse_decisions(request.body)
    labels = {decision.cell_image_id: decision.label for decision in decisions}
    missing = label_second_read(actor=user, read=read, labels=labels)
    bench = bench_of(found, labels)
    cells = [blinded_json(cell, labels[cell.image.pk]) for cell in bench.cells]
    return JsonResponse({"cells": cells, "missing": missing})


@require_POST
@for_people
def second_read_finish(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    found = specimen_or_404(user, pk)
    read = _own_read_or_404(user, found)
    try:
        finish_second_read(actor=user, read=read)
    except ValidationError as refusal:
        messages.error(request, " ".join(refusal.messages))
    except Conflict as refusal:
        messages.error(request, str(refusal))
    return redirect("second_read", pk=found.pk)
