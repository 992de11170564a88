"""Processes the tests start: none outlives the run, however the run ends."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# Below the range the kernel hands out to clients: nobody's outgoing connection sits on a port
# while its server is being restarted.
PORTS = range(15_000, 30_000)
LEAST_PATIENCE_SECONDS = 60

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Looked up before any fork: between fork and exec nothing may be imported or allocated at length.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(how: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """A preexec_fn: the kernel sends the child this signal when the thread that started it dies."""
    parent = os.getpid()

    def ask_the_kernel() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(how))
            if os.getppid() != parent:  # it died before we asked
                os._exit(1)

    return ask_the_kernel


def adopt_orphans() -> None:
    """Become the parent of what dead children leave behind, so that it can be found and ended."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants(pid: int) -> list[int]:
    """The processes below a process, nearest first. Without /proc: none."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            # The command's name stands in brackets and may hold anything, brackets included.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(pid, []))
    for child in found:  # grows while it is walked
        found.extend(children.get(child, []))
    return found


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def reap(seconds: float = 2) -> None:
    """Collect the exit of every child, adopted ones included; only when no Popen waits any more."""
    deadline = time.monotonic() + seconds
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)


def end(process: subprocess.Popen[bytes], how: signal.Signals, seconds: float = 10) -> None:
    """Ask a process to end; what does not listen in time is killed."""
    if process.poll() is None:
        process.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    if process.poll() is None:
        process.kill()
    process.wait()


def free_port() -> int:
    """A port nobody listens on now. Another may take it first, so a server's start is retried."""
    # Not from the sequence of a seed that a test has set: two runs would meet at each port.
    for port in random.SystemRandom().sample(PORTS, k=200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise OSError("no free port found between 15000 and 30000")


def wait_until(
    condition: Callable[[], bool], seconds: float, what: str, *, patient: bool = True
) -> None:
    """Poll until a condition holds; TimeoutError says what did not happen.

    `patient`: nobody is given up within a minute, as others may keep the machine busy.
    """
    seconds = max(seconds, LEAST_PATIENCE_SECONDS) if patient else seconds
    deadline, pause = time.monotonic() + seconds, 0.01
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(pause)
        pause = min(1.5 * pause, 0.1)  # asking costs those who are waited for
