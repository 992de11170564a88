"""Receivers and deliverers killed with -9: each signed report arrives, in order, and counts once.

The processes are those of production, started by scripts/service.sh as docker-compose.yml does.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection

from specimens.models import Delivery, DeliveryAttempt, Destination
from tests.counterparts import skip_unless_ci
from tests.factories import Cast
from tests.interop.outbox import (
    ReceiverProcess,
    amend,
    environment,
    first_of_each,
    make_cells,
    reviewed_case,
    sign,
    versions_by_specimen,
    webhook,
)
from tests.processes import descendants, die_with_parent, kill_all, wait_until

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.django_db(transaction=True),
]

CASES, AMENDED = 100, 20
Start = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start deliverers of production against the database of this test."""
    if connection.vendor != "postgresql" or not django_settings.REDIS_URL:
        skip_unless_ci("PostgreSQL and Redis do not run (make test starts them)")
    database = connection.settings_dict
    address = f"postgresql://{database['USER']}@{database['HOST']}:{database['PORT']}"
    running: list[subprocess.Popen[bytes]] = []

    def run() -> "subprocess.Popen[bytes]":
        with (tmp_path / "deliverer.log").open("ab") as log:
            process = subprocess.Popen(
                ["scripts/service.sh", "deliverer"],
                cwd=django_settings.BASE_DIR,
                env=environment(WBCLAB_DATABASE_URL=f"{address}/{database['NAME']}"),
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(),
            )
        running.append(process)
        return process

    yield run
    for process in running:
        _kill(process)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ReceiverProcess]:
    process = ReceiverProcess(tmp_path, seconds=0.02)
    yield process
    process.kill()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    kill_all([process.pid, *descendants(process.pid)])
    process.wait()


def _sign_all(cast: Cast) -> None:
    """Sign CASES cases, and the first AMENDED of them a second time."""
    cells = make_cells()
    cases = [reviewed_case(cast, cells) for _ in range(CASES)]
    for case in cases:
        sign(cast.pathologist, case)
    for case in cases[:AMENDED]:
        amend(cast.pathologist, case)


def _delivered(**of: Any) -> int:
    return Delivery.objects.filter(state="delivered", **of).count()


def _repeats_when_each_arrived_in_order(receiver: ReceiverProcess) -> int:
    """Count both: what came over the wire, and what a receiver keeps that knows the message ids.

    Returns by how many the first is more.
    """
    received = receiver.received()
    kept = first_of_each(received)
    assert len(kept) == CASES + AMENDED
    assert sum(line["type"] == "report.final" for line in kept) == CASES
    assert sum(line["type"] == "report.corrected" for line in kept) == AMENDED
    assert len({(line["specimen"], line["version"]) for line in kept}) == CASES + AMENDED
    versions = versions_by_specimen(kept)
    assert len(versions) == CASES
    assert sorted(map(tuple, versions.values())) == [(1,)] * (CASES - AMENDED) + [(1, 2)] * AMENDED
    # Not even with the repeats does an older version come after a newer one.
    assert all(found == sorted(found) for found in versions_by_specimen(received).values())
    assert {line["id"] for line in kept} == set(
        Delivery.objects.values_list("message_id", flat=True)
    )
    return len(received) - len(kept)


def test_a_receiver_that_was_away_gets_each_report_once(
    cast: Cast, start: Start, receiver: ReceiverProcess
) -> None:
    destination = webhook(cast.site, receiver.url)
    receiver.start()
    start()
    receiver.kill()
    _sign_all(cast)
    wait_until(
        lambda: Destination.objects.filter(pauses__gte=3).exists(), 60, "the outage is noticed"
    )
    assert _delivered() == 0
    destination.refresh_from_db()
    assert destination.unreachable_since is not None
    assert "refused" in destination.last_error
    tried = DeliveryAttempt.objects.count()
    assert tried <= destination.pauses + 2, "only one delivery at a time asks during an outage"
    assert not Delivery.objects.filter(state="held").exists(), "an outage holds nothing"

    receiver.start()
    wait_until(lambda: _delivered() == CASES + AMENDED, 90, "everything has arrived")
    assert _repeats_when_each_arrived_in_order(receiver) == 0
    destination.refresh_from_db()
    assert destination.unreachable_since is None


def test_deliverers_killed_in_between_lose_nothing_and_repeat_only_what_is_told_apart(
    cast: Cast, start: Start, receiver: ReceiverProcess
) -> None:
    webhook(cast.site, receiver.url)
    _sign_all(cast)
    caught = 0
    for kill in range(4):
        before = _delivered()
        deliverer = start()
        if kill == 0:
            time.sleep(1)  # nobody is there yet: the first one is killed during the outage
            _kill(deliverer)
            receiver.start()
            continue
        wait_until(lambda: _delivered() >= before + 15, 60, "it delivers")  # noqa: B023
        caught += _kill_with_one_in_hand(deliverer)
    assert caught, "no kill hit a deliverer with something in hand: the test proved nothing"
    assert _delivered() < CASES + AMENDED, "all was sent before the last kill"
    start()
    wait_until(lambda: _delivered() == CASES + AMENDED, 90, "everything has arrived")

    lost = DeliveryAttempt.objects.filter(outcome="lost")
    assert lost.count() >= caught, "what a killed deliverer had in hand is on record"
    repeats = _repeats_when_each_arrived_in_order(receiver)
    assert repeats <= lost.count(), "only what a killed deliverer had in hand may come twice"
    assert repeats, "no kill fell between arrival and receipt: the test proved too little"


def _kill_with_one_in_hand(deliverer: "subprocess.Popen[bytes]") -> int:
    """Kill it while it holds a lease; return how many deliveries it had in hand."""
    pids = [deliverer.pid, *descendants(deliverer.pid)]
    held = [Delivery.objects.filter(state="running", worker__contains=f":{pid}:") for pid in pids]
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not any(one.exists() for one in held):
        pass
    _kill(deliverer)
    return sum(one.count() for one in held)
