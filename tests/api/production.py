"""Web server and worker as production starts them (scripts/service.sh), on the test's database."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.processes import descendants, end, free_port, kill_all, wait_until
from tests.roles import require_servers, start_role
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
    require_servers()
    # The processes know the hashes of production only.
    settings.PASSWORD_HASHERS = ["wbclab.passwords.BoundedArgon2"]
    port = free_port()
    own = {
        "WBCLAB_HOME": str(folder),
        "WBCLAB_PORT": str(port),
        "WBCLAB_WEB_WORKERS": "1",
        "WBCLAB_ENGINE_THREADS": "1",
        "WBCLAB_DECODERS": "1",
        "WBCLAB_RATE_LIMIT": "0",
    }
    service = Production(f"http://127.0.0.1:{port}", folder)
    with ExitStack() as stack:
        for role in ("worker", "web", *also):
            started = _process(role, folder, own | environment)
            service.processes[role] = stack.enter_context(started)
        wait_until(lambda: _is_well(service.url), 120, "web server and worker are well")
        yield service


@contextmanager
def _process(role: str, folder: Path, environment: dict[str, str]) -> Iterator[int]:
    process = start_role(role, folder / f"{role}.log", **environment)
    try:
        yield process.pid
    finally:
        children = descendants(process.pid)
        end(process, signal.SIGTERM, seconds=20)
        kill_all(children)


def _is_well(url: str) -> bool:
    answer = health(url)
    return answer is not None and answer["status"] == "ok"
