"""A short run of the chaos suite; `make chaos` is the long one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.counterparts import require

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
FAULTS = "worker_killed,postgres_killed,redis_flushed,web_killed,clock_jump,image_disk_full"


def test_a_short_run_keeps_every_promise() -> None:
    for binary in ("postgres", "redis-server"):
        require(binary)
    command = ["-m", "tests.chaos", "--seed", "7", "--minutes", "0.25", "--pauses", "0.3,1"]
    done = subprocess.run(
        [sys.executable, *command, "--clients", "2", "--faults", FAULTS],
        cwd=ROOT, capture_output=True, text=True, timeout=390, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert "PASSED" in done.stdout
