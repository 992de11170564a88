"""How much of the machine this process may use."""

import os
from pathlib import Path

_LOAD = Path("/proc/loadavg")


def usable_cpus() -> int:
    """CPUs this process may run on: fewer than the machine has, under taskset or in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def running_threads() -> int:
    """Threads of the whole machine that run or want to, the caller's among them, at this instant.

    More than any machine has CPUs where the system does not say.
    """
    try:
        return int(_LOAD.read_text().split()[3].partition("/")[0])
    except (OSError, IndexError, ValueError):
        return 1_000_000
