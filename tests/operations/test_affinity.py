"""Where the request threads of web processes run: on a core of their own, if that is asked for."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from classifier.cpus import usable_cpus
from classifier.imaging.pool import DecoderPool
from specimens.dicom.export_process import PictureReader
from tests.api.test_running_service import form
from tests.dicom.test_export import png_with_text
from tests.factories import picture
from tests.homes import ROOT, migrated_home
from tests.processes import descendants, die_with_parent, end, free_port, kill_all, wait_until
from tests.service import health
from wbclab.affinity import bind
from wbclab.passwords import BoundedArgon2

CLIENTS = 8
USABLE = os.sched_getaffinity(0)


@contextmanager
def _web(home: Path, *, own_cores: bool) -> Iterator[tuple[int, list[int]]]:
    """The port and the processes of a web server whose clients wait in vain: no worker runs."""
    port = free_port()
    own = {
        "WBCLAB_HOME": str(home),
        "WBCLAB_PORT": str(port),
        "WBCLAB_PYTHON": sys.executable,
        "WBCLAB_PUBLIC_PREDICT": "1",
        "WBCLAB_PREDICT_WAIT_SECONDS": "0.3",
        "WBCLAB_WEB_OWN_CORES": str(int(own_cores)),
    }
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("WBCLAB_")}
    with (home / "web.log").open("wb") as log:
        server = subprocess.Popen(
            ["scripts/service.sh", "web"],
            cwd=ROOT, env=inherited | own, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=die_with_parent(),
        )  # fmt: skip
    try:
        wait_until(lambda: health(f"http://127.0.0.1:{port}") is not None, 60, "it answers")
        yield port, [pid for pid in descendants(server.pid) if _serves(pid)]
    finally:
        children = descendants(server.pid)
        end(server, signal.SIGTERM, seconds=10)
        kill_all(children)


def _serves(pid: int) -> bool:
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _send(port: int) -> None:
    body, kind = form("file", ("cell.png", picture()))
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", "/api/predict", body, {"Content-Type": kind})
        assert connection.getresponse().status == 202


def _bound(pid: int) -> set[int]:
    """Return the cores that threads of a process are bound to."""
    assert os.sched_getaffinity(pid) == USABLE, "the event loop stays free"
    threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
    masks = [os.sched_getaffinity(thread) for thread in threads]
    return set().union(*(mask for mask in masks if mask != USABLE))


@pytest.mark.parametrize("asked", [True, False])
def test_each_process_keeps_its_requests_on_a_core_of_its_own(tmp_path: Path, asked: bool) -> None:
    with (
        _web(migrated_home(tmp_path), own_cores=asked) as (port, processes),
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        assert len(processes) == 2

        def bound_while_busy() -> list[set[int]]:
            list(clients.map(_send, [port] * CLIENTS))
            return [_bound(pid) for pid in processes]

        if not asked or len(USABLE) < 4:
            assert bound_while_busy() == [set(), set()]
            return
        wait_until(lambda: all(bound_while_busy()), 20, "both have had requests")
        cores = bound_while_busy()
        assert [len(of_one) for of_one in cores] == [1, 1]
        assert cores[0] != cores[1]


def _in_bound_thread(work: Callable[[], None]) -> None:
    def run() -> None:
        os.sched_setaffinity(0, {min(USABLE)})
        work()
        assert os.sched_getaffinity(0) == {min(USABLE)}

    with ThreadPoolExecutor(1) as thread:
        thread.submit(run).result()


def test_processes_that_a_bound_thread_starts_are_free(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    good.write_bytes(png_with_text())
    before = set(descendants(os.getpid()))
    seen: list[set[int]] = []

    def start() -> None:
        assert usable_cpus() == len(USABLE)
        with PictureReader() as reader, DecoderPool(1):
            reader.read(good, None, bare=True)
            seen.extend(os.sched_getaffinity(pid) for pid in set(descendants(os.getpid())) - before)

    _in_bound_thread(start)
    assert seen == [USABLE, USABLE]


def test_a_password_is_checked_wherever_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = ThreadPoolExecutor(1)  # its thread begins with the first password
    monkeypatch.setattr("wbclab.passwords._ONE_AT_A_TIME", fresh)
    _in_bound_thread(lambda: assert_hashes(BoundedArgon2()))
    assert fresh.submit(os.sched_getaffinity, 0).result() == USABLE
    fresh.shutdown()


def test_where_binding_is_forbidden_nothing_else_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr("os.sched_setaffinity", forbidden)
    bind(min(USABLE))
    assert_hashes(BoundedArgon2())


def assert_hashes(hasher: BoundedArgon2) -> None:
    encoded = hasher.encode("a long password", "salt-of-some-length")
    assert hasher.verify("a long password", encoded)
