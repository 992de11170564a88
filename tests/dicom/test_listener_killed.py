"""Many instances over four associations, the listener killed in the middle: each is here once.

The listener and the worker are those of production, started by scripts/service.sh.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db.models import Count

from specimens.models import AssociationLog, CellImage, DicomInstance, Job, Prediction
from tests.dicom.pacs import Process, listener_process, sent, stored, study_of, worker_process
from tests.factories import Cast, make_cast
from tests.processes import wait_until

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.django_db(transaction=True),
]

# `make bench-dicom` sends 1,000.
INSTANCES = int(os.environ.get("WBCLAB_DICOM_TEST_INSTANCES", "200"))
SENDERS = 4


@pytest.fixture
def laboratory() -> Cast:
    cast = make_cast()
    cast.specimen(accession_number="A1", order__patient__identifier="P1")
    return cast


@pytest.fixture
def shares(tmp_path: Path) -> list[list[Path]]:
    """The instances in equal shares, one for each association."""
    each = INSTANCES // SENDERS
    return [study_of(tmp_path / f"s{n}", "A1", each, first=n * each) for n in range(SENDERS)]


@pytest.fixture
def listener(laboratory: Cast, tmp_path: Path) -> Iterator[Process]:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    with listener_process(incoming, tmp_path / "listener.log") as running:
        yield running
    shutil.rmtree(incoming)


def at_once(act: Callable[[list[Path]], Any], shares: list[list[Path]]) -> list[Any]:
    """Do the same with each share, in threads; what each returned."""
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda share=share: results.append(act(share))) for share in shares
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    return results


def each_is_here_once() -> None:
    assert DicomInstance.objects.count() == INSTANCES
    assert set(DicomInstance.objects.values_list("state", flat=True)) == {"matched"}
    assert CellImage.objects.count() == INSTANCES
    assert Job.objects.count() == INSTANCES


def test_all_are_stored_once_and_classified_once_and_again_changes_nothing(
    listener: Process,
    shares: list[list[Path]],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    began = time.monotonic()
    codes = at_once(lambda share: sent("storescu", listener.port, share, seconds=600), shares)
    seconds = time.monotonic() - began
    assert [done.returncode for done in codes] == [0] * SENDERS, codes[0].stderr[-2000:]
    rate = INSTANCES / seconds
    record_property("instances_per_second", round(rate, 1))
    sys.stdout.write(f"{INSTANCES} instances over {SENDERS} associations: {rate:.1f} a second\n")
    each_is_here_once()

    with worker_process(tmp_path):
        wait_until(lambda: not Job.objects.exclude(state="done").exists(), 400, "all classified")
        before = sorted(CellImage.objects.values_list("pk", "file", "sha256"))
        at_once(lambda share: stored("storescu", listener.port, share, seconds=600), shares)
        time.sleep(1)  # what would be classified twice would be queued by now
    each_is_here_once()
    assert sorted(CellImage.objects.values_list("pk", "file", "sha256")) == before
    assert not Job.objects.exclude(state="done").exists()
    per_image = CellImage.objects.annotate(n=Count("predictions")).values_list("n", flat=True)
    assert set(per_image) == {1}
    assert Prediction.objects.count() == INSTANCES
    folder = Path(django_settings.MEDIA_ROOT) / "dicom"
    assert sum(1 for path in folder.rglob("*.dcm")) == INSTANCES, "files nobody knows"


def test_killed_in_the_middle_nothing_is_lost_and_nothing_comes_twice(
    listener: Process, shares: list[list[Path]], tmp_path: Path
) -> None:
    """Senders retry until they are told of success for all, as senders do."""

    def send_until_done(share: list[Path]) -> int:
        for attempt in range(40):
            if sent("storescu", listener.port, share, seconds=600).returncode == 0:
                return attempt
            time.sleep(0.5)
        return -1

    attempts: list[int] = []
    senders = threading.Thread(target=lambda: attempts.extend(at_once(send_until_done, shares)))
    senders.start()
    for kill in range(2):
        goal = (kill + 1) * INSTANCES // 4
        wait_until(lambda: DicomInstance.objects.count() >= goal, 300, "some have come")  # noqa: B023
        assert DicomInstance.objects.count() < INSTANCES, "all had come before the kill"
        listener.kill()
        listener.start()
    senders.join(800)
    assert len(attempts) == SENDERS
    assert -1 not in attempts
    assert any(attempts), "no sender was interrupted: the test proved nothing"
    each_is_here_once()
    assert AssociationLog.objects.filter(
        state="aborted", reason="The listener ended while it was open."
    ).exists()
    names = {str(name) for name in DicomInstance.objects.values_list("file", flat=True)}
    assert len(names) == INSTANCES
    for name in names:
        assert (Path(django_settings.MEDIA_ROOT) / name).stat().st_size > 1000
