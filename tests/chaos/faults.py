"""The faults: each does harm to a running laboratory, undoes it, and says what was seen.

What a fault needs and does not find (a mount, a C compiler) leaves it out, which the log says.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psycopg
import redis

from tests.chaos.laboratory import LEASE_SECONDS, Laboratory
from tests.chaos.ledger import Ledger
from tests.processes import descendants, wait_until
from tests.service import health

Seen = dict[str, Any]
# Where the leases of a process stand, by how its name begins.
_LEASED: Final = {"worker": "specimens_job", "delive": "specimens_delivery"}


class LeftOut(Exception):
    """This machine cannot do it; the text says why."""


class Broken(Exception):
    """The platform did not behave as it must during the fault."""


def _killed(*names: str) -> Callable[[Laboratory, random.Random, Ledger], Seen]:
    def fault(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
        name = draw.choice([name for name in names if name in lab.services])
        held = _wait_for_work(lab, name) if draw.random() < 0.7 else None
        return {"target": name, "pid": lab.kill(name), "in_hand": held}

    return fault


def _wait_for_work(lab: Laboratory, name: str, seconds: float = 8) -> int | None:
    """Wait until the process holds a lease; how many. None where it is not one that holds any."""
    table = _LEASED.get(name[:6])
    pids = lab.services[name].pids()
    if table is None or not pids:
        return None
    mine = " OR ".join(f"worker LIKE '%:{pid}:%'" for pid in pids)
    query = f"SELECT count(*) FROM {table} WHERE state = 'running' AND ({mine})"  # noqa: S608
    deadline, found = time.monotonic() + seconds, 0
    with suppress(psycopg.Error), psycopg.connect(lab.database.url, connect_timeout=2) as asking:
        while time.monotonic() < deadline and not found:
            row = asking.execute(query.encode()).fetchone()
            asking.rollback()
            found = row[0] if row else 0
    return found


def all_killed(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """Every process of ours at once, as when the machine is switched off and on."""
    for name in lab.services:
        lab.kill(name)
    return {"target": "all services"}


def worker_stopped_beyond_its_lease(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """SIGSTOP with jobs in hand until others have taken them over, then SIGCONT."""
    name = draw.choice([name for name in lab.services if name[:6] in _LEASED])
    held, deadline = 0, time.monotonic() + 20
    while not held and time.monotonic() < deadline:
        if _wait_for_work(lab, name):
            lab.signal(name, signal.SIGSTOP)
            held = _wait_for_work(lab, name, 0.1) or 0
            if not held:  # it was faster than the signal
                lab.signal(name, signal.SIGCONT)
    if not held:
        raise LeftOut(f"{name} was never caught with work in hand")
    try:
        time.sleep(LEASE_SECONDS + draw.uniform(1.5, 4))
    finally:
        lab.signal(name, signal.SIGCONT)
    return {"target": name, "in_hand": held}


def postgres_killed(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """kill -9 of all its processes, some seconds away, crash recovery."""
    away = draw.uniform(0.5, 6)
    lab.database.kill()
    time.sleep(away)
    began = time.monotonic()
    lab.database.start()
    recovery = time.monotonic() - began
    return {"target": "postgres", "away_s": round(away, 1), "recovery_s": round(recovery, 1)}


def postgres_backend_killed(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """kill -9 of one backend: PostgreSQL throws everybody out and recovers by itself."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = 'wbclab' AND pid <> pg_backend_pid()"
    try:
        pids = [int(str(row[0])) for row in lab.database.rows(query)]
    except psycopg.Error as error:
        raise LeftOut(f"the database was away: {error}") from error
    if not pids:
        raise LeftOut("nobody was connected")
    pid = draw.choice(pids)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return {"target": "postgres backend", "pid": pid}


