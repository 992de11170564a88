"""Receivers as processes that can be killed, and what they wrote down. Needs no Django."""

import json
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.processes import die_with_parent, free_port, kill_all, wait_until

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a-secret-of-more-than-sixteen-bytes"
SECRET_ENV = "WBCLAB_DELIVERY_TEST_SECRET"


class ReceiverProcess:
    """A receiver as a process; it keeps its port and its log over restarts."""

    def __init__(self, folder: Path, seconds: float = 0.0, kind: str = "webhook") -> None:
        self.kind = kind
        self.port = free_port()
        self.log = folder / f"received-{self.port}.jsonl"
        self._held = held_by(self.log)
        self.seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/reports"

    @property
    def host_and_port(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and return when it listens."""
        module = f"tests.interop.{self.kind}_receiver"
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", module, str(self.port), str(self.log), str(self.seconds)],
            cwd=ROOT,
            preexec_fn=die_with_parent(),
        )
        wait_until(
            lambda: process.poll() is not None or self._listens(), 60, f"{self.kind} listens"
        )
        assert process.poll() is None, f"the {self.kind} receiver ended with {process.returncode}"

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            kill_all([self._process.pid])
            self._process.wait()
            self._process = None

    def hold(self) -> None:
        """From now on write down what comes, and answer nobody before `let_go`."""
        self._held.touch()

    def let_go(self) -> None:
        self._held.unlink(missing_ok=True)

    def received(self) -> list[dict[str, Any]]:
        """Every request in the order it came, repeats included; a torn last line is left out."""
        lines = []
        if self.log.exists():
            for line in self.log.read_text().splitlines():
                with suppress(json.JSONDecodeError):
                    lines.append(json.loads(line))
        return lines


def held_by(log: Path) -> Path:
    """The file that, while it is there, holds the answers of the receiver with this log back."""
    return log.with_suffix(".held")


def wait_until_held_back(one_has_arrived: Callable[[], bool]) -> None:
    """Wait for a report that has arrived, and whose receipt a receiver keeps to itself."""

    def one_is_held_back() -> bool:
        if not one_has_arrived():
            return False
        time.sleep(0.5)  # the receipt of one that came just before may be on its way
        return one_has_arrived()

    wait_until(one_is_held_back, 30, "a report arrives whose receipt is held back")


def first_of_each(received: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a receiver keeps that de-duplicates by the message id."""
    kept: dict[str, dict[str, Any]] = {}
    for line in received:
        kept.setdefault(line["id"], line)
    return list(kept.values())


def versions_by_specimen(received: list[dict[str, Any]]) -> dict[str, list[int]]:
    versions = defaultdict(list)
    for line in received:
        versions[line["specimen"]].append(line["version"])
    return dict(versions)
