"""A real HL7 listener over a database of its own, as a process that can be killed.

Run as a script it is that listener; it kills itself with -9 between the commit of a message and its
acknowledgement while the file named by WBCLAB_TEST_DIE exists.
"""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specimens.interop.hl7.framing import FrameReader, frame
from tests.homes import migrated_home
from tests.processes import die_with_parent, end, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
SETUP = """
from specimens.models import Role, Site, User
site, _ = Site.objects.get_or_create(code="main", defaults={"name": "Main"})
user, _ = User.objects.get_or_create(username="integration", role=Role.INTEGRATION)
user.sites.set([site])
"""


@dataclass
class Listener:
    """A listener at a port, and the database behind it."""

    home: Path
    port: int
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    @property
    def deadly_file(self) -> Path:
        return self.home / "die"

    def connect(self, timeout: float = 20) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def exchange(self, message: bytes) -> bytes:
        """Send a message on a connection of its own, return the acknowledgement."""
        with self.connect() as connection:
            connection.sendall(frame(message))
            return receive(connection)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.home / "wbclab.sqlite3", timeout=20)) as database:
            return database.execute(query).fetchall()

    def log(self) -> str:
        return (self.home / "listener.log").read_text(errors="replace")


def receive(connection: socket.socket) -> bytes:
    """Read one message; b"" where the connection ends without one."""
    reader = FrameReader(10_000_000)
    while True:
        data = connection.recv(65536)
        if not data:
            return b""
        if messages := reader.feed(data):
            return messages[0]


def manage(home: Path, *arguments: str) -> None:
    """Run manage.py over a home of its own."""
    subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment_of(home),
        check=True,
        capture_output=True,
        timeout=120,
    )


def environment_of(home: Path, **more: str) -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith("WBCLAB_")}
    return own | {"WBCLAB_HOME": str(home), "PYTHONPATH": str(ROOT)} | more


def make_home(home: Path) -> Path:
    """A migrated database with one site and its integration account."""
    migrated_home(home)
    manage(home, "shell", "-c", SETUP)
    return home


@contextmanager
def running_listener(home: Path, port: int = 0, **settings: str) -> Iterator[Listener]:
    """Start the listener over `home`; it accepts connections when handed out."""
    port = port or free_port()
    environment = environment_of(
        home, WBCLAB_HL7_PORT=str(port), WBCLAB_TEST_DIE=str(home / "die"), **settings
    )
    with (home / "listener.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.interop.hl7_listener"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(),
        )
    listener = Listener(home, port, environment, process)
    try:
        wait_until(lambda: _accepts(listener), 60, "the listener listens")
        yield listener
    finally:
        end(process, signal.SIGTERM, 20)


def _accepts(listener: Listener) -> bool:
    if listener.process.poll() is not None:
        raise RuntimeError(f"the listener ended:\n{listener.log()[-3000:]}")
    time.sleep(0.05)
    with suppress(OSError):
        listener.connect(timeout=1).close()
        return True
    return False


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wbclab.settings")
    import django

    django.setup()
    from django.core.management import call_command

    from specimens.management.commands import hl7_listener
    from specimens.services.inbound_messages import receive_message

    def take_and_die(**values: Any) -> bytes:
        answer = receive_message(**values)
        if Path(os.environ["WBCLAB_TEST_DIE"]).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(hl7_listener, "receive_message", take_and_die)  # noqa: B010 - not its own
    call_command("hl7_listener")


if __name__ == "__main__":
    main()
