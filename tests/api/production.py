"""Web server and worker as production starts them (scripts/service.sh), on the test's database."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.db import connection

from tests.counterparts import skip_unless_ci
from tests.processes import descendants, die_with_parent, end, free_port, kill_all, wait_until
from tests.service import health


@dataclass(frozen=True)
class Production:
    url: str
    folder: Path
    processes: dict[str, int] = field(default_factory=dict)

    def log(self) -> str:
        """What web server and worker have written so far."""
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))


@contextmanager
def production(
    folder: Path, settings: Any, *, also: Sequence[str] = (), **environment: str
) -> Iterator[Production]:
    """Start web server and worker, and `also` other roles; healthy when handed out, ended behind.

    The test must have a transactional database, so that the processes see what it writes.
    """
    if connection.vendor != "postgresql" or not django_settings.REDIS_URL:
        skip_unless_ci("PostgreSQL and Redis do not run (make test starts them)")
    database = connection.settings_dict
    address = f"postgresql://{database['USER']}@{database['HOST']}:{database['PORT']}"
    # The processes know the hashes of production only.
    settings.PASSWORD_HASHERS = ["wbclab.passwords.BoundedArgon2"]
    port = free_port()
    own = {
        "WBCLAB_DATABASE_URL": f"{address}/{database['NAME']}",
        "WBCLAB_IMAGES_DIR": str(settings.MEDIA_ROOT),
        "WBCLAB_HOME": str(folder),
        "WBCLAB_PORT": str(port),
        "WBCLAB_WEB_WORKERS": "1",
        "WBCLAB_ENGINE_THREADS": "1",
        "WBCLAB_DECODERS": "1",
        "WBCLAB_RATE_LIMIT": "0",
        "WBCLAB_PYTHON": sys.executable,
    }
    service = Production(f"http://127.0.0.1:{port}", folder)
    with ExitStack() as stack:
        for role in ("worker", "web", *also):
            started = _process(role, folder, os.environ | own | environment)
            service.processes[role] = stack.enter_context(started)
        wait_until(lambda: _is_well(service.url), 120, "web server and worker are well")
        yield service


@contextmanager
def _process(role: str, folder: Path, environment: dict[str, str]) -> Iterator[int]:
    with (folder / f"{role}.log").open("ab") as log:
        process = subprocess.Popen(
            ["scripts/service.sh", role],
            cwd=django_settings.BASE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
        try:
            yield process.pid
        finally:
            children = descendants(process.pid)
            end(process, signal.SIGTERM, seconds=20)
            kill_all(children)


def _is_well(url: str) -> bool:
    answer = health(url)
    return answer is not None and answer["status"] == "ok"
