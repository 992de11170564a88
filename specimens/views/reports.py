"""A signed report: on screen, as PDF, CSV and JSON. Every opening of it is recorded."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET

from classifier.classes import CLASS_BY_KEY
from specimens import workflow
from specimens.documents.report_pdf import PAPERS, report_pdf
from specimens.documents.sheet import FLAGS, METHOD
from specimens.models import Report, User
from specimens.permissions import Action, can, visible_to
from specimens.selectors.reports import (
    is_intact,
    picture_files,
    picture_ids,
    report_csv,
    report_json,
    report_sheet,
)
from specimens.services.reports import record_report_view
from specimens.views.access import for_people


def _opened(user: User, pk: int, form: str) -> Report:
    """Return the report, the look at it recorded; 404 where it is not of the person's sites."""
    reports = visible_to(user, Report).select_related("specimen__site", "specimen__order__patient")
    found = get_object_or_404(reports, pk=pk)
    record_report_view(actor=user, report=found, form=form)
    return found


@require_GET
@for_people
def report(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    found = _opened(user, pk, "page")
    sheet = report_sheet(found)
    ids = picture_ids(found)
    context = {
        "report": found,
        "specimen": found.specimen,
        "sheet": sheet,
        "content": found.content,
        "pictures": [
            {"pk": ids.get(p["sha256"]), "name": CLASS_BY_KEY[p["label"]].name, "key": p["label"]}
            for p in found.content["pictures"]
        ],
        "flags": FLAGS,
        "method": METHOD,
        "is_intact": is_intact(found),
        "is_newest": sheet.superseded_by is None,
        "may_amend": can(user, Action.AMEND)
        and sheet.superseded_by is None
        and workflow.may(workflow.Act.START_AMENDMENT, found.specimen.state),
        "is_open_again": found.specimen.state == workflow.State.IN_REVIEW,
        "here": "specimens",
    }
    return render(request, "report/page.html", context)


@require_GET
@for_people
def report_as_pdf(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """The report on A4, or with ?paper=letter on Letter."""
    found = _opened(user, pk, "pdf")
    paper = request.GET.get("paper", "a4")
    content = report_pdf(
        report_sheet(found),
        paper=paper if paper in PAPERS else "a4",
        pictures=picture_files(found),
    )
    return _file(found, content, "application/pdf", "pdf", as_attachment=False)


@require_GET
@for_people
def report_as_csv(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    found = _opened(user, pk, "csv")
    return _file(found, report_csv(found).encode(), "text/csv; charset=utf-8", "csv")


@require_GET
@for_people
def report_as_json(request: HttpRequest, user: User, pk: int) -> HttpResponse:
    """The frozen content with the digest it was signed under."""
    found = _opened(user, pk, "json")
    answer = JsonResponse(report_json(found), json_dumps_params={"ensure_ascii": False})
    return _named(answer, found, "json")


def _file(
    found: Report, content: bytes, media_type: str, suffix: str, *, as_attachment: bool = True
) -> HttpResponse:
    answer = HttpResponse(content, content_type=media_type)
    return _named(answer, found, suffix, as_attachment=as_attachment)


def _named(
    answer: HttpResponse, found: Report, suffix: str, *, as_attachment: bool = True
) -> HttpResponse:
    """Name the file by number and version; a patient's report stays in no shared cache."""
    number = found.content["specimen"]["accession_number"].replace("/", "-")
    name = f"{number}-v{found.version}.{suffix}"
    answer["Content-Disposition"] = content_disposition_header(as_attachment, name) or ""
    answer["Cache-Control"] = "private, no-store"
    return answer
