"""The real servers the tests run against: throw-away, on free ports, in temporary folders.

As a module it starts PostgreSQL and Redis around a command and hands on its exit code:

    python -m tests.counterparts -- python -m pytest
"""

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psycopg
import pytest
import redis as redis_client

from tests.processes import (
    adopt_orphans,
    descendants,
    die_with_parent,
    end,
    free_port,
    kill_all,
    reap,
    wait_until,
)

ROOT = Path(__file__).resolve().parents[1]
LABELLED_IMAGES = Path(os.environ.get("WBCLAB_DATA", ROOT.parent / "shared" / "data"))
FOLDER_PREFIX = "wbclab-counterpart-"
START_SECONDS = 60


class MissingCounterpartError(Exception):
    """A server the tests want is not installed."""


class ServerError(Exception):
    """A server did not start, or died while it did."""


def find(binary: str) -> Path:
    """Where a binary is, or MissingCounterpartError."""
    if found := shutil.which(binary):
        return Path(found)
    # Debian keeps PostgreSQL's server binaries off the PATH, in one folder for each version.
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{binary}")
    newest = max(versions, key=lambda path: float(path.parts[-3]), default=None)
    if newest is None:
        raise MissingCounterpartError(
            f"{binary} is not installed (scripts/install_debian_packages.sh installs it)"
        )
    return newest


def skip_unless_ci(reason: str) -> NoReturn:
    """End a test whose counterpart is missing: skipped, but failed where CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but {reason}", pytrace=False)
    pytest.skip(reason)


def require(binary: str) -> Path:
    """Where a binary is, for a test that cannot do without it."""
    try:
        return find(binary)
    except MissingCounterpartError as missing:
        skip_unless_ci(str(missing))


def chromium_path() -> Path:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        with suppress(MissingCounterpartError):
            return find(name)
    return require("chromium")


class Server(ABC):
    """One server process in a folder of its own; it keeps its port over restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.log_path = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The address in the form that the settings take."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _is_ready(self) -> bool:
        """Does this process, not another on the same port, answer?"""

    # What a child does when the test run dies.
    last_signal = signal.SIGKILL
    polite_signal = signal.SIGTERM

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerError(f"{type(self).__name__} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start, and return when it answers."""
        deadline = time.monotonic() + START_SECONDS
        while not self._try_to_start():
            if time.monotonic() > deadline:
                log = self.log_path.read_text(errors="replace")
                raise ServerError(f"{type(self).__name__} does not start:\n{log[-2000:]}")
            time.sleep(0.1)

    def _try_to_start(self) -> bool:
        with self.log_path.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal ends the tests first, then the server.
            self._process = process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=unprivileged_user(),
                start_new_session=True,
                preexec_fn=die_with_parent(self.last_signal),
            )
        wait_until(
            lambda: process.poll() is not None or self._is_ready(),
            START_SECONDS,
            f"{type(self).__name__} answers",
        )
        return process.poll() is None

    def stop(self) -> None:
        """Shut down in good order."""
        if self._process is not None:
            end(self._process, self.polite_signal)
            self._process = None

    def kill(self) -> None:
        """kill -9, children included."""
        if self._process is not None:
            kill_all([self._process.pid, *descendants(self._process.pid)])
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()


