"""A core of its own for the requests of each web process, where WBCLAB_WEB_OWN_CORES asks for it.

Only one thread of a process runs Python at a time. Where the threads lie on several cores, each
change of hands wakes one of them and takes the data along (docs/performance.md, "Web processes
bound to cores"). uWSGI (`cpu-affinity`) and nginx (`worker_cpu_affinity`) do so for that reason.
"""

import os
import socket
from contextlib import suppress
from functools import cache

from django.conf import settings


def own_core() -> int | None:
    """Return the core of this process's requests; None where they run anywhere.

    Call it in the main thread, which stays free: what else the process starts learns from it where
    it may run (`classifier.cpus`).
    """
    taken = _take_core() if settings.WEB_OWN_CORES else None
    return None if taken is None else taken[0]


def bind(core: int | None) -> None:
    """Keep the calling thread on `core`."""
    if core is not None:
        # Forbidden by what runs this container, or the core is gone: then it runs anywhere.
        with suppress(OSError):
            os.sched_setaffinity(0, {core})


@cache
def _take_core() -> tuple[int, socket.socket] | None:
    """Take the first core that no other web process of this machine has; None where none is left.

    Half of the cores are never taken, and of fewer than four none is.
    A name in Linux's abstract space is the token: it is free again when its process has ended,
    however it did. Containers see only their own, unless they share the host's network.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(os.getpid()))
    for core in cores[: len(cores) // 2] if len(cores) >= 4 else ():
        token = socket.socket(socket.AF_UNIX)
        try:
            token.bind(f"\0wbclab-web-core-{core}")
        except OSError:
            token.close()
        else:
            return core, token
    return None
