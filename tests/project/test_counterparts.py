"""The throw-away servers: real, apart from each other, and gone when the run is."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis as redis_client

from tests import counterparts
from tests.processes import descendants, die_with_parent, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def postgres() -> Iterator[counterparts.PostgreSQL]:
    counterparts.require("postgres")
    with counterparts.postgres() as server:
        yield server


def test_postgres_keeps_what_was_committed_over_kill_and_restart(
    postgres: counterparts.PostgreSQL,
) -> None:
    with psycopg.connect(postgres.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres.url)
    postgres.start()
    postgres.restart()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchall() == [(42,)]


def test_redis_restarts_empty() -> None:
    counterparts.require("redis-server")
    with counterparts.redis() as server, redis_client.Redis.from_url(server.url) as client:
        client.set("ring", "once")
        server.restart()
        assert client.get("ring") is None


def test_two_runs_at_once_do_not_meet(postgres: counterparts.PostgreSQL) -> None:
    with counterparts.postgres() as other:
        assert other.port != postgres.port
        with psycopg.connect(other.url) as connection:
            connection.execute("CREATE TABLE theirs ()")
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT to_regclass('theirs')").fetchone() == (None,)
    assert not other.folder.exists()


def test_folders_of_killed_runs_are_removed_and_those_in_use_are_not(
    postgres: counterparts.PostgreSQL,
) -> None:
    leftover = postgres.folder.with_name(f"{counterparts.FOLDER_PREFIX}of-a-killed-run")
    leftover.mkdir(exist_ok=True)
    (leftover / "in_use").touch()
    for folder in (leftover, postgres.folder):
        os.utime(folder, (0, 0))
    counterparts._remove_leftovers()
    assert not leftover.exists()
    assert postgres.folder.exists()


def start_run(*command: str) -> subprocess.Popen[bytes]:
    for binary in ("postgres", "redis-server"):
        counterparts.require(binary)
    ask_the_kernel = die_with_parent()

    def as_from_a_terminal() -> None:
        # A shell's background job, as these tests may be part of one, ignores SIGINT.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        ask_the_kernel()

    return subprocess.Popen(
        [sys.executable, "-m", "tests.counterparts", "--", *command],
        preexec_fn=as_from_a_terminal,
    )


def test_the_command_gets_both_addresses_and_its_exit_code_comes_back() -> None:
    look = '[ -n "$WBCLAB_DATABASE_URL$WBCLAB_REDIS_URL" ] && [ -d "$WBCLAB_HOME" ] && exit 7'
    assert start_run("bash", "-c", look).wait(60) == 7


@pytest.mark.parametrize(
    ("how", "returncode"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)],
)
def test_nothing_is_left_running(how: signal.Signals, returncode: int, tmp_path: Path) -> None:
    started = tmp_path / "started"
    # A command with a child of its own, which closes neither by itself.
    run = start_run("bash", "-c", f"sleep 300 & touch {started}; wait")
    wait_until(started.exists, 60, "the command starts")
    below = descendants(run.pid)
    assert len(below) >= 4  # PostgreSQL, Redis, the command, its child
    time.sleep(0.1)
    run.send_signal(how)
    assert run.wait(30) == returncode
    if how is signal.SIGKILL:
        below = below[:3]  # what the command itself leaves behind is its own then
    wait_until(lambda: not any(is_running(pid) for pid in below), 20, "all are gone")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