class PostgreSQL(Server):
    """PostgreSQL 15 as Debian ships it; without fsync, unless `durable`."""

    last_signal = signal.SIGQUIT  # SIGKILL would leave its back ends running for a while
    polite_signal = signal.SIGINT  # "fast": does not wait for clients to leave

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        super().__init__(folder)
        self._durability = {} if durable else {"fsync": "off", "full_page_writes": "off"}

    @property
    def url(self) -> str:
        return f"postgresql://wbclab@127.0.0.1:{self.port}/wbclab"

    def create(self) -> None:
        """Lay out the data folder, start, and create the database."""
        subprocess.run(
            [
                find("initdb"), "--pgdata", self.folder / "data", "--username", "wbclab",
                "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync",
            ],
            check=True,
            capture_output=True,
            cwd=self.folder,
            user=unprivileged_user(),
        )  # fmt: skip
        self.start()
        with psycopg.connect(self._maintenance_url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE wbclab")

    @property
    def _maintenance_url(self) -> str:
        return self.url.removesuffix("wbclab") + "postgres"

    @property
    def options(self) -> dict[str, str]:
        """What postgresql.conf would say."""
        return {
            "listen_addresses": "127.0.0.1",
            # No socket file: its path would have to fit in 107 bytes.
            "unix_socket_directories": "",
            "max_connections": "200",
        } | self._durability

    def _command(self) -> list[str]:
        options = self.options
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [
            str(find("postgres")), "-D", str(self.folder / "data"), "-p", str(self.port), *flags,
        ]  # fmt: skip

    def _is_ready(self) -> bool:
        # Its own file says so, which no other server on this port can write.
        with suppress(OSError):
            lines = (self.folder / "data" / "postmaster.pid").read_text().split("\n")
            return lines[0] == str(self.pid) and lines[7:8] == ["ready   "]
        return False


class Redis(Server):
    """Redis without persistence: what it forgets, the database must know."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        return [
            str(find("redis-server")), "--bind", "127.0.0.1", "--port", str(self.port),
            "--save", "", "--appendonly", "no", "--dir", str(self.folder),
        ]  # fmt: skip

    def _is_ready(self) -> bool:
        with suppress(redis_client.RedisError), redis_client.Redis.from_url(self.url) as client:
            return bool(client.info("server")["process_id"] == self.pid)
        return False


def unprivileged_user() -> str | None:
    """Whom to run a server as: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A temporary folder, marked as in use by a lock that ends with this process."""
    _remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    with (folder / "in_use").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if user := unprivileged_user():
            shutil.chown(folder, user)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers() -> None:
    """Remove the folders of runs that were killed; those of runs beside this one are locked."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime < 60:
                continue  # perhaps made this moment, and not locked yet
            with (folder / "in_use").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres(*, durable: bool = False) -> Iterator[PostgreSQL]:
    find("initdb")
    with temporary_folder() as folder:
        server = PostgreSQL(folder, durable=durable)
        try:
            server.create()
            yield server
        finally:
            server.kill()


@contextmanager
def redis() -> Iterator[Redis]:
    find("redis-server")
    with temporary_folder() as folder:
        server = Redis(folder)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def run_beside_servers(command: Sequence[str]) -> int:
    """Run a command with the servers' addresses in its environment; leave nothing running."""
    adopt_orphans()
    environment = dict(os.environ)
    with ExitStack() as stack:
        environment["WBCLAB_HOME"] = str(stack.enter_context(temporary_folder()))
        try:
            environment["WBCLAB_DATABASE_URL"] = stack.enter_context(postgres()).url
            environment["WBCLAB_REDIS_URL"] = stack.enter_context(redis()).url
        except MissingCounterpartError as missing:
            if os.environ.get("CI") == "true":
                print(f"CI=true, but {missing}", file=sys.stderr)
                return 1
            print(f"{missing}: what needs it will be skipped.", file=sys.stderr)
        servers = descendants(os.getpid())
        try:
            return _run(command, environment)
        finally:
            kill_all([pid for pid in descendants(os.getpid()) if pid not in servers])


def _run(command: Sequence[str], environment: dict[str, str]) -> int:
    # In our process group, so that a debugger in a test may read the terminal.
    process = subprocess.Popen(command, env=environment, preexec_fn=die_with_parent())
    try:
        returncode = process.wait()
    except KeyboardInterrupt:
        # Ctrl-C reached the command as well; a signal sent to us alone did not.
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        end(process, signal.SIGINT)
        return 130
    except SystemExit:
        end(process, signal.SIGTERM)
        raise
    return returncode if returncode >= 0 else 128 - returncode


def _exit_on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str]) -> int:
    command = list(arguments)
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        print("usage: python -m tests.counterparts -- COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 64
    signal.signal(signal.SIGTERM, _exit_on_signal)
    signal.signal(signal.SIGHUP, _exit_on_signal)
    try:
        return run_beside_servers(command)
    finally:
        reap()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
