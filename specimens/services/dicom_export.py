"""Exporting the cells of a specimen as DICOM: what is exported is recorded before anything goes."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from classifier.classes import CLASS_BY_NAME
from specimens.dicom.deidentify import Pseudonyms
from specimens.dicom.export import ExportPlan, PlannedCell
from specimens.dicom.export_instance import CellFacts
from specimens.dicom.stable_uids import specimen_key, study_uid
from specimens.interop.channels import SourceInstance
from specimens.models import CellImage, Job, Prediction, Specimen, User
from specimens.permissions import Action, require, visible_to
from specimens.services import audit
from specimens.services.image_files import readable_path


@transaction.atomic
def plan_dicom_export(
    *, actor: User | None, specimen: Specimen, deidentify: bool, with_key: bool = False
) -> ExportPlan:
    """Gather what is to be exported, and record that it was; the files are made afterwards.

    `actor` None is the command line. Raises PermissionDenied, DoesNotExist (not visible),
    ValidationError (no images; a key without de-identification).
    """
    if with_key and not deidentify:
        raise ValidationError("A key belongs to a de-identified set only.")
    if actor is not None:
        require(actor, Action.EXPORT_DICOM)
        specimen = visible_to(actor, Specimen).get(pk=specimen.pk)
    cells = _cells(specimen)
    if not cells:
        raise ValidationError(f"{specimen.accession_number} has no cell images to export.")
    content = export_content(specimen)
    sources = [cell.facts.source for cell in cells if cell.facts.source]
    audit.record(
        actor=actor,
        action="specimen.exported",
        subject=specimen,
        specimen=specimen,
        details={"form": "dicom", "images": len(cells), "deidentified": deidentify,
                 "key": with_key},
    )  # fmt: skip
    return ExportPlan(
        content=content,
        study=study_uid(content, sources),
        software=settings.SOFTWARE_VERSION,
        cells=tuple(cells),
        pseudonyms=Pseudonyms(_secret(), specimen_key(content)[:3]) if deidentify else None,
    )


def export_content(specimen: Specimen) -> dict[str, Any]:
    """Laboratory, patient and specimen in the form of Report.content, as they are now."""
    order, patient = specimen.order, specimen.order.patient
    collected = specimen.collected_at
    return {
        "laboratory": {"name": specimen.site.name},
        "patient": {
            "identifier": patient.identifier,
            "issuer": patient.issuer,
            "family_name": patient.family_name,
            "given_name": patient.given_name,
            "birth_date": patient.birth_date.isoformat() if patient.birth_date else None,
            "sex": patient.sex,
        },
        "specimen": {
            "accession_number": specimen.accession_number,
            "requester": order.requester,
            "collected_at": collected.isoformat() if collected else None,
            "received_at": specimen.received_at.isoformat(),
        },
    }


def _secret() -> bytes:
    """A key for this purpose alone: it says nothing of the one it is made of."""
    given = settings.DEIDENTIFICATION_SECRET or settings.SECRET_KEY
    return hmac.new(given.encode(), b"wbclab de-identification", hashlib.sha256).digest()


def _cells(specimen: Specimen) -> list[PlannedCell]:
    """Every picture that was not given up as unreadable, in the order they came in."""
    failed = Job.objects.filter(cell_image__specimen=specimen, state=Job.State.FAILED)
    images = (
        CellImage.objects.filter(specimen=specimen)
        .exclude(pk__in=failed.values("cell_image"), label="")
        .select_related("slide", "dicom_frame__instance")
        .order_by("pk")
    )
    proposed = dict(
        Prediction.objects.filter(cell_image__specimen=specimen)
        .order_by("pk")
        .values_list("cell_image", "decision")
    )
    return _planned(list(images), proposed)


def _planned(images: Sequence[CellImage], proposed: dict[int, str]) -> list[PlannedCell]:
    cells = []
    for number, image in enumerate(images, start=1):
        decision = proposed.get(image.pk, "")
        machine = CLASS_BY_NAME[decision].key if decision else ""
        cells.append(
            PlannedCell(
                path=readable_path(str(image.file.name)),
                frame=image.frame,
                facts=CellFacts(
                    number=number,
                    sha256=image.sha256,
                    taken_in_at=image.created_at,
                    container=image.slide.label if image.slide else "",
                    source=_source(image),
                ),
                cell_class=image.label or machine,
                said_by="person" if image.label else "model" if machine else "nobody",
            )
        )
    return cells


def _source(image: CellImage) -> SourceInstance | None:
    frame = getattr(image, "dicom_frame", None)
    if frame is None:
        return None
    instance = frame.instance
    return SourceInstance(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        study_instance_uid=instance.study_instance_uid,
        frame=frame.number if instance.number_of_frames > 1 else None,
        cell_class=image.label,
    )
