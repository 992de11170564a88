"""The operator's page: what came over the DICOM network, what was refused, do archives answer."""

import time
from typing import Any, Final

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from specimens.models import PacsServer, User
from specimens.permissions import Action, require, visible_to
from specimens.selectors.dicom_network import (
    pacs_servers,
    peers,
    recent_associations,
    recent_imports,
)
from specimens.services.retrieval import ask_archive
from specimens.views.access import for_people

ROWS: Final = 100


@require_GET
@for_people
def operations(request: HttpRequest, user: User) -> HttpResponse:
    """Associations, imports and archives; ?refused=1 leaves only what was refused."""
    require(user, Action.ADMINISTER)
    refused_only = request.GET.get("refused") == "1"
    context: dict[str, Any] = {
        "associations": recent_associations(ROWS, refused_only=refused_only),
        "imports": recent_imports(user, ROWS, refused_only=refused_only),
        "servers": list(pacs_servers(user)),
        "refused_only": refused_only,
        "listener": _listener(),
        "here": "dicom_operations",
    }
    return render(request, "dicom/operations.html", context)


@require_POST
@for_people
def test_server(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Ask an archive whether it answers, by each way it is configured for."""
    require(user, Action.ADMINISTER)
    server = get_object_or_404(visible_to(user, PacsServer), pk=pk)
    begun = time.monotonic()
    for way, problem in ask_archive(actor=user, server=server):
        if problem:
            messages.error(request, f"{server.name}, {way}: {problem}")
        else:
            milliseconds = 1000 * (time.monotonic() - begun)
            messages.success(request, f"{server.name} answers to {way} ({milliseconds:.0f} ms).")
    return redirect("dicom_operations")


def _listener() -> dict[str, Any]:
    try:
        allowed, problem = sorted(peers()), ""
    except ValueError as error:
        allowed, problem = [], str(error)
    return {
        "ae_title": settings.DICOM_AE_TITLE,
        "port": settings.DICOM_PORT,
        "peers": allowed,
        "problem": problem,
        "encrypted": bool(settings.DICOM_TLS_CERTIFICATE),
        "asks_for_certificates": bool(settings.DICOM_TLS_CA),
    }
