"""Processes of production (scripts/service.sh), on the database and the images of a test.

The test must have a transactional database, so that they see what it writes.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection

from tests.counterparts import skip_unless_ci
from tests.processes import descendants, die_with_parent, kill_all

StartRole = Callable[[str], "subprocess.Popen[bytes]"]


def require_servers() -> None:
    """End a test that runs without PostgreSQL and Redis: skipped, but failed where CI=true."""
    if connection.vendor != "postgresql" or not settings.REDIS_URL:
        skip_unless_ci("PostgreSQL and Redis do not run (make test starts them)")


def start_role(role: str, log: Path, **environment: str) -> "subprocess.Popen[bytes]":
    """Start a service; what it says goes behind what stands in `log`."""
    database = connection.settings_dict
    address = f"postgresql://{database['USER']}@{database['HOST']}:{database['PORT']}"
    own = {
        "WBCLAB_DATABASE_URL": f"{address}/{database['NAME']}",
        "WBCLAB_IMAGES_DIR": str(settings.MEDIA_ROOT),
        "WBCLAB_PYTHON": sys.executable,
    }
    with log.open("ab") as out:
        return subprocess.Popen(
            ["scripts/service.sh", role],
            cwd=settings.BASE_DIR,
            env=os.environ | own | environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )


def kill_role(process: "subprocess.Popen[bytes]") -> None:
    """kill -9, children included."""
    kill_all([process.pid, *descendants(process.pid)])
    process.wait()


@contextmanager
def roles(folder: Path, **environment: str) -> Iterator[StartRole]:
    """Hand out what starts services, their logs in `folder`; all are killed behind the block."""
    running: list[subprocess.Popen[bytes]] = []

    def start(role: str) -> "subprocess.Popen[bytes]":
        running.append(start_role(role, folder / f"{role}.log", **environment))
        return running[-1]

    try:
        yield start
    finally:
        for process in running:
            kill_role(process)
