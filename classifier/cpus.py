"""How much of the machine this process may use."""

import os


def usable_cpus() -> int:
    """CPUs this process may run on: fewer than the machine has, under taskset or in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
