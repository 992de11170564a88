"""Reading signed reports: the sheet of a version, its pictures, its table as CSV."""

import csv
import io
from typing import Any, Final

from django.core.files.storage import default_storage

from specimens.documents.changes import report_changes
from specimens.documents.sheet import Sheet, VersionLine, sheet_of
from specimens.models import CellImage, Report, Specimen
from specimens.models.reports import content_digest

CSV_COLUMNS: Final = (
    "accession_number", "report_version", "signed_at", "class", "code", "count", "percent",
    "lower_95", "upper_95", "percent_low", "percent_high", "percent_flag", "absolute_10e9_per_l",
    "absolute_low", "absolute_high", "absolute_flag", "per_100_wbc",
)  # fmt: skip
# What the explanation of the digest says to whoever checks it.
CANONICAL: Final = "SHA-256 of the content as JSON: UTF-8, keys sorted, no spaces between tokens"


def report_sheet(report: Report) -> Sheet:
    """Return what a reader sees of `report`, with what changed since the version before it."""
    versions = list(report.specimen.reports.order_by("version"))
    before = next((v for v in versions if v.version == report.version - 1), None)
    return sheet_of(
        report.content,
        sha256=report.sha256,
        changes=report_changes(before.content, report.content) if before else (),
        versions=[VersionLine(v.pk, v.version, v.signer_name, v.signed_at) for v in versions],
    )


def newest_report(specimen: Specimen) -> Report | None:
    return specimen.reports.order_by("-version").first()


def is_intact(report: Report) -> bool:
    """Whether the content still is what was signed."""
    return content_digest(report.content) == report.sha256


def picture_ids(report: Report) -> dict[str, int]:
    """Ids of the pictures of a report by SHA-256: only what the digest names is shown."""
    wanted = [picture["sha256"] for picture in report.content["pictures"]]
    images = CellImage.objects.filter(specimen=report.specimen_id, sha256__in=wanted)
    return dict(images.values_list("sha256", "pk"))


def picture_files(report: Report) -> dict[str, bytes]:
    """The small pictures by SHA-256; a missing one is absent.

    The worker made them from the originals, which no web process decodes.
    """
    found = {}
    for image in CellImage.objects.filter(pk__in=picture_ids(report).values()):
        try:
            with default_storage.open(image.thumbnail_name) as file:
                found[image.sha256] = file.read()
        except FileNotFoundError:
            continue
    return found


def report_json(report: Report) -> dict[str, Any]:
    """The frozen content with its digest, so that a reader can check it."""
    return {"sha256": report.sha256, "canonical": CANONICAL, "content": report.content}


def report_csv(report: Report) -> str:
    """One line a class, numbers with a decimal point; classes outside the denominator last."""
    content = report.content
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    common = {
        "accession_number": content["specimen"]["accession_number"],
        "report_version": content["version"],
        "signed_at": content["signature"]["at"],
    }
    for row in content["differential"]:
        writer.writerow(common | _csv_row(row))
    for other in content["non_wbc"]:
        line = {"class": other["name"], "code": other["key"], "count": other["count"]}
        writer.writerow(common | line | {"per_100_wbc": other["per_100_wbc"] or ""})
    return out.getvalue()


def _csv_row(row: dict[str, Any]) -> dict[str, Any]:
    line = {
        "class": row["name"],
        "code": row["key"],
        "count": row["count"],
        "percent": row["percent"],
        "lower_95": row["lower"],
        "upper_95": row["upper"],
        "absolute_10e9_per_l": row["absolute"] or "",
    }
    for quantity, judged in row["reference"].items():
        for name in ("low", "high", "flag"):
            line[f"{quantity}_{name}"] = judged[name] or ""
    return line
