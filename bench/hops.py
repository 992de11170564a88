"""Where the time of one predict call goes, hop by hop, on PostgreSQL and Redis.

Web and worker run as threads of this process, so that one clock times both; each hop is a function
of the platform with a stopwatch around it. Without the web server and the client's socket.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.client import Image
from bench.images import describe_machine, sample_images
from tests import counterparts

WARM_UP = 5
# In the order of the call; indented: within the one above.
HOPS = {
    "web": "specimens.api.predict.PredictView.dispatch",
    "  who calls": "specimens.api.authentication.TokenAuthentication.authenticate",
    "  how often": "specimens.api.throttling.TokenThrottle.allow_request",
    "  parse the form": "django.http.multipartparser.MultiPartParser.parse",
    "  is there room": "specimens.services.imaging.refuse_when_full",
    "  header check, digest": "specimens.services.imaging._receive",
    "  files, fsynced": "specimens.services.imaging._write_files",
    "  notice": "specimens.services.doorbell.give_notice",
    "  rows, to the commit": "specimens.services.imaging._write_rows",
    "  ring": "specimens.services.doorbell.ring",
    "  wait for the result": "specimens.api.predict.await_results",
    "worker: decode, prepare": "specimens.services.classification.HeadStart",
    "worker: claim": "specimens.services.classification.claim_jobs",
    "worker: engine": "classifier.engines.onnx_runtime.Parts.predictions",
    "worker: finish": "specimens.services.classification.finish_jobs",
    "worker: announce": "specimens.services.results.announce",
    "  read the result": "specimens.services.results._ended",
    "  the answer": "specimens.api.predict.single_answer",
}


class _Stopwatches:
    """Start and end of each hop of the call under way."""

    def __init__(self) -> None:
        self.calls: dict[str, list[tuple[float, float]]] = {name: [] for name in HOPS}
        self.started = 0.0

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Put a stopwatch around each hop."""
        patches = [patch(target, self._timed(name, target)) for name, target in HOPS.items()]
        for one in patches:
            one.start()
        try:
            yield
        finally:
            for one in patches:
                one.stop()

    def _timed(self, name: str, target: str) -> Callable[..., Any]:
        from django.utils.module_loading import import_string

        owner, _, attribute = target.rpartition(".")
        try:
            function = import_string(target)
        except ImportError:  # a method
            function = getattr(import_string(owner), attribute)

        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                now = time.perf_counter()
                self.calls[name].append((started - self.started, now - started))

        return timed

    def print(self, rounds: int, seconds: list[float]) -> None:
        """Print the medians of all hops: when each began, and how long it took."""
        print(f"| of {rounds} calls, medians | begins (ms) | takes (ms) |\n|---|---:|---:|")
        for name, laps in self.calls.items():
            if not laps:
                raise RuntimeError(f"no call came through {HOPS[name]}")
            begins, takes = (1000 * statistics.median(part) for part in zip(*laps, strict=True))
            print(f"| {name.replace('  ', '&nbsp;&nbsp;')} | {begins:.1f} | {takes:.2f} |")
        print(f"| whole call, with middleware | 0.0 | {1000 * statistics.median(seconds):.2f} |")
        print(f"\nLoad average at the end: {os.getloadavg()[0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hops", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    images, source = sample_images(options.rounds)
    print(f"{describe_machine()}\nImages: {source}\n")
    with (
        tempfile.TemporaryDirectory(prefix="wbclab-bench-") as home,
        counterparts.postgres(durable=True) as database,
        counterparts.redis() as broker,
    ):
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "wbclab.settings",
            "WBCLAB_HOME": str(Path(home)),
            "WBCLAB_DATABASE_URL": database.url,
            "WBCLAB_REDIS_URL": broker.url,
        }
        import django

        django.setup()
        _measure(images, options.rounds)


def _measure(images: list[Image], rounds: int) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django.core.management import call_command
    from django.db import connections
    from django.test import Client

    from bench.laboratory import fill
    from specimens.services import doorbell
    from specimens.services.attendance import attend
    from specimens.services.classification import ClassificationWorker

    call_command("migrate", verbosity=0)
    token = fill(0)["token"]
    watches, stopped, seconds = _Stopwatches(), threading.Event(), []
    client = Client(headers={"Host": "localhost", "Authorization": f"Token {token}"})
    with watches.attached(), doorbell.listen() as bell, ClassificationWorker() as worker:

        def work() -> None:
            attend(worker, bell, stopped=stopped, sweeps=False)
            connections.close_all()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for number in range(-WARM_UP, rounds):
                name, content = images[number % len(images)]
                upload = SimpleUploadedFile(name, content, "image/jpeg")
                watches.started = time.perf_counter()
                answer = client.post("/api/predict", {"file": upload})
                seconds.append(time.perf_counter() - watches.started)
                if answer.status_code != 200:
                    raise RuntimeError(f"answered {answer.status_code}: {answer.content!r}")
                if number < 0:
                    seconds.clear()
                    for laps in watches.calls.values():
                        laps.clear()
        finally:
            stopped.set()
            doorbell.ring()
            thread.join()
    connections.close_all()
    watches.print(rounds, seconds)


if __name__ == "__main__":
    main()
