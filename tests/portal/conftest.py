"""What the page tests share: clients of the cast, and cells in every state."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone

from classifier.classes import CELL_CLASSES
from classifier.models import ModelVersion
from specimens.models import CellImage, Job, Prediction, Specimen, User, WorkerHeartbeat
from tests.factories import picture

METADATA = {
    "abstain": {"confidence_threshold": 0.8},
    "ood": {"threshold": 1.3},
    "temperature": 1.21,
    "metrics": {
        "pbc/val": {
            "n": 1028,
            "accuracy": {"value": 0.9932, "n": 1028, "interval_95": [0.986, 0.9971]},
            "cohen_kappa": 0.9912,
            "confusion_matrix": [[1]],
        }
    },
    "limitations": ["Trained on one laboratory."],
    "data": [{"name": "PBC", "licence": "CC BY 4.0", "images": 7186, "doi": "10.1/x"}],
}


@pytest.fixture
def as_person() -> Callable[[User], Client]:
    """Return a client that is logged in as somebody."""

    def log_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        # As after the first page: the next ones write nothing to the session.
        session = client.session
        session["started_at"] = session["seen_at"] = time.time()
        session.save()
        return client

    return log_in


@pytest.fixture
def version(db: None) -> ModelVersion:
    return ModelVersion.objects.create(
        name="dm-fnet", version="1.0", digest="d" * 64, metadata=METADATA, is_active=True
    )


@pytest.fixture
def worker(db: None) -> WorkerHeartbeat:
    now = timezone.now()
    return WorkerHeartbeat.objects.create(
        worker="w1", engine="onnxruntime", model_digest="d" * 64, started_at=now, seen_at=now
    )


class Cells:
    """Makes cell images of a specimen in the state a test needs."""

    def __init__(self, version: ModelVersion) -> None:
        self.version = version
        self.made = 0

    def image(
        self, specimen: Specimen, *, state: str = Job.State.QUEUED, error: str = "", **values: Any
    ) -> CellImage:
        self.made += 1
        content = picture(self.made)
        image = CellImage(
            **{
                "site": specimen.site,
                "specimen": specimen,
                "sha256": f"{self.made:064x}",
                "filename": f"cell-{self.made}.png",
                "media_type": "image/png",
                "size": len(content),
                "width": 64,
                "height": 64,
                "source": CellImage.Source.BROWSER,
            }
            | values
        )
        image.file.save("cell.png", ContentFile(content), save=False)
        image.save()
        Job.objects.create(
            cell_image=image,
            site=image.site,
            specimen=image.specimen,
            state=state,
            error=error,
            error_code="damaged" if error else "",
        )
        return image

    def failed(self, specimen: Specimen, error: str = "It is damaged.", **values: Any) -> CellImage:
        return self.image(specimen, state=Job.State.FAILED, error=error, **values)

    def classified(
        self,
        specimen: Specimen,
        name: str = "Neutrophil",
        confidence: float = 0.97,
        *,
        reasons: tuple[str, ...] = (),
        thumbnail: bool = True,
        **values: Any,
    ) -> CellImage:
        image = self.image(specimen, state=Job.State.DONE, **values)
        if thumbnail:
            default_storage.save(
                image.thumbnail_name, ContentFile(picture(self.made, format="JPEG"))
            )
        rest = (1 - confidence) / 4
        Prediction.objects.create(
            cell_image=image,
            model_version=self.version,
            predicted_class=name,
            decision="Unidentified" if reasons else name,
            reasons=list(reasons),
            confidence=confidence,
            probabilities=[confidence if name == one else rest for one in CELL_CLASSES],
            ood_score=1.5 if "out_of_distribution" in reasons else 0.6,
            embedding=b"\0" * 512,
            explanation=bytes(range(256)),
            engine="onnxruntime",
            milliseconds=3.4,
        )
        return image


@pytest.fixture
def cells(version: ModelVersion) -> Cells:
    return Cells(version)
