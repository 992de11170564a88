"""Measures wbclab against the naive service and the bare engine, interleaved; prints one table.

They take turns with the same images, so that whatever else the machine does hits all alike; the
ratios of the medians are what counts, not the milliseconds of one machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import services
from bench.bulk import AT_ONCE, import_images
from bench.client import Client, Image
from bench.images import describe_machine, sample_images
from bench.processes import cpu_seconds
from bench.report import latency_rows, print_cost, print_processes, print_table, rate_rows

BATCH = 10
WARM_UP = 3
BARE = "bare engine"
Times = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--singles", type=int, default=100, help="single images (default 100)")
    parser.add_argument("--tens", type=int, default=15, help="calls of ten images (default 15)")
    parser.add_argument("--clients", type=int, default=32, help="at a time (default 32)")
    parser.add_argument("--bulk", type=int, default=600, help="images imported (default 600)")
    parser.add_argument("--repeats", type=int, default=3, help="of the last two (default 3)")
    parser.add_argument("--without-embedded", action="store_true", help="leave SQLite out")
    options = parser.parse_args()
    if min(options.singles, options.tens) < 2:
        parser.error("--singles and --tens must be 2 or more: percentiles of one value say nothing")
    if min(options.clients, options.bulk, options.repeats) < 1:
        parser.error("--clients, --bulk and --repeats must be 1 or more")
    images, source = sample_images(max(options.bulk, options.singles))
    print(f"{describe_machine()}\nImages: {len(images)} different ones, {source}\n", flush=True)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wbclab-bench-")))
        started = time.perf_counter()
        contest = _Contest(_start(stack, home, options), stack.enter_context(_bare(home, images)))
        print(f"Started after {time.perf_counter() - started:.0f} s", flush=True)
        contest.run(images, options)


def _start(stack: ExitStack, home: Path, options: argparse.Namespace) -> list[services.Service]:
    specimens = options.repeats * -(-options.bulk // AT_ONCE) + 1
    running = []
    for name in ("production", "embedded", "baseline"):
        (home / name).mkdir()
    running.append(stack.enter_context(services.production(home / "production", specimens)))
    if not options.without_embedded:
        running.append(stack.enter_context(services.embedded(home / "embedded", specimens)))
    running.append(stack.enter_context(services.baseline(home / "baseline")))
    return running


class _Contest:
    """What is compared, and the turns it takes."""

    def __init__(self, running: list[services.Service], bare: Callable[[int], float]) -> None:
        self.clients = {service.name: Client(service) for service in running}
        self.bare = bare
        self.base = running[-1].name

    def run(self, images: Sequence[Image], options: argparse.Namespace) -> None:
        """Measure all, then print."""
        rows = []
        for title, rounds, size in (
            ("one image", options.singles, 1),
            (f"{BATCH} images", options.tens, BATCH),
        ):
            rows += latency_rows(title, self._latencies(images, rounds, size), self.base)
        rates = self._crowded(images, options.clients, options.repeats)
        rows += rate_rows(f"{options.clients} clients, requests/s", rates, self.base)
        imported, cpu = self._bulk(images[: options.bulk], options.repeats)
        rows += rate_rows("bulk import, images/s", imported, BARE)
        print_table([*self.clients, BARE], rows)
        print_processes([client.service for client in self.clients.values()])
        print_cost(cpu, dict.fromkeys(cpu, options.bulk * options.repeats))
        late = {name: client.late for name, client in self.clients.items() if client.late}
        print(f"Calls answered with 202 and asked again: {late or 'none'}")

    def _latencies(self, images: Sequence[Image], rounds: int, size: int) -> Times:
        times: Times = {name: [] for name in [*self.clients, BARE]}
        for number in range(-WARM_UP, rounds):
            chosen = [images[(number * size + k) % len(images)] for k in range(size)]
            # Who goes first alternates: the second finds the caches warm.
            for name in times if number % 2 else reversed(times):
                taken = self._turn(name, chosen)
                if number >= 0:
                    times[name].append(taken)
        return times

    def _turn(self, name: str, images: Sequence[Image]) -> float:
        if name == BARE:
            return self.bare(len(images))
        client = self.clients[name]
        return client.predict(images[0]) if len(images) == 1 else client.predict_batch(images)

    def _crowded(self, images: Sequence[Image], clients: int, repeats: int) -> Times:
        rates: Times = {name: [] for name in [*self.clients, BARE]}
        for _ in range(repeats):
            for name, client in self.clients.items():
                calls = clients * (2 if name == self.base else 10)
                with ThreadPoolExecutor(clients) as pool:
                    list(pool.map(client.predict, images[:clients]))
                    started = time.perf_counter()
                    sent = [images[k % len(images)] for k in range(calls)]
                    list(pool.map(client.predict, sent))
                    rates[name].append(calls / (time.perf_counter() - started))
        return rates

    def _bulk(self, images: Sequence[Image], repeats: int) -> tuple[Times, dict[str, float]]:
        rates: Times = {name: [] for name in [*self.clients, BARE]}
        cpu = dict.fromkeys((name for name in self.clients if name != self.base), 0.0)
        for repeat in range(repeats):
            for name in cpu:
                client = self.clients[name]
                each = -(-len(images) // AT_ONCE)
                specimens = client.service.specimens[repeat * each : (repeat + 1) * each]
                before = cpu_seconds(client.service.processes())
                rates[name].append(len(images) / import_images(client, specimens, images))
                cpu[name] += cpu_seconds(client.service.processes()) - before
            rates[BARE].append(len(images) / self.bare(len(images)))
        return rates, cpu


@contextmanager
def _bare(home: Path, images: Sequence[Image]) -> Iterator[Callable[[int], float]]:
    """The engine alone in a process of its own: a function from images to seconds."""
    folder = home / "images"
    folder.mkdir()
    for name, content in images[:64]:
        (folder / name).write_bytes(content)
    command = [sys.executable, "-m", "bench.bare_engine", str(folder)]
    with subprocess.Popen(
        command,
        cwd=services.ROOT,
        env=os.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers, questions = process.stdout, process.stdin
        assert answers.readline() == "ready\n"

        def seconds(count: int) -> float:
            questions.write(f"{count}\n")
            questions.flush()
            return float(answers.readline())

        try:
            yield seconds
        finally:
            questions.close()
