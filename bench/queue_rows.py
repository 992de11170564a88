"""Rows for the queue without files and without a model: what claims and results are made of."""

import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from classifier.models import ModelVersion
    from specimens.models import Prediction, Site, Specimen, User


def model_version() -> "ModelVersion":
    """The model version of made-up results."""
    from classifier.models import ModelVersion

    values = {"name": "bench", "version": "1", "metadata": {}, "is_active": True}
    return ModelVersion.objects.get_or_create(digest="0" * 64, defaults=values)[0]


def imaged_specimen(site: "Site", person: "User", *, stat: bool = False) -> "Specimen":
    """A specimen that takes images."""
    from django.utils import timezone

    from specimens.models import Order, Patient, Specimen

    name, now = uuid.uuid4().hex[:12], timezone.now()
    patient = Patient.objects.create(site=site, identifier=name, family_name="Muster")
    order = Order.objects.create(
        site=site, patient=patient, placer_number=name, ordered_at=now,
        priority="stat" if stat else "routine",
    )  # fmt: skip
    return Specimen.objects.create(
        site=site, order=order, accession_number=name, received_at=now, state="imaged",
        accessioned_by=person,
    )  # fmt: skip


def queue_images(specimen: "Specimen", count: int) -> None:
    """Queue `count` images that have no file, in one transaction."""
    from django.db import transaction

    from specimens.models import CellImage
    from specimens.services.queue_entry import enqueue

    name = uuid.uuid4().hex
    with transaction.atomic():
        images = CellImage.objects.bulk_create(
            CellImage(
                site=specimen.site, specimen=specimen, file=f"cells/{name}.jpg", source="api",
                sha256=f"{name}{number}", filename="cell.jpg", media_type="image/jpeg", size=12_000,
            )
            for number in range(count)
        )  # fmt: skip
        enqueue(images=images, specimen=specimen)


def made_up_result(cell_image_id: int, version: "ModelVersion") -> "Prediction":
    """A result of the size that a model gives."""
    from specimens.models import Prediction

    return Prediction(
        cell_image_id=cell_image_id,
        model_version=version,
        predicted_class="Neutrophil",
        decision="Neutrophil",
        confidence=0.95,
        probabilities=[0.01, 0.01, 0.02, 0.01, 0.95],
        ood_score=0.1,
        embedding=bytes(512),
        explanation=bytes(256),
        engine="none",
        milliseconds=1.0,
    )
