"""The processes of bench.claims: one prepares the queue, one sends images, the others work."""

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import django

RUN: Final = "bench.claims_worker"
SEND_PAUSE: Final = 0.1
BEAT_SECONDS: Final = 1.0


def prepare(sites: str, images: str, each: str) -> None:
    """End what is left, and queue `images` images of `sites` sites, some of them STAT."""
    from bench.queue_rows import imaged_specimen, model_version, queue_images
    from specimens.models import Job, Role, Site, User

    model_version()
    Job.objects.filter(state__in=["queued", "running"]).update(state="done")
    person, _ = User.objects.get_or_create(username="bench", role=Role.TECHNICIAN)
    for number in range(int(sites)):
        site, _ = Site.objects.get_or_create(code=f"site-{number}", defaults={"name": str(number)})
        for specimen in range(-(-int(images) // int(sites) // int(each))):
            queue_images(imaged_specimen(site, person, stat=specimen % 10 == 0), int(each))
    # One large import as well: its results all meet at one specimen.
    queue_images(imaged_specimen(site, person), int(images))


def send(seconds: str, wait: str) -> None:
    """Add 16 images to a specimen every tenth of a second, with the audit event of an upload."""
    from django.db import transaction

    from bench.queue_rows import imaged_specimen, queue_images
    from specimens.models import Site, User
    from specimens.services import audit

    person = User.objects.get(username="bench")
    specimens = [imaged_specimen(site, person) for site in Site.objects.order_by("pk")]
    calls: list[float] = []
    end = _begin() + float(seconds)
    while time.time() < end:
        specimen = specimens[len(calls) % len(specimens)]

        def call() -> None:
            with transaction.atomic():
                queue_images(specimen, 16)  # noqa: B023 - called at once
                audit.record(
                    actor=person,
                    action="specimen.images_added",
                    subject=specimen,  # noqa: B023
                    specimen=specimen,  # noqa: B023
                )

        calls.append(_milliseconds(call))
        time.sleep(SEND_PAUSE)
    print(json.dumps({"calls": calls}))


def work(seconds: str, wait: str) -> None:
    """Claim, wait as long as a model would, write results; until the end."""
    import os

    from django.conf import settings

    from bench.queue_rows import made_up_result, model_version
    from specimens.services.queue import Claim, claim_jobs
    from specimens.services.queue_exit import finish_jobs

    version, name = model_version(), f"bench-{os.getpid()}"
    tokens: set[object] = set()
    threading.Thread(target=_beat, args=(name, tokens), daemon=True).start()
    claims: list[float] = []
    results: list[float] = []
    images = 0
    end = _begin() + float(seconds)
    while time.time() < end:
        found: list[Claim] = []
        took = _milliseconds(
            lambda: found.append(claim_jobs(worker=name, limit=settings.BATCH_SIZE))  # noqa: B023
        )
        (claim,) = found
        if not claim.jobs:
            raise RuntimeError("the queue is empty: more images have to be prepared")
        claims.append(took)
        tokens.add(claim.token)
        time.sleep(float(wait))
        rows = [made_up_result(job.cell_image_id, version) for job in claim.jobs]
        results.append(
            _milliseconds(
                lambda: finish_jobs(token=claim.token, predictions=rows, failures=[])  # noqa: B023
            )
        )
        tokens.discard(claim.token)
        images += len(rows)
    print(json.dumps({"claims": claims, "results": results, "images": images}))


def _beat(name: str, tokens: set[object]) -> None:
    """The heartbeat of a worker (services/classification.py)."""
    from django.utils import timezone

    from specimens.models import WorkerHeartbeat
    from specimens.services.queue import extend_leases

    while True:
        now = timezone.now()
        WorkerHeartbeat.objects.update_or_create(
            worker=name,
            defaults={"seen_at": now},
            create_defaults={
                "seen_at": now, "started_at": now, "engine": "none", "model_digest": "0" * 64,
            },
        )  # fmt: skip
        if held := list(tokens):
            extend_leases(tokens=held)  # type: ignore[arg-type] # tokens of claims
        time.sleep(BEAT_SECONDS)


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def _begin() -> float:
    """Say that we are ready, and return when all others are."""
    from django.db import connection

    connection.ensure_connection()
    print("ready", flush=True)
    sys.stdin.readline()
    return time.time()


if __name__ == "__main__":
    django.setup()
    roles: dict[str, Callable[..., None]] = {"prepare": prepare, "send": send, "work": work}
    roles[sys.argv[1]](*sys.argv[2:])
