"""The whole service as production runs it, every process watched and started again when it dies."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.clock import Clock, compile_clock
from tests.chaos.hospital import SCANNER
from tests.chaos.journal import Journal
from tests.chaos.servers import DurablePostgreSQL, Volume
from tests.counterparts import Redis
from tests.interop.receivers import SECRET, SECRET_ENV, ReceiverProcess
from tests.processes import descendants, die_with_parent, free_port, kill_all, wait_until
from tests.service import health

ROOT: Final = Path(__file__).resolve().parents[2]
LEASE_SECONDS: Final = 3.0
# Each process by its name, and the role of scripts/service.sh that it has.
ROLES: Final = {
    "web": "web",
    "worker-1": "worker",
    "worker-2": "worker",
    "sweeper": "sweeper",
    "deliverer-1": "deliverer",
    "deliverer-2": "deliverer",
    "dicom-listener": "dicom-listener",
    "hl7-listener": "hl7-listener",
}


@dataclass
class Service:
    """One process and the clock it lives by; `held_down` while a fault wants it to stay dead."""

    name: str
    clock: Clock
    process: "subprocess.Popen[bytes] | None" = None
    held_down: bool = False
    restarts: int = 0
    died_at: float = 0.0
    peak_bytes: int = 0

    def pids(self) -> list[int]:
        """It and what it started; none while it is dead."""
        if self.process is None or self.process.poll() is not None:
            return []
        return [self.process.pid, *descendants(self.process.pid)]


@dataclass
class Laboratory:
    """Folders, servers, services and receivers of one run."""

    home: Path
    database: DurablePostgreSQL
    redis: Redis
    images: Volume
    database_disk: Volume
    journal: Journal
    names: tuple[str, ...] = tuple(ROLES)
    ports: dict[str, int] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    receivers: list[ReceiverProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ports = {name: free_port() for name in ("web", "dicom", "hl7")}
        self.model = self.home / "model"
        shutil.copytree(ROOT / "classifier" / "weights", self.model)
        self.receivers = [ReceiverProcess(self.home, 0.01, kind) for kind in ("webhook", "mllp")]
        self.clock_library = compile_clock(self.home)
        for name in self.names:
            self.services[name] = Service(name, Clock(self.home / f"clock-{name}"))
        self._watching = threading.Event()
        self._watch = threading.Thread(target=self._watch_on, name="watch", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['web']}"

    def environment(self, name: str = "") -> dict[str, str]:
        """The settings of a process: as in production, with short leases."""
        own = {k: v for k, v in os.environ.items() if not k.startswith("WBCLAB_")}
        own |= {
            "WBCLAB_HOME": str(self.home),
            "WBCLAB_DATABASE_URL": self.database.url,
            "WBCLAB_REDIS_URL": self.redis.url,
            "WBCLAB_IMAGES_DIR": str(self.images.folder),
            "WBCLAB_INCOMING_DIR": str(self.home / "incoming"),
            "WBCLAB_MODEL_DIR": str(self.model),
            "WBCLAB_SECRET_KEY": "a key of the chaos suite, as long as Django wants one to be: 50+",
            "WBCLAB_PORT": str(self.ports["web"]),
            "WBCLAB_WEB_WORKERS": "1",
            "WBCLAB_WORKER_NAME": name,
            "WBCLAB_ENGINE_THREADS": "1",
            "WBCLAB_DECODERS": "1",
            "WBCLAB_LEASE_SECONDS": str(LEASE_SECONDS),
            "WBCLAB_SWEEP_SECONDS": "0.5",
            "WBCLAB_RATE_LIMIT": "0",
            "WBCLAB_DICOM_PORT": str(self.ports["dicom"]),
            "WBCLAB_DICOM_PEERS": f"{SCANNER}=main",
            "WBCLAB_HL7_PORT": str(self.ports["hl7"]),
            "WBCLAB_HL7_SITE": "main",
            "WBCLAB_DELIVERY_ALLOWED_HOSTS": "127.0.0.1",
            "WBCLAB_DELIVERY_BACKOFF_SECONDS": "0.2",
            "WBCLAB_DELIVERY_BACKOFF_CAP_SECONDS": "2",
            SECRET_ENV: SECRET,
            "WBCLAB_PYTHON": sys.executable,
        }
        if name and self.clock_library:
            own |= {
                "LD_PRELOAD": str(self.clock_library),
                "CHAOS_CLOCK": str(self.services[name].clock.path),
            }
        return own

    def run(self, *arguments: str, seconds: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run manage.py to its end; what it printed and returned."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment(),
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip

    def open(self) -> None:
        """Start everything and the watch over it; return when a predict call would succeed."""
        for receiver in self.receivers:
            receiver.start()
        for service in self.services.values():
            self._start(service)
        self._watch.start()
        self.wait_until_well(180)

    def wait_until_well(self, seconds: float) -> None:
        answer: object = None

        def is_well() -> bool:
            nonlocal answer
            time.sleep(0.2)
            answer = found = health(self.url)
            return found is not None and found["status"] == "ok"

        try:
            wait_until(is_well, seconds, "the service is well", patient=False)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it says {answer}") from error

    def recover(self, seconds: float) -> None:
        """Give it the time to get well, but no longer."""
        with suppress(TimeoutError):
            self.wait_until_well(max(0.0, seconds))

    def close(self) -> None:
        """kill -9 for all that is left."""
        self._watching.set()
        if self._watch.is_alive():
            self._watch.join()
        for service in self.services.values():
            kill_all(service.pids())
        for receiver in self.receivers:
            receiver.kill()

    def kill(self, name: str) -> int:
        """kill -9 of a process and what it started; the watch starts it again."""
        pids = self.services[name].pids()
        kill_all(pids)
        return pids[0] if pids else 0

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process and what it started."""
        for pid in self.services[name].pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def hold_down(self, *names: str) -> None:
        """Kill them and let them stay dead until `let_up`."""
        for name in names:
            self.services[name].held_down = True
            self.kill(name)

    def let_up(self, *names: str) -> None:
        for name in names:
            self.services[name].held_down = False

    def log(self, name: str) -> str:
        path = self.home / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _start(self, service: Service) -> None:
        with (self.home / f"{service.name}.log").open("ab") as log:
            service.process = subprocess.Popen(
                ["scripts/service.sh", ROLES[service.name]],
                cwd=ROOT,
                env=self.environment(service.name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    def _watch_on(self) -> None:
        """Do what a supervisor does: start again what died, a second later. And measure memory."""
        looks = 0
        while not self._watching.wait(0.3):
            for service in self.services.values():
                self._look_after(service)
            looks += 1
            if looks % 30 == 0:
                sizes = {one.name: max(map(_resident, one.pids()), default=0) for one in
                         self.services.values()}  # fmt: skip
                self.journal.note("memory", {name: n // 1024**2 for name, n in sizes.items()})

    def _look_after(self, service: Service) -> None:
        process = service.process
        if process is None or process.poll() is None:
            sizes = [_resident(pid) for pid in service.pids()]
            service.peak_bytes = max([service.peak_bytes, *sizes])
            return
        if not service.died_at:
            service.died_at = time.monotonic()
            self.journal.write("died", target=service.name, exit_status=process.returncode)
        if service.held_down or time.monotonic() < service.died_at + 1:
            return
        service.restarts, service.died_at = service.restarts + 1, 0.0
        self._start(service)


def _resident(pid: int) -> int:
    """Resident memory in bytes; 0 for a process that has ended."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    return 0
