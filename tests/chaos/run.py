"""One run: start everything, put load on it, strike it, let it come to rest, look."""

import logging
import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.faults import FAULTS, Broken, LeftOut
from tests.chaos.hospital import OrderSender, Scanner, stop_all
from tests.chaos.journal import Journal
from tests.chaos.laboratory import ROLES, ROOT, Laboratory
from tests.chaos.ledger import Ledger
from tests.chaos.load import CaseClient, Client, Entrance, PageReader, Pictures, PredictClient
from tests.chaos.servers import DurablePostgreSQL, Volume
from tests.counterparts import redis, temporary_folder, unprivileged_user
from tests.processes import wait_until

# Each is generous: a run of ten minutes must not end because a machine is slow.
DRAIN_SECONDS: Final = 120
WELL_SECONDS: Final = 180


@dataclass(frozen=True)
class Plan:
    """What a run is made of: all but the machine's own moments follows from the seed."""

    seed: int
    seconds: float
    faults: Sequence[str]
    clients: int
    services: Sequence[str] = tuple(ROLES)
    pauses: tuple[float, float] = (1.0, 5.0)


@dataclass
class Outcome:
    """How a run ended: what was wrong (nothing, if all is well), what was done, what was seen."""

    faults: list[str] = field(default_factory=list)
    struck: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


@contextmanager
def laboratory(plan: Plan, journal: Journal) -> Iterator[Laboratory]:
    """Servers and disks of a run; whatever happens, nothing is left."""
    with ExitStack() as stack:
        home = stack.enter_context(temporary_folder())
        broker = stack.enter_context(redis())
        images = Volume(home / "images", 400)
        stack.callback(images.unmount)
        disk = Volume(home / "postgres", 640)
        stack.callback(disk.unmount)
        safe = home / "safe"
        safe.mkdir()
        if user := unprivileged_user():
            shutil.chown(disk.folder, user)
        database = DurablePostgreSQL(disk.folder, safe)
        database.log_path = safe / "server.log"
        stack.callback(database.kill)
        database.create()
        lab = Laboratory(home, database, broker, images, disk, journal, tuple(plan.services))
        stack.callback(lab.close)
        yield lab


def prepare(lab: Laboratory) -> dict[str, str]:
    """Migrate, set Django up in this process, make people; return their tokens."""
    done = lab.run("migrate", "--noinput")
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    os.environ.update({k: v for k, v in lab.environment().items() if k.startswith("WBCLAB_")})
    os.environ["DJANGO_SETTINGS_MODULE"] = "wbclab.settings"
    import django

    django.setup()
    for talkative in ("httpx", "pynetdicom"):
        logging.getLogger(talkative).setLevel(logging.CRITICAL)
    from tests.chaos.people import make_laboratory

    tokens = make_laboratory(lab.receivers)
    _let_go_of_the_database()
    return tokens


def _let_go_of_the_database() -> None:
    from django.db import connection

    connection.close()
    connection.close_pool()  # type: ignore[attr-defined] # of PostgreSQL


def execute(plan: Plan, journal: Journal, keep: Path) -> Outcome:
    """Run it; the processes' logs stay in `keep` where something was wrong."""
    outcome, ledger, draw = Outcome(), Ledger(), random.Random(plan.seed)
    with laboratory(plan, journal) as lab:
        try:
            tokens = prepare(lab)
            lab.open()
            clients = _clients(plan, Entrance(lab.url, tokens), ledger, lab.ports)
            journal.write("open", seed=plan.seed, clients=[client.name for client in clients])
            for client in clients:
                client.start()
            _strike(plan, lab, ledger, draw, outcome)
            stop_all(clients, 60)
            _come_to_rest(lab, clients, journal, outcome)
            _look(lab, ledger, outcome)
        finally:
            if outcome.faults or not outcome.figures:
                _keep_logs(lab, keep)
    outcome.figures["answers"] = dict(sorted(ledger.answers.items()))
    outcome.figures["rounds"] = {client.name: client.rounds for client in clients}
    return outcome


def _clients(plan: Plan, entrance: Entrance, ledger: Ledger, ports: dict[str, int]) -> list[Client]:
    pictures = Pictures(plan.seed)
    clients: list[Client] = [
        CaseClient(entrance, ledger, pictures, plan.seed * 100 + n) for n in range(plan.clients)
    ]
    clients.append(PredictClient(entrance, ledger, pictures, plan.seed * 100 + 50))
    clients.append(PageReader(entrance, ledger, pictures, plan.seed * 100 + 60))
    if "dicom-listener" in plan.services:
        clients.append(Scanner(entrance, ledger, pictures, plan.seed * 100 + 70, ports["dicom"]))
    if "hl7-listener" in plan.services:
        clients.append(OrderSender(entrance, ledger, pictures, plan.seed * 100 + 80, ports["hl7"]))
    return clients


def _strike(
    plan: Plan, lab: Laboratory, ledger: Ledger, draw: random.Random, outcome: Outcome
) -> None:
    """Fault after fault, each once in every turn, until the time is up."""
    deadline = time.monotonic() + plan.seconds
    turn: list[str] = []
    while time.monotonic() < deadline:
        time.sleep(min(draw.uniform(*plan.pauses), max(0.0, deadline - time.monotonic())))
        turn = turn or draw.sample(list(plan.faults), len(plan.faults))
        name = turn.pop()
        if draw.random() < 0.6:  # else it falls on what the one before has left
            lab.recover(min(30.0, deadline - time.monotonic()))
        lab.journal.write("fault", fault=name)
        try:
            seen = FAULTS[name](lab, random.Random(draw.getrandbits(32)), ledger)
        except LeftOut as reason:
            outcome.left_out[name] = str(reason)
            lab.journal.write("left out", fault=name, reason=str(reason))
            continue
        except Broken as reason:
            outcome.faults.append(f"{name}: {reason}")
            lab.journal.write("broken", fault=name, reason=str(reason))
            continue
        outcome.struck[name] = outcome.struck.get(name, 0) + 1
        lab.journal.write("undone", fault=name, **seen)


def _come_to_rest(
    lab: Laboratory, clients: list[Client], journal: Journal, outcome: Outcome
) -> None:
    """Everything runs, the senders send what was not taken, the queues run empty."""
    from tests.chaos.invariants import queues_are_empty

    journal.write("load ended")
    try:
        lab.wait_until_well(WELL_SECONDS)
        for client in clients:
            if isinstance(client, Scanner | OrderSender):
                client.finish(60)
        wait_until(queues_are_empty, DRAIN_SECONDS, "the queues are empty")
    except TimeoutError as error:
        outcome.faults.append(str(error))
    journal.write("at rest")


def _look(lab: Laboratory, ledger: Ledger, outcome: Outcome) -> None:
    from tests.chaos.invariants import CHECKS

    for check in CHECKS:
        found = check(lab, ledger, outcome.figures)
        lab.journal.write("check", check=check.__name__, wrong=len(found), first=found[:5])
        outcome.faults += found
    _let_go_of_the_database()


def _keep_logs(lab: Laboratory, keep: Path) -> None:
    keep.mkdir(parents=True, exist_ok=True)
    for path in [*lab.home.glob("*.log"), *lab.home.glob("*.jsonl"), lab.database.log_path]:
        if path.exists():
            name = "postgres.log" if path == lab.database.log_path else path.name
            shutil.copy(path, keep / name)


__all__ = ["ROOT", "Outcome", "Plan", "execute"]
