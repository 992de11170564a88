"""Receivers and deliverers killed with -9: each signed report arrives, in order, and counts once.

The processes are those of production, started by scripts/service.sh as docker-compose.yml does.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from specimens.models import Delivery, DeliveryAttempt, Destination
from tests.factories import Cast
from tests.interop.outbox import SETTINGS, amend, make_cells, mllp, reviewed_case, sign, webhook
from tests.interop.receivers import (
    ReceiverProcess,
    first_of_each,
    versions_by_specimen,
    wait_until_held_back,
)
from tests.processes import wait_until
from tests.roles import StartRole, kill_role, require_servers, roles

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.django_db(transaction=True),
]

CASES, AMENDED = 100, 20
KILLS = 4


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartRole]:
    require_servers()
    with roles(tmp_path, **SETTINGS) as start:
        yield start


@pytest.fixture
def receivers(tmp_path: Path, cast: Cast) -> Iterator[list[ReceiverProcess]]:
    """A webhook and an HL7 receiver, destinations of the cast's site, neither of them started."""
    found = [ReceiverProcess(tmp_path, 0.02, "webhook"), ReceiverProcess(tmp_path, 0.02, "mllp")]
    webhook(cast.site, found[0].url)
    mllp(cast.site, found[1].host_and_port)
    yield found
    for receiver in found:
        receiver.kill()


def _sign_all(cast: Cast) -> None:
    """Sign CASES cases, and the first AMENDED of them a second time."""
    cells = make_cells()
    cases = [reviewed_case(cast, cells) for _ in range(CASES)]
    for case in cases:
        sign(cast.pathologist, case)
    for case in cases[:AMENDED]:
        amend(cast.pathologist, case)


def _wait_for(folder: Path, delivered: int, seconds: float = 180) -> None:
    """Wait until so many have arrived; say what the deliverers said where they have not."""
    try:
        wait_until(lambda: _delivered() >= delivered, seconds, f"{delivered} have arrived")
    except TimeoutError as error:
        states = list(Destination.objects.values())
        pytest.fail(
            f"{error}: {_delivered()}. {states}\n{(folder / 'deliverer.log').read_text()[-3000:]}"
        )


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
    kind = "hl7" if receiver.kind == "mllp" else receiver.kind
    made = Delivery.objects.filter(destination__kind=kind).values_list("message_id", flat=True)
    assert {line["id"] for line in kept} == set(made)
    return len(received) - len(kept)


def test_receivers_that_were_away_get_each_report_once(
    cast: Cast, start: StartRole, receivers: list[ReceiverProcess], tmp_path: Path
) -> None:
    for receiver in receivers:
        receiver.start()
    start("deliverer")
    for receiver in receivers:
        receiver.kill()
    _sign_all(cast)
    wait_until(
        lambda: not Destination.objects.filter(pauses__lt=3).exists(), 60, "the outage is noticed"
    )
    assert _delivered() == 0
    pauses = 0
    for destination in Destination.objects.all():
        assert destination.unreachable_since is not None
        assert "refused" in destination.last_error
        pauses += destination.pauses
    tried = DeliveryAttempt.objects.count()
    assert tried <= pauses + 4, "only one delivery at a time asks during an outage"
    assert not Delivery.objects.filter(state="held").exists(), "an outage holds nothing"

    receivers[0].start()
    _wait_for(tmp_path, CASES + AMENDED)
    assert _delivered(destination__kind="hl7") == 0, "and does not wait for the other one"
    receivers[1].start()
    _wait_for(tmp_path, 2 * (CASES + AMENDED))
    for receiver in receivers:
        assert _repeats_when_each_arrived_in_order(receiver) == 0
    assert not Destination.objects.filter(unreachable_since__isnull=False).exists()


def test_deliverers_killed_in_between_lose_nothing_and_repeat_only_what_is_told_apart(
    cast: Cast, start: StartRole, receivers: list[ReceiverProcess], tmp_path: Path
) -> None:
    _sign_all(cast)
    first = start("deliverer")
    wait_until(
        lambda: Destination.objects.filter(pauses__gt=0).exists(), 60, "it found nobody there"
    )
    kill_role(first)
    for receiver in receivers:
        receiver.start()
    caught = 0
    for _ in range(KILLS):
        before = _delivered()
        deliverer = start("deliverer")
        _wait_for(tmp_path, before + 15)
        caught += _kill_between_arrival_and_receipt(deliverer, receivers)
    assert _delivered() < 2 * (CASES + AMENDED), "all was sent before the last kill"
    start("deliverer")
    _wait_for(tmp_path, 2 * (CASES + AMENDED))

    lost = DeliveryAttempt.objects.filter(outcome="lost").count()
    assert lost >= caught >= KILLS, "what a killed deliverer had in hand is on record"
    repeats = sum(_repeats_when_each_arrived_in_order(receiver) for receiver in receivers)
    assert KILLS <= repeats <= lost, "what a killed deliverer had in hand comes twice, and no more"


def _kill_between_arrival_and_receipt(
    deliverer: "subprocess.Popen[bytes]", receivers: list[ReceiverProcess]
) -> int:
    """Kill it while a report has arrived of which it does not know; return how many it had in hand.

    Each receiver goes on taking reports in meanwhile, and keeps the receipt to itself.
    """
    held = Delivery.objects.filter(state="running", worker__contains=f":{deliverer.pid}:")
    for receiver in receivers:
        receiver.hold()

    def one_has_arrived() -> bool:
        came = {line["id"] for receiver in receivers for line in receiver.received()}
        return held.filter(message_id__in=came).exists()

    wait_until_held_back(one_has_arrived)
    kill_role(deliverer)
    for receiver in receivers:
        receiver.let_go()
    return held.count()
