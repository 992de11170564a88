"""Starts what is compared, each as it is started in earnest, on free ports and throw-away data."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import Process, processes_below
from tests import counterparts
from tests.processes import end, free_port

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 180
# One token sends what a laboratory sends, and an import a hundred images in each call.
FREE = {"WBCLAB_RATE_LIMIT": "0", "WBCLAB_PREDICT_BATCH_LIMIT": "100"}


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        name: for the report.
        port: on 127.0.0.1.
        token: sent with each request, if there is one.
        specimens: that take images, by their numbers.
        database: its address; empty where nothing is kept.
        roots: the processes it was started with, by what they are.
        start_seconds: until each was ready.
    """

    name: str
    port: int
    token: str = ""
    specimens: list[int] = field(default_factory=list)
    database: str = ""
    roots: dict[str, int] = field(default_factory=dict)
    start_seconds: dict[str, float] = field(default_factory=dict)

    def processes(self) -> list[Process]:
        """All processes of it that run now."""
        return processes_below(self.roots)


@contextmanager
def production(folder: Path, specimens: int) -> Iterator[Service]:
    """PostgreSQL (fsync on) and Redis; web and worker as docker-compose.yml starts them."""
    with ExitStack() as stack:
        database = stack.enter_context(counterparts.postgres(durable=True))
        broker = stack.enter_context(counterparts.redis())
        port = free_port()
        environment = FREE | {
            "WBCLAB_HOME": str(folder),
            "WBCLAB_DATABASE_URL": database.url,
            "WBCLAB_REDIS_URL": broker.url,
            "WBCLAB_PORT": str(port),
            "WBCLAB_PYTHON": sys.executable,
            "WBCLAB_WEB_OWN_CORES": "1",
        }
        _run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], environment)
        laboratory = _fill(environment, specimens)
        web, seconds = _start_web(stack, environment, port, folder / "web.log")
        started = time.perf_counter()
        worker = _start(stack, ["scripts/service.sh", "worker"], environment, folder / "worker.log")
        _await(worker, port, folder / "worker.log", healthy=True)
        yield Service(
            "PostgreSQL and Redis",
            port,
            laboratory["token"],
            laboratory["specimens"],
            database.url,
            {"web": web.pid, "worker": worker.pid, "PostgreSQL": database.pid, "Redis": broker.pid},
            {"web": seconds, "worker": time.perf_counter() - started},
        )


@contextmanager
def embedded(folder: Path, specimens: int) -> Iterator[Service]:
    """SQLite and one command, as `make run` starts it."""
    with ExitStack() as stack:
        port = free_port()
        environment = FREE | {"WBCLAB_HOME": str(folder), "WBCLAB_PORT": str(port)}
        log = folder / "serve.log"
        started = time.perf_counter()
        serve = _start(stack, [sys.executable, "manage.py", "serve"], environment, log)
        _await(serve, port, log, healthy=True)
        seconds = time.perf_counter() - started
        laboratory = _fill(environment, specimens)
        yield Service(
            "embedded (SQLite)",
            port,
            laboratory["token"],
            laboratory["specimens"],
            f"sqlite:{folder / 'wbclab.sqlite3'}",
            {"serve": serve.pid},
            {"serve": seconds},
        )


@contextmanager
def baseline(folder: Path) -> Iterator[Service]:
    """The naive service under the same web server."""
    with ExitStack() as stack:
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "bench.baseline_service:application"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
        log = folder / "baseline.log"
        started = time.perf_counter()
        process = _start(stack, [*command, "--lifespan", "off"], {}, log)
        _await(process, port, log, healthy=True)
        seconds = time.perf_counter() - started
        roots = {"Keras service": process.pid}
        yield Service("Keras predict per image", port, roots=roots, start_seconds={"web": seconds})


def _start_web(
    stack: ExitStack, environment: Mapping[str, str], port: int, log: Path
) -> "tuple[subprocess.Popen[bytes], float]":
    """Start the web processes three times; return the last and the median of seconds to ready."""
    seconds = []
    for _ in range(3):
        attempt = ExitStack()
        started = time.perf_counter()
        process = _start(attempt, ["scripts/service.sh", "web"], environment, log)
        _await(process, port, log, healthy=False)
        seconds.append(time.perf_counter() - started)
        if len(seconds) < 3:
            attempt.close()
    stack.push(attempt.pop_all())
    return process, sorted(seconds)[1]


def _start(
    stack: ExitStack, command: list[str], environment: Mapping[str, str], log: Path
) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    stack.callback(end, process, signal.SIGTERM, 20)
    return process


def _run(command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True
    )
    return done.stdout.decode()


def _fill(environment: Mapping[str, str], specimens: int) -> "Any":
    command = [sys.executable, "-m", "bench.laboratory", str(specimens)]
    return json.loads(_run(command, environment).splitlines()[-1])


def _await(process: "subprocess.Popen[bytes]", port: int, log: Path, *, healthy: bool) -> None:
    """Wait until the service answers at all, or says that it is healthy."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            address = f"http://127.0.0.1:{port}/api/health"
            with urllib.request.urlopen(address, timeout=5):
                return
        except urllib.error.HTTPError:
            if not healthy:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise RuntimeError(f"A service did not start:\n{log.read_text(errors='replace')[-3000:]}")