def postgres_stopped(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """SIGSTOP: connections stay open, and nobody answers."""
    away = draw.uniform(2, LEASE_SECONDS + 3)
    pids = [lab.database.pid, *descendants(lab.database.pid)]
    _to_all(pids, signal.SIGSTOP)
    try:
        time.sleep(away)
    finally:
        _to_all(pids, signal.SIGCONT)
    return {"target": "postgres", "away_s": round(away, 1)}


def _to_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def redis_killed(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    away = draw.uniform(1, 6)
    lab.redis.kill()
    time.sleep(away)
    lab.redis.start()
    return {"target": "redis", "away_s": round(away, 1)}


def redis_flushed(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    with redis.Redis.from_url(lab.redis.url) as client:
        keys = client.dbsize()
        client.flushall()
    return {"target": "redis", "keys": keys}


def redis_stopped(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """SIGSTOP: it takes connections and never answers."""
    away = draw.uniform(3, 8)
    os.kill(lab.redis.pid, signal.SIGSTOP)
    try:
        time.sleep(away)
    finally:
        os.kill(lab.redis.pid, signal.SIGCONT)
    return {"target": "redis", "away_s": round(away, 1)}


def image_disk_full(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """No byte left where images go; what is sent meanwhile is refused, and health says so."""
    if not lab.images.mounted:
        raise LeftOut("no file system can be mounted here")
    away = draw.uniform(3, 8)
    taken = lab.images.fill()
    try:
        time.sleep(away)
        said = _said_by_health(lab, "storage")
    finally:
        lab.images.release()
    if said and "full" not in said and "cannot be written" not in said:
        raise Broken(f"the disk was full, and health said: {said}")
    return {"target": "image disk", "away_s": round(away, 1), "taken": taken, "health": said}


def database_disk_full(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """No byte left for tables and log: PostgreSQL refuses, or panics and has to be started."""
    if not lab.database_disk.mounted:
        raise LeftOut("no file system can be mounted here")
    away = draw.uniform(3, 8)
    taken = lab.database_disk.fill()
    try:
        time.sleep(away)
    finally:
        lab.database_disk.release()
    restarted = False
    try:
        wait_until(lambda: _answers(lab), 15, "PostgreSQL answers", patient=False)
    except TimeoutError:
        lab.database.kill()
        lab.database.start()
        restarted = True
    return {"target": "database disk", "away_s": round(away, 1), "taken": taken,
            "started_again": restarted}  # fmt: skip


def _answers(lab: Laboratory) -> bool:
    time.sleep(0.2)
    with suppress(psycopg.Error):
        return lab.database.rows("SELECT 1") == [(1,)]
    return False


def disk_hangs(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """Every write waits, of the images or of the database, once or in short turns (slow disk)."""
    volume, name = draw.choice([(lab.images, "image disk"), (lab.database_disk, "database disk")])
    if not volume.mounted:
        raise LeftOut("no file system can be mounted here")
    turns = draw.choice([1, 8])
    seconds = draw.uniform(2, 6) / turns
    for _ in range(turns):
        volume.hang(seconds)
        time.sleep(0.1)
    return {"target": name, "turns": turns, "each_s": round(seconds, 2)}


def clock_jump(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """The clock of one process is an hour off for some seconds, forward or back."""
    if lab.clock_library is None:
        raise LeftOut("no C compiler for the clock that can be set")
    name = draw.choice(sorted(lab.services))
    offset = draw.choice([3600, -3600])
    seconds = draw.uniform(4, 10)
    lab.services[name].clock.set_ahead(offset)
    try:
        time.sleep(seconds)
        if draw.random() < 0.5:  # what it leased by that clock, nobody gives back
            lab.kill(name)
    finally:
        lab.services[name].clock.set_ahead(0)
    return {"target": name, "offset_s": offset, "for_s": round(seconds, 1)}


def model_broken(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """The weights are damaged or missing when workers start: they refuse, and health says so."""
    how = draw.choice(["missing", "damaged"])
    weights = draw.choice([lab.model / "dmfnet.onnx", lab.model / "decision.npz"])
    kept = lab.home / "kept-weights"
    shutil.copy2(weights, kept)
    if how == "missing":
        weights.unlink()
    else:
        _replace_one_byte(weights, draw)
    workers = [name for name in lab.services if name.startswith("worker")]
    before = {name: len(lab.log(name)) for name in workers}
    try:
        for name in before:
            lab.kill(name)
        wait_until(
            lambda: all(_refusal(lab, *one) for one in before.items()), 120, "workers refuse"
        )
        wait_until(lambda: bool(_said_by_health(lab, "worker")), 30, "health says so")
        said = _said_by_health(lab, "worker")
        refusals = {_refusal(lab, *one) for one in before.items()}
    except TimeoutError as error:
        raise Broken(f"the model was {how}: {error}") from error
    finally:
        kept.replace(weights)
    return {"target": "model", "how": how, "refusal": sorted(refusals), "health": said}


def _replace_one_byte(path: Path, draw: random.Random) -> None:
    """Under another inode, as a copy that went wrong: who has the file open keeps the old one."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 0xFF
    damaged = path.with_suffix(".damaged")
    damaged.write_bytes(content)
    damaged.replace(path)


def _refusal(lab: Laboratory, name: str, before: int) -> str:
    """The line with which a worker refused the model since its log was so long."""
    lines = lab.log(name)[before:].splitlines()
    said = [line.strip() for line in lines if "was changed" in line or "is incomplete" in line]
    return said[-1].replace(str(lab.home), "")[:200] if said else ""


def _said_by_health(lab: Laboratory, part: str) -> str:
    """What /api/health says of a part that is not well; empty where it is, or nobody answers."""
    answer = health(lab.url) or {}
    found = answer.get("parts", {}).get(part, {"status": "ok"})
    return "" if found["status"] == "ok" else str(found.get("message", ""))


def failed_over_with_log(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """A base backup under load, then the data folder is lost: backup and log, nothing missing."""
    return _fail_over(lab, draw, ledger, with_log=True)


def failed_over_without_log(lab: Laboratory, draw: random.Random, ledger: Ledger) -> Seen:
    """The same with the log lost as well: what came after the backup is gone, and nothing else."""
    return _fail_over(lab, draw, ledger, with_log=False)


def _fail_over(lab: Laboratory, draw: random.Random, ledger: Ledger, *, with_log: bool) -> Seen:
    with suppress(TimeoutError):  # it may still recover from the fault before
        wait_until(lambda: _answers(lab), 30, "PostgreSQL answers", patient=False)
    backup_began = time.monotonic()
    try:
        backup = lab.database.back_up()
    except subprocess.CalledProcessError as error:
        raise LeftOut(f"no backup could be taken: {error.stderr.decode()[-200:]}") from error
    after = draw.uniform(2, 6)
    time.sleep(after)
    if not with_log:
        # Until the old server is dead promises are made that will be broken.
        ledger.lost_spans.append((backup_began, float("inf")))
    began = time.monotonic()
    lab.database.lose_and_restore(backup, with_log=with_log)
    if not with_log:
        ledger.lost_spans[-1] = (backup_began, time.monotonic())
    return {"target": "postgres", "with_log": with_log, "after_s": round(after, 1),
            "restored_in_s": round(time.monotonic() - began, 1)}  # fmt: skip


Fault = Callable[[Laboratory, random.Random, Ledger], Seen]
FAULTS: Final[dict[str, Fault]] = {
    "web_killed": _killed("web"),
    "worker_killed": _killed("worker-1", "worker-2"),
    "deliverer_killed": _killed("deliverer-1", "deliverer-2"),
    "sweeper_killed": _killed("sweeper"),
    "dicom_listener_killed": _killed("dicom-listener"),
    "hl7_listener_killed": _killed("hl7-listener"),
    "all_killed": all_killed,
    "stopped_beyond_its_lease": worker_stopped_beyond_its_lease,
    "postgres_killed": postgres_killed,
    "postgres_backend_killed": postgres_backend_killed,
    "postgres_stopped": postgres_stopped,
    "redis_killed": redis_killed,
    "redis_flushed": redis_flushed,
    "redis_stopped": redis_stopped,
    "image_disk_full": image_disk_full,
    "database_disk_full": database_disk_full,
    "disk_hangs": disk_hangs,
    "clock_jump": clock_jump,
    "model_broken": model_broken,
    "failed_over_with_log": failed_over_with_log,
    "failed_over_without_log": failed_over_without_log,
}
