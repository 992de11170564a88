"""The whole embedded service as `make run` starts it, in a folder of its own, on a free port."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.homes import migrated_home
from tests.processes import (
    descendants,
    die_with_parent,
    end,
    free_port,
    kill_all,
    wait_until,
)

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120


@dataclass(frozen=True)
class Service:
    """A running service and how to enter it."""

    url: str
    port: int
    home: Path
    process: subprocess.Popen[bytes]
    token: str
    accounts: list[dict[str, str]] = field(default_factory=list)

    def account(self, role: str) -> dict[str, str]:
        """The demo account of a role: username and password."""
        return next(account for account in self.accounts if account["role"] == role)

    def log(self) -> str:
        """What web and worker have written so far."""
        return (self.home / "service.log").read_text(errors="replace")

    def processes(self) -> dict[str, int]:
        """The process ids of web and worker."""
        found = {}
        for pid in descendants(self.process.pid):
            line = b""
            with suppress(OSError):  # it has ended meanwhile
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"uvicorn" in line:
                found["web"] = pid
            elif b"classification_worker" in line:
                found.setdefault("worker", pid)
        return found

    def peak_memory(self) -> dict[str, int]:
        """The most memory each had so far, in bytes (VmHWM): web, worker, the largest decoder."""
        processes = self.processes()
        decoders = descendants(processes["worker"])
        largest = max((_peak(pid) for pid in decoders), default=0)
        return {name: _peak(pid) for name, pid in processes.items()} | {"decoder": largest}


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # it has ended: what is left of it has no memory


def health(url: str) -> dict[str, Any] | None:
    """What /api/health says, or None where nobody answers."""
    try:
        with urllib.request.urlopen(f"{url}/api/health", timeout=5) as response:  # noqa: S310
            body: dict[str, Any] = json.load(response)
            return body
    except urllib.error.HTTPError as error:
        with error:
            answer: dict[str, Any] = json.load(error)
            return answer
    except OSError:
        return None


@contextmanager
def running_service(home: Path, **environment: str) -> Iterator[Service]:
    """Start the service over `home` in demo mode; healthy when handed out, ended behind.

    Its tables are laid out before: that `serve` does so in an empty folder is seen in the browser.
    `environment` is added to the settings: WBCLAB_PREDICT_WAIT_SECONDS="30", for example.
    """
    migrated_home(home)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"WBCLAB_HOME": str(home), "WBCLAB_PORT": str(port), "WBCLAB_DEMO": "1"}
    inherited = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    with (home / "service.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve"],
            cwd=ROOT,
            env=inherited | own | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
        try:
            _wait_for_health(process, url, home)
            entrance = json.loads((home / "demo.json").read_text())
            yield Service(url, port, home, process, entrance["token"], entrance["accounts"])
        finally:
            children = descendants(process.pid)
            end(process, signal.SIGTERM, seconds=20)
            kill_all(children)


# The service under test is the embedded one, whatever the test run itself uses.
_NOT_INHERITED = frozenset(
    {"WBCLAB_DATABASE_URL", "WBCLAB_REDIS_URL", "WBCLAB_DEBUG", "DJANGO_SETTINGS_MODULE"}
)


def _wait_for_health(process: subprocess.Popen[bytes], url: str, home: Path) -> None:
    last: dict[str, Any] | None = None

    def is_well() -> bool:
        nonlocal last
        if process.poll() is not None:
            return True
        time.sleep(0.2)
        last = health(url)
        return last is not None and last["status"] == "ok"

    try:
        wait_until(is_well, START_SECONDS, "the service is healthy")
    except TimeoutError as error:
        raise TimeoutError(f"{error}; last answer: {last}") from error
    if process.poll() is not None:
        text = (home / "service.log").read_text(errors="replace")
        raise RuntimeError(f"the service ended with {process.returncode}:\n{text[-3000:]}")
