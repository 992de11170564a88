"""Starts the two services on free ports, each as it is started in earnest."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 180


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        name: for the report.
        port: on 127.0.0.1.
        token: sent with each request, if there is one.
    """

    name: str
    port: int
    token: str = ""


@contextmanager
def wbclab(home: Path) -> Iterator[Service]:
    """The embedded mode, as `make run` starts it, with a fresh database below `home`."""
    port = _free_port()
    environment = {"WBCLAB_HOME": str(home), "WBCLAB_PORT": str(port), "WBCLAB_DEMO": "1"}
    environment["WBCLAB_RATE_LIMIT"] = "0"  # one token sends what a laboratory sends
    command = [sys.executable, "manage.py", "serve"]
    with _running(command, environment, port, home / "wbclab.log"):
        token = json.loads((home / "demo.json").read_text())["token"]
        yield Service("wbclab", port, token)


@contextmanager
def baseline(home: Path) -> Iterator[Service]:
    """The naive service under the same web server."""
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.baseline_service:application"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--lifespan", "off"]
    with _running(command, {}, port, home / "baseline.log"):
        yield Service("Keras predict per image", port)


@contextmanager
def _running(
    command: list[str], environment: dict[str, str], port: int, log: Path
) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_health(process, port, log)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await_health(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            address = f"http://127.0.0.1:{port}/api/health"
            with urllib.request.urlopen(address, timeout=5):
                return
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.5)
    raise RuntimeError(f"A service did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
