"""From a multi-frame object to classified cells, with the engine and decoders that are shipped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.test import Client
from PIL import Image

from specimens.models import CellImage, Job, Specimen
from specimens.services.classification import ClassificationWorker
from specimens.services.dicom_import import receive_instance
from tests.dicom.encodings import dcmtk
from tests.dicom.files import drawn_cell, frames_of, saved
from tests.factories import Cast

# The worker writes in a thread of its own.
pytestmark = [pytest.mark.core, pytest.mark.django_db(transaction=True)]

KINDS = ("Neutrophil", "Lymphocyte", "Eosinophil")


def test_each_frame_is_classified_from_the_file_as_it_came(
    cast: Cast, tmp_path: Path, settings: Any
) -> None:
    settings.DECODER_PROCESSES = 1
    specimen = cast.specimen(accession_number="A1", is_synthetic=True)
    cells = [drawn_cell(kind) for kind in KINDS]
    source = saved(frames_of(cells, AccessionNumber="A1"), tmp_path / "frames.dcm")
    dcmtk("dcmcjpls", source, "coded.dcm", folder=tmp_path)
    path = tmp_path / "coded.dcm"
    for _ in range(2):
        receive_instance(actor=None, site=cast.site, path=path, sender="PACS", way="c-store")
    with ClassificationWorker() as worker:
        assert worker.drain() == 3
    images = list(CellImage.objects.order_by("frame"))
    assert [one.predictions.get().predicted_class for one in images] == list(KINDS)
    assert {job.state for job in Job.objects.all()} == {"done"}
    specimen.refresh_from_db()
    assert specimen.state == Specimen.State.PRECLASSIFIED
    for image, cell in zip(images, cells, strict=True):
        with default_storage.open(image.thumbnail_name) as file, Image.open(file) as picture:
            small = np.asarray(Image.fromarray(cell).resize(picture.size), int)
            assert np.abs(np.asarray(picture, int) - small).mean() < 6
    client = Client()
    client.force_login(cast.technician)
    original = client.get(f"/cells/{images[2].pk}/image")
    assert original.content == path.read_bytes()
    assert client.get(f"/cells/{images[2].pk}/thumbnail").status_code == 200
