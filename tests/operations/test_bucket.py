"""Images in a bucket, against a server that speaks S3."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client

from specimens.models import Job
from specimens.services.classification import ClassificationWorker
from specimens.services.errors import StorageUnavailable
from specimens.services.imaging import add_cell_images
from tests.factories import Cast, upload
from tests.interop.outbox import make_cells
from tests.operations.test_custody import run, signed_case
from tests.processes import die_with_parent, free_port, wait_until


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent(),
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(url).status_code < 500
        except httpx.TransportError:
            return False

    wait_until(answers, 60, "the S3 server answers")
    yield url
    process.kill()
    process.wait()


def bucket(endpoint: str, name: str) -> dict[str, Any]:
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    client.create_bucket(Bucket=name)
    options = {
        "bucket_name": name, "endpoint_url": endpoint, "region_name": "us-east-1",
        "access_key": "key", "secret_key": "secret", "file_overwrite": False,
        "addressing_style": "path",
    }  # fmt: skip
    return {"BACKEND": "specimens.services.bucket.BucketStorage", "OPTIONS": options}


@pytest.mark.django_db(transaction=True)
def test_images_live_in_a_bucket_from_upload_to_page(
    endpoint: str, cast: Cast, settings: Any, tmp_path: Path, client: Client
) -> None:
    settings.IMAGE_CACHE_DIR = tmp_path / "cache"
    settings.STORAGES = settings.STORAGES | {"default": bucket(endpoint, "images")}
    case = cast.specimen()
    uploads = [upload(n) for n in range(3)]
    add_cell_images(actor=cast.technician, site=cast.site, specimen=case, uploads=uploads)
    with ClassificationWorker() as worker:
        assert worker.drain() == 3
    assert set(Job.objects.values_list("state", flat=True)) == {"done"}
    assert not Path(settings.MEDIA_ROOT).exists()
    cell = case.cell_images.first()
    assert cell
    client.force_login(cast.technician)
    uploads[0].seek(0)
    assert client.get(f"/cells/{cell.pk}/image").content == uploads[0].read()
    assert default_storage.exists(cell.thumbnail_name)
    assert client.get(f"/cells/{cell.pk}/thumbnail")["Content-Type"] == "image/jpeg"
    assert client.get("/api/health").json()["parts"]["storage"]["status"] == "ok"
    with pytest.raises(NotImplementedError):
        default_storage.url(str(cell.file.name))


@pytest.mark.django_db(transaction=True)
def test_images_wait_while_the_bucket_is_away(
    endpoint: str, cast: Cast, settings: Any, tmp_path: Path
) -> None:
    settings.IMAGE_CACHE_DIR = tmp_path / "cache"
    there = bucket(endpoint, "sometimes")
    settings.STORAGES = settings.STORAGES | {"default": there}
    add_cell_images(
        actor=cast.technician, site=cast.site, specimen=cast.specimen(), uploads=[upload(1)]
    )
    away = {"endpoint_url": f"http://127.0.0.1:{free_port()}"}
    settings.STORAGES = settings.STORAGES | {
        "default": there | {"OPTIONS": there["OPTIONS"] | away}
    }
    with ClassificationWorker() as worker:
        assert worker.drain() == 0
        job = Job.objects.get()
        assert (job.state, job.attempts, job.error_code) == ("queued", 0, "")
        settings.STORAGES = settings.STORAGES | {"default": there}
        assert worker.drain() == 1


@pytest.mark.django_db
def test_a_bucket_that_is_away_refuses_images_as_a_full_disk_does(
    endpoint: str, cast: Cast, settings: Any
) -> None:
    away = bucket(endpoint, "gone")
    away["OPTIONS"]["endpoint_url"] = f"http://127.0.0.1:{free_port()}"
    settings.STORAGES = settings.STORAGES | {"default": away}
    with pytest.raises(StorageUnavailable):
        add_cell_images(
            actor=cast.technician, site=cast.site, specimen=cast.specimen(), uploads=[upload(1)]
        )
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_the_archive_may_be_a_bucket(
    endpoint: str, cast: Cast, settings: Any, tmp_path: Path
) -> None:
    settings.IMAGE_CACHE_DIR = tmp_path / "cache"
    settings.STORAGES = settings.STORAGES | {"archive": bucket(endpoint, "archive")}
    case, name = signed_case(cast, make_cells())
    content = Path(default_storage.path(name)).read_bytes()
    assert run("archive_images", older_than=0).startswith("1 cases, 1 files")
    assert not Path(default_storage.path(name)).exists()
    with case.cell_images.get().file.open() as file:
        assert file.read() == content
    with pytest.raises(FileNotFoundError):
        default_storage.open("cells/nowhere.png")
    default_storage.save("cells/other.png", ContentFile(b"x"))
