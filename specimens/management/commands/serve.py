"""The embedded mode in one command: migrate, then web server and worker until stopped."""

import ctypes
import errno
import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from specimens.services.demo import ensure_demo

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
PATIENCE_SECONDS = 10


class Command(BaseCommand):
    help = "Run wbclab on this machine: web server and worker, SQLite, no server to install."

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = settings.HOST, settings.PORT
        url = f"http://{host}:{port}"
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        try:
            with _only_one():
                _require_free_port(host, port)
                call_command("migrate", interactive=False, verbosity=0)
                call_command("collectstatic", interactive=False, verbosity=0)
                demo = settings.HOME / "demo.json"
                entrance = ensure_demo(path=demo, url=url) if settings.DEMO else None
                connections.close_all()
                self._supervise(url, host, port, entrance)
        except KeyboardInterrupt:
            self.stdout.write("wbclab stopped.")

    def _supervise(self, url: str, host: str, port: int, entrance: dict[str, Any] | None) -> None:
        commands = {"web": _web(host, port), "worker": _worker(), "deliverer": _deliverer()}
        processes = {name: _start(command) for name, command in commands.items()}
        try:
            self._announce(url, entrance)
            while True:
                time.sleep(0.5)
                for name, command in commands.items():
                    code = processes[name].poll()
                    if code is not None:
                        logger.error("the %s process ended with %s; starting it again", name, code)
                        time.sleep(1)
                        processes[name] = _start(command)
        finally:
            _stop_all(list(processes.values()))

    def _announce(self, url: str, entrance: dict[str, Any] | None) -> None:
        self.stdout.write(f"\nwbclab serves {url}   (Ctrl-C stops it)\n")
        if entrance is not None:
            self.stdout.write("Demo accounts (also in demo.json):\n")
            for account in entrance["accounts"]:
                self.stdout.write(f"  {account['username']:14} {account['password']}\n")
            self.stdout.write(f"API token: {entrance['token']}\n")
        self.stdout.flush()


def _web(host: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "uvicorn", "wbclab.asgi:application"]
    command += ["--http", "wbclab.http_head:BoundedHead", "--host", host, "--port", str(port)]
    if not settings.BEHIND_PROXY:  # else anybody on this machine could claim another address
        command.append("--no-proxy-headers")
    return [*command, "--no-access-log", "--log-level", "warning"]


def _worker() -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), "classification_worker"]


def _deliverer() -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), "delivery_worker"]


def _start(command: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, cwd=settings.BASE_DIR, preexec_fn=_die_with_parent)


def _die_with_parent() -> None:
    """Ask Linux to end the child when this process is killed: no orphan keeps the port."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(signal_number: int, frame: FrameType | None) -> None:
    # A second signal during the clean-up must not cut it short.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _stop_all(processes: "list[subprocess.Popen[bytes]]") -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + PATIENCE_SECONDS
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _only_one() -> Iterator[None]:
    """Hold the installation's lock: two servers over one WBCLAB_HOME are a mistake."""
    with (settings.HOME / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(
                f"wbclab is running already over {settings.HOME}. "
                "Stop it first, or set WBCLAB_HOME to another folder."
            ) from error
        yield


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = os.strerror(error.errno or errno.EADDRINUSE)
            raise CommandError(
                f"Cannot serve at {host}:{port} ({reason}). Set WBCLAB_PORT to a free port."
            ) from error
