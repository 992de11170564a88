"""Leases are told by the database's clock, whatever a machine's own says."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from specimens.models import Job
from specimens.selectors import clock
from specimens.services.imaging import add_cell_images
from specimens.services.queue import claim_jobs, release_expired_leases
from tests.factories import Cast, upload

pytestmark = [pytest.mark.core, pytest.mark.django_db]

HOUR = timedelta(hours=1)


def _jump(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + by)


def test_it_is_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    real: datetime = timezone.now()
    _jump(monkeypatch, HOUR)
    off = clock.now() - real
    expected = timedelta(0) if connection.vendor == "postgresql" else HOUR
    assert abs(off - expected) < timedelta(seconds=30)


@pytest.mark.postgres
@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_machine_that_is_an_hour_off_takes_no_lease_away_and_keeps_none(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, by: timedelta
) -> None:
    real = timezone.now()
    add_cell_images(actor=cast.technician, site=cast.site, specimen=None, uploads=[upload(1)])
    claim_jobs(worker="w1", limit=1)
    _jump(monkeypatch, by)
    assert release_expired_leases() == 0
    Job.objects.update(state="queued", lease_token=None, lease_until=None)
    (job,) = claim_jobs(worker="w2", limit=1, retries=True).jobs
    assert job.lease_until is not None
    assert abs(job.lease_until - real) < timedelta(minutes=2)
