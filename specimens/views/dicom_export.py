"""Taking the cells of a specimen away as DICOM: identified, or de-identified."""

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_http_methods

from specimens.interop.channels import PermanentFailure
from specimens.models import Specimen, User
from specimens.permissions import Action, require
from specimens.views.access import for_people, specimen_or_404

if TYPE_CHECKING:
    from specimens.dicom.export import ExportPlan


@require_http_methods(["GET", "POST"])
@for_people
def dicom_export(request: HttpRequest, user: User, pk: int) -> Any:
    """Ask what the set is for; then send it as a ZIP while it is made."""
    found = specimen_or_404(user, pk)
    require(user, Action.EXPORT_DICOM)
    if request.method == "GET":
        return _page(request, found)
    # Not with the page: DICOM's libraries take as long to import as all the rest of a web process.
    from specimens.dicom.export_instance import check_identifiers
    from specimens.services.dicom_export import plan_dicom_export

    try:
        plan = plan_dicom_export(
            actor=user, specimen=found, deidentify=request.POST.get("names") != "keep"
        )
        check_identifiers(plan.content)
    except ValidationError as refusal:
        return _page(request, found, error=" ".join(refusal.messages))
    except PermanentFailure as refusal:
        return _page(request, found, error=str(refusal))
    return _archive(request, plan)


def _page(request: HttpRequest, found: Specimen, error: str = "") -> HttpResponse:
    context = {
        "specimen": found,
        "images": found.cell_images.count(),
        "error": error,
        "here": "specimens",
    }
    return render(request, "specimen/dicom_export.html", context, status=422 if error else 200)


def _archive(request: HttpRequest, plan: "ExportPlan") -> StreamingHttpResponse:
    from specimens.dicom.export import ExportResult, exported_files, zip_blocks

    number = plan.content["specimen"]["accession_number"].replace("/", "-")
    # The file's name must not say what was taken out of the files.
    name = "wbclab-deidentified" if plan.pseudonyms else f"{number}-dicom"
    blocks = zip_blocks(exported_files(plan, ExportResult()), name)
    answer = StreamingHttpResponse(blocks, content_type="application/zip")
    answer["Content-Disposition"] = content_disposition_header(True, f"{name}.zip") or ""
    answer["Cache-Control"] = "private, no-store"
    return answer
