"""Cases for what leaves as DICOM: cells that came as DICOM instances, signed, and delivered."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.utils import timezone
from pydicom.uid import generate_uid

from classifier.classes import CLASS_BY_KEY, PREDICTED_CLASSES
from classifier.models import ModelVersion
from specimens.models import (
    CellImage,
    Delivery,
    Destination,
    Job,
    Prediction,
    Report,
    Site,
    Specimen,
)
from specimens.selectors.case import case_of
from specimens.services.deliveries_queue import claim_delivery
from specimens.services.deliveries_sending import attempt_delivery
from specimens.services.dicom_import import receive_instance
from specimens.services.review import Decision, review_cells
from tests.counterparts import require
from tests.dicom.files import frames_of, instance, plain_cell, saved
from tests.factories import Cast
from tests.portal.conftest import METADATA

CLASSES = ("neutrophil", "neutrophil", "lymphocyte", "band_neutrophil")


def dicom_case(
    cast: Cast, folder: Path, classes: Sequence[str] = CLASSES, *, frames: int = 0
) -> tuple[Specimen, str]:
    """A reviewed case whose cells came as instances of one study; the study's UID with it.

    With `frames` a multi-frame instance of as many neutrophils comes too.
    """
    Site.objects.filter(pk=cast.site.pk).update(target_cells=1)
    cast.site.refresh_from_db()
    case = cast.specimen(state=Specimen.State.ACCESSIONED)
    study, series = generate_uid(), generate_uid()
    common: dict[str, Any] = {
        "AccessionNumber": case.accession_number,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
    }
    objects = [instance(plain_cell(9000 + n), **common) for n in range(len(classes))]
    if frames:
        objects.append(frames_of([plain_cell(7000 + n) for n in range(frames)], **common))
    for number, dataset in enumerate(objects):
        path = saved(dataset, folder / f"{number}.dcm")
        outcome = receive_instance(
            actor=cast.technician, site=cast.site, path=path, sender="test", way="command"
        )
        assert outcome.state == "stored", outcome
    classify(case, [*classes, *["neutrophil"] * frames])
    review(cast, case)
    return case, study


def classify(case: Specimen, classes: Sequence[str]) -> None:
    """Let the machine have said `classes` of the cells, in their order."""
    version, _ = ModelVersion.objects.get_or_create(
        digest="d" * 64, defaults={"name": "dm-fnet", "version": "1.0", "metadata": METADATA}
    )
    images = CellImage.objects.filter(specimen=case).order_by("pk")
    known = {cell.key: cell.name for cell in PREDICTED_CLASSES}
    for image, key in zip(images, classes, strict=True):
        Prediction.objects.create(
            cell_image=image, model_version=version, predicted_class=known.get(key, "Lymphocyte"),
            decision=known.get(key, "Unidentified"), confidence=0.9, probabilities=[0.2] * 5,
            ood_score=0.1, embedding=b"", explanation=bytes(256), engine="onnxruntime",
            milliseconds=1,
        )  # fmt: skip
        CellImage.objects.filter(pk=image.pk).update(filename=key)
    Job.objects.filter(cell_image__specimen=case).update(
        state=Job.State.DONE, finished_at=timezone.now()
    )
    Specimen.objects.filter(pk=case.pk).update(state=Specimen.State.PRECLASSIFIED)
    case.refresh_from_db()


def review(cast: Cast, case: Specimen) -> None:
    """Label each cell as what `classify` was told."""
    names = dict(CellImage.objects.filter(specimen=case).values_list("pk", "filename"))
    decisions = [
        Decision(cell.pk, names[cell.pk] if names[cell.pk] in CLASS_BY_KEY else "neutrophil", 0)
        for cell in case_of(case).cells
    ]
    review_cells(actor=cast.technician, specimen=case, decisions=decisions)
    case.refresh_from_db()


def deliver(destination: Destination) -> Delivery:
    """Attempt the next delivery of a destination once; return it as it is then."""
    claimed = claim_delivery(destination_id=destination.pk, worker="test")
    assert claimed is not None, "nothing is due"
    attempt_delivery(delivery=claimed)
    return Delivery.objects.get(pk=claimed.pk)


def delivered(destination: Destination) -> Delivery:
    """Deliver the next, and insist that it arrived."""
    done = deliver(destination)
    assert done.state == Delivery.State.DELIVERED, done.last_error
    return done


def reports_of(case: Specimen) -> list[Report]:
    return list(case.reports.order_by("version"))


def dsrdump(path: Path) -> str:
    """The report as dcmtk shows it; fails on any error or warning."""
    require("dsrdump")
    done = subprocess.run(
        ["dsrdump", "+Pu", "+Pl", path], capture_output=True, text=True, errors="replace",
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def dciodvfy_errors(path: Path) -> list[str]:
    """What dicom3tools finds against the object's definition."""
    require("dciodvfy")
    done = subprocess.run(
        ["dciodvfy", "-new", path], capture_output=True, text=True, errors="replace", timeout=60
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert lines, "dciodvfy said nothing"
    return [line for line in lines if line.startswith("Error")]
