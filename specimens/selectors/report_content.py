"""What a report says, frozen at the signature: plain JSON, complete without the database."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from classifier.classes import ALL_CLASSES, REPORTING_ORDER
from classifier.models import ModelVersion
from specimens.differential import Row
from specimens.models import CellImage, Prediction, Specimen, User
from specimens.selectors.case import Case, JudgedValue, age_on_collection

FORMAT: Final = 1
PICTURES: Final = 8
ARTEFACT: Final = "artefact"
LIMITATION: Final = (
    "Image-based differential, pre-classified by a model and verified by a person. For research "
    "and assistance; it does not replace the laboratory's validated methods."
)
PRELIMINARY: Final = (
    "Preliminary: proposed by a model from images, not yet verified by a person. For research and "
    "assistance."
)


def report_content(
    case: Case,
    *,
    version: int,
    signer: User,
    signed_at: datetime,
    meaning: str,
    bypassed: Sequence[Mapping[str, str]],
    told: Mapping[str, str],
) -> dict[str, Any]:
    """Return the content of the report of `case`; amounts are strings, so that none is rounded."""
    signature = {
        "name": signer.display_name,
        "username": signer.username,
        "at": signed_at.isoformat(),
        "meaning": meaning.strip(),
    }
    return _content(case, version) | {
        "bypassed": [dict(passed) for passed in bypassed],
        "critical_values_told": dict(told),
        "signature": signature,
        "amendment_reason": case.specimen.amendment_reason,
    }


def preliminary_content(case: Case) -> dict[str, Any]:
    """Return the case as it stands, in the form of a report nobody has signed: version 0."""
    return _content(case, 0) | {
        "bypassed": [],
        "critical_values_told": {},
        "signature": None,
        "amendment_reason": "",
        "limitation": PRELIMINARY,
    }


def _content(case: Case, version: int) -> dict[str, Any]:
    specimen = case.specimen
    counted = case.differential
    judged = {(value.key, value.quantity): value for value in case.judged}
    return {
        "format": FORMAT,
        "version": version,
        "laboratory": {"name": specimen.site.name, "header": specimen.site.report_header},
        "patient": _patient(specimen),
        "specimen": _specimen(specimen),
        "differential": [_row(row, judged) for row in counted.rows],
        "non_wbc": [
            {
                "key": row.cell_class.key,
                "name": row.cell_class.name,
                "count": row.count,
                "per_100_wbc": _text(row.per_100_wbc),
            }
            for row in counted.non_wbc
        ],
        "counted": counted.counted,
        "comments": _comments(specimen),
        "pictures": _pictures(case),
        "models": _models(specimen),
        "reviewers": _reviewers(specimen),
        "limitation": LIMITATION,
    }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _patient(specimen: Specimen) -> dict[str, Any]:
    patient = specimen.order.patient
    return {
        "identifier": patient.identifier,
        "issuer": patient.issuer,
        "family_name": patient.family_name,
        "given_name": patient.given_name,
        "birth_date": patient.birth_date.isoformat() if patient.birth_date else None,
        "sex": patient.sex,
        "age_in_days": age_on_collection(specimen),
    }


def _specimen(specimen: Specimen) -> dict[str, Any]:
    order = specimen.order
    return {
        "accession_number": specimen.accession_number,
        "placer_number": order.placer_number,
        "filler_number": order.filler_number,
        "reference": order.reference,
        "priority": order.priority,
        "requester": order.requester,
        "clinical_information": order.clinical_information,
        "collected_at": specimen.collected_at.isoformat() if specimen.collected_at else None,
        "received_at": specimen.received_at.isoformat(),
        "wbc_count": _text(specimen.wbc_count),
        "is_synthetic": specimen.is_synthetic,
    }


def _row(row: Row, judged: Mapping[tuple[str, str], JudgedValue]) -> dict[str, Any]:
    content: dict[str, Any] = {
        "key": row.cell_class.key,
        "name": row.cell_class.name,
        "code": row.cell_class.code,
        "count": row.count,
        "percent": str(row.percent),
        "lower": round(row.lower, 1),
        "upper": round(row.upper, 1),
        "absolute": _text(row.absolute),
        "reference": {},
    }
    for quantity in ("percent", "absolute"):
        value = judged.get((row.cell_class.key, quantity))
        if value is not None:
            content["reference"][quantity] = {
                "low": _text(value.limits.low),
                "high": _text(value.limits.high),
                "flag": value.flag.value,
                "source": value.limits.source,
            }
    return content


def _comments(specimen: Specimen) -> list[dict[str, Any]]:
    return [
        {
            "text": c.text,
            "author": c.author.display_name,
            "at": c.created_at.isoformat(),
            "cell": c.cell_image_id,
        }
        for c in specimen.comments.filter(on_report=True).select_related("author")
    ]


def _pictures(case: Case) -> list[dict[str, Any]]:
    """Cells with a comment for the report, then one of each class, the rarest first, then a second.

    So that a single blast among two hundred cells is shown.
    """
    commented = set(
        case.specimen.comments.filter(on_report=True, cell_image__isnull=False).values_list(
            "cell_image_id", flat=True
        )
    )
    of_class: dict[str, list[int]] = {}
    for cell in sorted(case.cells, key=lambda cell: cell.pk not in commented):
        if cell.counts_as != ARTEFACT or cell.pk in commented:
            of_class.setdefault(cell.counts_as, []).append(cell.pk)
    rarest_first = sorted(of_class.values(), key=len)
    chosen = [pk for pks in rarest_first for pk in pks if pk in commented]
    for position in range(2):
        chosen += [pks[position] for pks in rarest_first if len(pks) > position]
    shown = set(list(dict.fromkeys(chosen))[:PICTURES])
    digests = dict(CellImage.objects.filter(pk__in=shown).values_list("pk", "sha256"))
    order = [cell_class.key for cell_class in (*REPORTING_ORDER, *ALL_CLASSES)]
    return [
        {"cell": cell.pk, "label": cell.counts_as, "sha256": digests[cell.pk]}
        for cell in sorted(case.cells, key=lambda cell: order.index(cell.counts_as))
        if cell.pk in shown
    ]


def _models(specimen: Specimen) -> list[dict[str, str]]:
    used = Prediction.objects.filter(cell_image__specimen=specimen).values("model_version")
    return [
        {"name": version.name, "version": version.version, "digest": version.digest}
        for version in ModelVersion.objects.filter(pk__in=used).order_by("pk")
    ]


def _reviewers(specimen: Specimen) -> list[str]:
    people = User.objects.filter(
        pk__in=CellImage.objects.filter(specimen=specimen).values("reviews__reviewer")
    )
    return sorted(person.display_name for person in people)
