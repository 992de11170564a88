"""Fetching images from an archive of the site, from the page of a specimen."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from specimens import workflow
from specimens.dicom.archive import ArchiveError
from specimens.models import PacsServer, Specimen, User
from specimens.permissions import Action, require
from specimens.selectors.dicom_network import pacs_servers
from specimens.services.retrieval import Retrieval, fetch_from_archive, find_in_archive
from specimens.views.access import for_people, specimen_or_404


@require_GET
@for_people
def find(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """What an archive has under the accession number; ?server= where the site has several."""
    specimen = specimen_or_404(user, pk)
    require(user, Action.ADD_IMAGES)
    servers = list(pacs_servers(user, specimen.site))
    context: dict[str, Any] = {
        "specimen": specimen,
        "patient": specimen.order.patient,
        "servers": servers,
        "server": None,
        "studies": [],
        "problem": "",
        "here": "worklist",
    }
    if servers:
        server = _chosen(servers, request.GET.get("server", ""))
        context["server"] = server
        try:
            context["studies"] = find_in_archive(actor=user, specimen=specimen, server=server)
        except (ArchiveError, workflow.NotAllowedInState) as error:
            context["problem"] = str(error)
    return render(request, "pacs/find.html", context)


@require_POST
@for_people
def fetch(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """Fetch the chosen studies; the page of the specimen says what came of it."""
    specimen = specimen_or_404(user, pk)
    require(user, Action.ADD_IMAGES)
    server = _chosen(list(pacs_servers(user, specimen.site)), request.POST.get("server", ""))
    wanted = set(request.POST.getlist("study"))
    try:
        # Asked again: only what the archive has under this accession number is fetched.
        found = find_in_archive(actor=user, specimen=specimen, server=server)
        studies = [study for study in found if study.uid in wanted]
        if not studies:
            messages.error(request, "No study was chosen, or the archive has it no more.")
            return redirect("pacs_find", pk=pk)
        result = fetch_from_archive(actor=user, specimen=specimen, server=server, studies=studies)
    except (ArchiveError, workflow.NotAllowedInState) as error:
        messages.error(request, str(error))
        return redirect("specimen", pk=pk)
    _tell(request, specimen, server, result)
    return redirect("specimen", pk=pk)


def _chosen(servers: list[PacsServer], named: str) -> PacsServer:
    if not servers:
        raise Http404("The site has no archive.")
    if not named:
        return servers[0]
    for server in servers:
        if str(server.pk) == named:
            return server
    raise Http404("The site has no such archive.")


def _tell(request: HttpRequest, specimen: Specimen, server: PacsServer, result: Retrieval) -> None:
    parts = [f"{_instances(result.added)} added"]
    if result.known:
        parts.append(f"{result.known} here before")
    if result.elsewhere:
        parts.append(f"{result.elsewhere} waiting for a person or in another specimen")
    text = f"From {server.name}: {', '.join(parts)}."
    if result.failed:
        text += f" {_instances(result.failed)} could not be taken. {' '.join(result.refused)}"
    if result.problem:
        messages.error(request, f"{text} {result.problem} Fetch again to get the rest.")
    elif result.failed or result.elsewhere:
        messages.warning(request, text)
    else:
        messages.success(request, text)


def _instances(number: int) -> str:
    return "1 instance" if number == 1 else f"{number} instances"
