"""A short run of the chaos suite; `make chaos` is the long one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.counterparts import require
from tests.interop.receivers import first_of_each, versions_by_specimen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
# Fewer of all: what starts, what strikes, how long.
SERVICES = "web,worker-1,worker-2,sweeper,deliverer-1"
FAULTS = "worker_killed,postgres_killed,redis_flushed,deliverer_killed"


def test_a_short_run_keeps_every_promise() -> None:
    for binary in ("postgres", "redis-server"):
        require(binary)
    command = ["-m", "tests.chaos", "--seed", "7", "--minutes", "0.2", "--pauses", "0.3,1"]
    done = subprocess.run(
        [sys.executable, *command, "--clients", "2", "--services", SERVICES,
         "--faults", FAULTS],
        cwd=ROOT, capture_output=True, text=True, timeout=390, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert "PASSED" in done.stdout


def test_a_repeat_behind_a_later_version_is_no_disorder() -> None:
    """As after a backup in which the first version was still to be delivered."""
    came = [("a", 1), ("b", 2), ("a", 1)]
    lines = [{"id": one, "specimen": "S", "version": version} for one, version in came]
    assert versions_by_specimen(first_of_each(lines)) == {"S": [1, 2]}
    assert versions_by_specimen(first_of_each(lines[1:])) == {"S": [2, 1]}
