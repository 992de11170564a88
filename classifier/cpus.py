"""How much of the machine this process may use."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOAD = Path("/proc/loadavg")


def usable_cpus() -> int:
    """CPUs this process may run on: fewer than the machine has, under taskset or in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(os.getpid()))  # the main thread's: others may be bound
    return os.cpu_count() or 1


@contextmanager
def on_any_core() -> Iterator[None]:
    """Let the processes and threads that are started within run wherever this process may.

    They begin where the thread runs that starts them, and that may be bound to one core.
    """
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    bound, free = os.sched_getaffinity(0), os.sched_getaffinity(os.getpid())
    if bound == free:  # nothing is changed where nothing is bound: it may be forbidden here
        yield
        return
    os.sched_setaffinity(0, free)
    try:
        yield
    finally:
        os.sched_setaffinity(0, bound)


def running_threads() -> int:
    """Threads of the whole machine that run or want to, the caller's among them, at this instant.

    More than any machine has CPUs where the system does not say.
    """
    try:
        return int(_LOAD.read_text().split()[3].partition("/")[0])
    except (OSError, IndexError, ValueError):
        return 1_000_000
