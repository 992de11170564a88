"""Workers killed with -9 in mid-batch, Redis emptied: each accepted image is classified once.

The processes are those of production, started by scripts/service.sh as docker-compose.yml does.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.db.models import Count, Sum

from specimens.models import CellImage, Job, Prediction, Specimen, WorkerHeartbeat
from specimens.services.imaging import add_cell_images
from tests.factories import Cast, make_cast, upload
from tests.processes import free_port, wait_until
from tests.roles import StartRole, kill_role, require_servers, roles

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.django_db(transaction=True),
]

IMAGES = 1000


@pytest.fixture
def broker() -> Iterator["redis.Redis"]:
    require_servers()
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        client.flushall()
        yield client


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartRole]:
    environment = {
        "WBCLAB_LEASE_SECONDS": "2",
        "WBCLAB_SWEEP_SECONDS": "0.5",
        "WBCLAB_MAX_ATTEMPTS": "10",
        "WBCLAB_ENGINE_THREADS": "2",
    }
    with roles(tmp_path, **environment) as start:
        yield start


def _queue_images(cast: Cast, specimens: int = 10) -> None:
    each = IMAGES // specimens
    for number in range(specimens):
        colours = range(number * each, (number + 1) * each)
        add_cell_images(
            actor=cast.technician,
            site=cast.site,
            specimen=cast.specimen(),
            uploads=[upload(colour) for colour in colours],
        )


def test_three_kills_and_a_flush_lose_nothing_and_repeat_nothing(
    broker: "redis.Redis", start: StartRole
) -> None:
    _queue_images(make_cast())
    assert Job.objects.filter(state="queued").count() == IMAGES
    start("sweeper")
    caught = 0
    for kill in range(3):
        before = Prediction.objects.count()
        worker = start("worker")
        wait_until(lambda: _progress(before), 180, "the worker works")  # noqa: B023
        if kill == 1:
            broker.flushall()
        caught += _kill_in_mid_batch(worker)
    assert caught, "no kill hit a worker with jobs in hand: the test proved nothing"
    assert Prediction.objects.count() < IMAGES, "all was done before the last kill"
    start("worker")
    wait_until(lambda: not Job.objects.exclude(state="done").exists(), 400, "all jobs are done")

    assert Job.objects.count() == IMAGES
    per_image = CellImage.objects.annotate(n=Count("predictions")).values_list("n", flat=True)
    assert list(per_image) == [1] * IMAGES
    attempts = Job.objects.aggregate(total=Sum("attempts"))["total"]
    assert attempts >= IMAGES + caught, "what a killed worker held was tried again"
    # After the results are committed; by the sweep where the worker of the last ones was killed.
    unfinished = Specimen.objects.exclude(state="preclassified")
    wait_until(lambda: not unfinished.exists(), 30, "every specimen is finished")


def _progress(before: int) -> bool:
    return Prediction.objects.count() >= before + 40


def _kill_in_mid_batch(worker: "subprocess.Popen[bytes]") -> int:
    """Kill the worker while it holds a lease; return how many jobs it had in hand."""
    held = Job.objects.filter(state="running", worker__contains=f":{worker.pid}:")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not held.exists():
        pass
    kill_role(worker)
    return held.count()


def test_a_lost_ring_costs_only_the_sweep_interval(
    broker: "redis.Redis", start: StartRole, settings: Any
) -> None:
    start("worker")
    wait_until(WorkerHeartbeat.objects.exists, 60, "the worker is ready")
    settings.REDIS_URL = ""  # rings a pipe that nobody listens to
    cast = make_cast()
    add_cell_images(
        actor=cast.technician, site=cast.site, specimen=cast.specimen(), uploads=[upload(1)]
    )
    time.sleep(1)
    assert not Prediction.objects.exists(), "nobody rang, and nobody swept yet"
    start("sweeper")
    wait_until(lambda: Prediction.objects.count() == 1, 30, "the sweep found it")


def test_a_broker_that_is_away_stops_nobody() -> None:
    address = f"redis://127.0.0.1:{free_port()}/0"
    script = "from specimens.services.doorbell import ring; ring(jobs=100); print('went on')"
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", script],
        cwd=django_settings.BASE_DIR,
        env=os.environ | {"WBCLAB_REDIS_URL": address},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "went on" in done.stdout
    assert "cannot be reached" in done.stderr
