"""How long a STAT cell waits while one worker has a bulk import of thousands of images in hand.

Batches are counted as well as milliseconds: those of the import that ended between the arrival of
the STAT cell and its own result. Prints one line, asserts nothing.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.images import sample_images
from bench.services import ROOT
from tests import counterparts
from tests.processes import descendants, die_with_parent, kill_all, wait_until

if TYPE_CHECKING:
    from specimens.models import Job, Specimen

FILES: Final = 64


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.urgent", description=__doc__)
    parser.add_argument("--bulk", type=int, default=6_000, help="images of the import")
    parser.add_argument("--rounds", type=int, default=40, help="STAT cells, one after the other")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds must be 2 or more: percentiles of one value say nothing")
    with (
        tempfile.TemporaryDirectory(prefix="wbclab-bench-") as home,
        counterparts.postgres(durable=True) as database,
    ):
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "wbclab.settings",
            "WBCLAB_HOME": home,
            "WBCLAB_DATABASE_URL": database.url,
            "WBCLAB_REDIS_URL": "",
        }
        import django

        django.setup()
        _measure(Path(home), options.bulk, options.rounds)


def _measure(home: Path, bulk: int, rounds: int) -> None:
    from django.core.management import call_command
    from django.db import connections

    from bench.queue_rows import imaged_specimen
    from specimens.models import Job, Role, Site, User

    call_command("migrate", verbosity=0)
    site = Site.objects.create(code="bench", name="Measured laboratory")
    person = User.objects.create(username="bench", role=Role.TECHNICIAN)
    names = _files()
    _queue(imaged_specimen(site, person), names, bulk)
    done = Job.objects.filter(state=Job.State.DONE)
    with (home / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "manage.py", "classification_worker"],
            cwd=ROOT, stdout=log, stderr=log, preexec_fn=die_with_parent(),
        )  # fmt: skip
    try:
        wait_until(lambda: done.count() >= 100, 120, "the import is under way")
        started, before = time.perf_counter(), done.count()
        jobs = []
        for number in range(rounds):
            time.sleep(random.uniform(0.1, 0.4))  # any moment of a batch
            (job,) = _queue(imaged_specimen(site, person, stat=True), names[number % FILES :], 1)
            wait_until(done.filter(pk=job.pk).exists, 60, "the STAT cell is classified")
            jobs.append(Job.objects.get(pk=job.pk))
        rate = (done.count() - before) / (time.perf_counter() - started)
        if not Job.objects.filter(state=Job.State.QUEUED).exists():
            raise RuntimeError("the import was over: raise --bulk")
    finally:
        kill_all([worker.pid, *descendants(worker.pid)])
        worker.wait()
    _print(jobs, rate)
    connections.close_all()


def _files() -> list[str]:
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage

    images, _ = sample_images(FILES)
    return [default_storage.save(f"cells/{name}", ContentFile(data)) for name, data in images]


def _queue(specimen: "Specimen", names: list[str], count: int) -> "list[Job]":
    from django.db import transaction

    from specimens.models import CellImage
    from specimens.services.queue_entry import enqueue

    with transaction.atomic():
        images = CellImage.objects.bulk_create(
            CellImage(
                site=specimen.site, specimen=specimen, file=names[number % len(names)],
                source="api", sha256=f"{specimen.pk}-{number}", filename="cell.jpg",
                media_type="image/jpeg", size=12_000,
            )
            for number in range(count)
        )  # fmt: skip
        return enqueue(images=images, specimen=specimen)


def _print(jobs: "list[Job]", rate: float) -> None:
    from specimens.models import Job

    waits, batches = [], Counter[int]()
    for job in jobs:
        assert job.finished_at is not None  # narrows the type
        waits.append(1000 * (job.finished_at - job.created_at).total_seconds())
        between = Job.objects.filter(
            finished_at__gt=job.created_at, finished_at__lte=job.finished_at
        )
        others = between.exclude(lease_token=job.lease_token)
        batches[others.order_by().values("lease_token").distinct().count()] += 1
    counts = ", ".join(f"{number}: {batches[number]}" for number in sorted(batches))
    print(
        f"STAT cells: {len(waits)}, median {statistics.median(waits):.0f} ms, "
        f"p95 {statistics.quantiles(waits, n=20)[-1]:.0f} ms, most {max(waits):.0f} ms; "
        f"batches that ended before its own, and how often: {counts}; "
        f"import beside it {rate:.0f} images/s; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
