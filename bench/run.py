"""Measures wbclab against the naive service, interleaved, and prints the ratio.

The two take turns with the same image, so that whatever else the machine does hits both alike;
the ratio of the medians is what counts, not the milliseconds of one machine.
"""

import argparse
import io
import itertools
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from bench import services
from bench.client import Client, Image

DATA = Path(os.environ.get("WBCLAB_DATA", services.ROOT.parent / "shared" / "data"))
BATCH = 10
WARM_UP = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="single images (default 100)")
    parser.add_argument("--batches", type=int, default=20, help="batches of ten (default 20)")
    options = parser.parse_args()
    images, source = _images(options.rounds + WARM_UP)
    print(describe_machine())
    print(f"Images: {len(images)} different ones, {source}\n")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wbclab-bench-")))
        running = [
            stack.enter_context(services.wbclab(home)),
            stack.enter_context(services.baseline(home)),
        ]
        clients = [Client(service) for service in running]
        _compare("One image", clients, _singles(images), options.rounds)
        _compare(f"{BATCH} images", clients, _batches(images), options.batches)
        print(f"Load average at the end: {os.getloadavg()[0]:.1f}")


def _compare(
    title: str, clients: Sequence[Client], send: Callable[[Client, int], float], rounds: int
) -> None:
    seconds: dict[str, list[float]] = {client.service.name: [] for client in clients}
    for number in range(-WARM_UP, rounds):
        # Who goes first alternates: the second finds the caches warm.
        for client in clients if number % 2 else reversed(clients):
            taken = send(client, number + WARM_UP)
            if number >= 0:
                seconds[client.service.name].append(taken)
    ours, theirs = (statistics.median(times) for times in seconds.values())
    print(f"{title}, {rounds} times each, taking turns:")
    for name, times in seconds.items():
        milliseconds = [1000 * value for value in times]
        p95 = statistics.quantiles(milliseconds, n=20)[-1]
        print(f"  {name:<24} median {statistics.median(milliseconds):8.1f} ms   p95 {p95:8.1f} ms")
    for client in clients:
        if client.late:
            print(
                f"  {client.late} calls to {client.service.name} answered 202 and were asked again"
            )
            client.late = 0
    print(f"  {'ratio':<24} {theirs / ours:.1f} times faster\n")


def _singles(images: Sequence[Image]) -> Callable[[Client, int], float]:
    return lambda client, number: client.predict(images[number % len(images)])


def _batches(images: Sequence[Image]) -> Callable[[Client, int], float]:
    def send(client: Client, number: int) -> float:
        first = number * BATCH
        return client.predict_batch(
            [images[(first + index) % len(images)] for index in range(BATCH)]
        )

    return send


def _images(count: int) -> tuple[list[Image], str]:
    """JPEG files of the labelled images, or drawn ones where those are absent."""
    paths = sorted((DATA / "pbc" / "val").rglob("*.jpg"))
    if paths:
        chosen = itertools.islice(paths[:: max(1, len(paths) // count)], count)
        return [(path.name, path.read_bytes()) for path in chosen], "labelled images (pbc/val)"
    from classifier.classes import CELL_CLASSES
    from classifier.synthetic import draw_cells, save_jpeg

    images = []
    counts = dict.fromkeys(CELL_CLASSES, -(-count // len(CELL_CLASSES)))
    for number, (_, cell) in enumerate(draw_cells(1, counts)):
        buffer = io.BytesIO()
        save_jpeg(cell, buffer)
        images.append((f"synthetic-{number}.jpg", buffer.getvalue()))
    return images, "synthetic"


def describe_machine() -> str:
    """Processor, cores, memory and the versions that matter, in two lines."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line for line in information.read_text().splitlines() if "model name" in line]
        processor = names[0].partition(":")[2].strip() if names else processor
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("onnxruntime", "tensorflow-cpu", "keras", "django")
    )
    return (
        f"Machine: {processor}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release()}, load {os.getloadavg()[0]:.1f}\n"
        f"Python {platform.python_version()}, {packages}"
    )
