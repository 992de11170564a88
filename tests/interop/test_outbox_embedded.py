"""The embedded mode: SQLite, the named pipe, a receiver and a deliverer killed with -9."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.homes import migrated_home
from tests.interop.outbox import SETTINGS
from tests.interop.receivers import (
    ROOT,
    ReceiverProcess,
    first_of_each,
    versions_by_specimen,
    wait_until_held_back,
)
from tests.processes import die_with_parent, kill_all, wait_until

pytestmark = [pytest.mark.embedded, pytest.mark.slow, pytest.mark.timeout(600)]

CASES, AMENDED = 40, 8
KILLS = 3
ALL = CASES + AMENDED


class Embedded:
    """One WBCLAB_HOME with its processes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = os.environ | SETTINGS | {"WBCLAB_HOME": str(home)}
        for name in ("WBCLAB_DATABASE_URL", "WBCLAB_REDIS_URL"):
            self.environment.pop(name, None)
        self.running: list[subprocess.Popen[bytes]] = []

    def run(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=self.environment, check=True, timeout=240
        )

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.home / "processes.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(),
            )
        self.running.append(process)
        return process

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.home / "wbclab.sqlite3", timeout=20)) as database:
            return database.execute(query).fetchall()

    def count(self, where: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM specimens_{where}")[0][0])  # noqa: S608

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        kill_all([process.pid])
        process.wait()


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Embedded]:
    found = Embedded(migrated_home(tmp_path))
    yield found
    for process in found.running:
        found.kill(process)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ReceiverProcess]:
    process = ReceiverProcess(tmp_path, seconds=0.02)
    yield process
    process.kill()


def test_reports_through_an_outage_and_killed_deliverers(
    embedded: Embedded, receiver: ReceiverProcess
) -> None:
    deliverer = embedded.start("manage.py", "delivery_worker")
    signing = embedded.start(
        "-m", "tests.interop.sign_cases", receiver.url, str(CASES), str(AMENDED)
    )
    assert signing.wait(200) == 0, (embedded.home / "processes.log").read_text()[-2000:]
    assert embedded.count("delivery") == ALL
    assert embedded.count("delivery WHERE state = 'delivered'") == 0
    wait_until(
        lambda: embedded.count("destination WHERE unreachable_since IS NOT NULL") == 1,
        60,
        "it noticed that nobody answers",
    )
    assert embedded.count("delivery WHERE state = 'held'") == 0

    receiver.start()
    caught = 0
    for kill in range(KILLS):
        goal = 8 * (kill + 1)
        wait_until(
            lambda: embedded.count("delivery WHERE state = 'delivered'") >= goal,  # noqa: B023
            60,
            "it delivers",
        )
        caught += _kill_between_arrival_and_receipt(embedded, deliverer, receiver)
        deliverer = embedded.start("manage.py", "delivery_worker")
    wait_until(
        lambda: embedded.count("delivery WHERE state = 'delivered'") == ALL, 90, "all arrived"
    )

    received = receiver.received()
    kept = first_of_each(received)
    lost = embedded.count("deliveryattempt WHERE outcome = 'lost'")
    assert lost >= caught >= KILLS
    assert len(kept) == len({(one["specimen"], one["version"]) for one in kept}) == ALL
    assert KILLS <= len(received) - len(kept) <= lost
    versions = versions_by_specimen(received)
    assert len(versions) == CASES
    assert all(found == sorted(found) for found in versions.values())


def _kill_between_arrival_and_receipt(
    embedded: Embedded, deliverer: "subprocess.Popen[bytes]", receiver: ReceiverProcess
) -> int:
    """Kill it while a report has arrived of which it does not know; return how many it had in hand.

    The receiver goes on taking reports in meanwhile, and keeps the receipt to itself.
    """
    held = f"delivery WHERE state = 'running' AND worker LIKE '%:{deliverer.pid}:%'"
    receiver.hold()

    def one_has_arrived() -> bool:
        in_hand = embedded.rows(f"SELECT message_id FROM specimens_{held}")  # noqa: S608
        return not {line["id"] for line in receiver.received()}.isdisjoint(id for (id,) in in_hand)

    wait_until_held_back(one_has_arrived)
    embedded.kill(deliverer)
    receiver.let_go()
    return embedded.count(held)


def test_a_ring_wakes_it_and_a_signal_ends_it_in_good_order(
    embedded: Embedded, receiver: ReceiverProcess
) -> None:
    embedded.environment["WBCLAB_SWEEP_SECONDS"] = "300"
    receiver.start()
    deliverer = embedded.start("manage.py", "delivery_worker")
    wait_until(lambda: embedded.count("delivererheartbeat") == 1, 60, "it is ready")
    embedded.run("-m", "tests.interop.sign_cases", receiver.url, "1", "0")
    wait_until(
        lambda: embedded.count("delivery WHERE state = 'delivered'") == 1,
        60,
        "the ring woke it, long before the sweep",
    )
    deliverer.terminate()
    assert deliverer.wait(30) == 0
    assert embedded.count("delivererheartbeat") == 0, "it took its sign of life back"
