"""The embedded mode under kill -9: SQLite, the named pipe, and a worker that is started again."""

import sqlite3
import urllib.request
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from tests.factories import picture
from tests.processes import descendants, kill_all, wait_until
from tests.service import Service, running_service

pytestmark = [pytest.mark.embedded, pytest.mark.slow, pytest.mark.timeout(900)]

CALLS, IMAGES_PER_CALL = 24, 10
IMAGES = CALLS * IMAGES_PER_CALL


def _send(service: Service, first: int) -> None:
    """Hand over ten different images; the answer, 200 or 202, is the promise to keep them."""
    boundary = uuid.uuid4().hex
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="{n}.png"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + picture(n)
        + b"\r\n"
        for n in range(first, first + IMAGES_PER_CALL)
    )
    request = urllib.request.Request(  # noqa: S310 - our own address
        f"{service.url}/api/predict_batch",
        data=body + f"--{boundary}--\r\n".encode(),
        headers={
            "Authorization": f"Token {service.token}",
            "Content-Type": f"multipart/form-data; boundary={boundary}",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        assert answer.status in (200, 202)


def _rows(service: Service, query: str) -> list[tuple[int, ...]]:
    with closing(sqlite3.connect(service.home / "wbclab.sqlite3", timeout=20)) as database:
        return database.execute(query).fetchall()


def _ended(service: Service) -> int:
    return _rows(service, "SELECT count(*) FROM specimens_job WHERE state = 'done'")[0][0]


def _holding(service: Service) -> bool:
    """Tell whether the worker that runs now, not one killed before, has jobs under its lease."""
    worker = service.processes().get("worker", 0)
    running = f"state = 'running' AND worker LIKE '%:{worker}:%'"
    return _rows(service, f"SELECT count(*) FROM specimens_job WHERE {running}")[0][0] > 0  # noqa: S608


def test_what_was_accepted_is_classified_once(tmp_path: Path) -> None:
    settings = {
        "WBCLAB_LEASE_SECONDS": "2",
        "WBCLAB_SWEEP_SECONDS": "0.5",
        "WBCLAB_MAX_ATTEMPTS": "10",
        "WBCLAB_PREDICT_WAIT_SECONDS": "0",
        "WBCLAB_ENGINE_THREADS": "1",
        "WBCLAB_DECODERS": "1",
    }
    with running_service(tmp_path / "home", **settings) as service:
        demo = 100
        wait_until(lambda: _ended(service) == demo, 180, "the demo specimen is classified")
        for call in range(CALLS):
            _send(service, call * IMAGES_PER_CALL)
            if call in (4, 12, 20):
                wait_until(lambda: _holding(service), 180, "a worker with jobs in hand")
                worker = service.processes()["worker"]
                kill_all([worker, *descendants(worker)])
        wait_until(lambda: _ended(service) == demo + IMAGES, 300, "all jobs are done")
        once = "SELECT count(*), count(DISTINCT cell_image_id) FROM specimens_prediction"
        assert _rows(service, once) == [(demo + IMAGES, demo + IMAGES)]
        starts = service.log().count("is ready")
        assert starts >= 4, f"three kills, but only {starts} starts"
