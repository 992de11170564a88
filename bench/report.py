"""One table of all figures."""

import os
import statistics
from collections.abc import Callable, Mapping, Sequence

from bench.processes import memory_by_kind
from bench.services import Service

Seconds = Mapping[str, Sequence[float]]


def latency_rows(title: str, seconds: Seconds, base: str) -> list[list[str]]:
    """Median with its ratio to `base`, 95th and 99th percentile, in milliseconds."""
    shares: dict[str, Callable[[Sequence[float]], float]] = {
        "median": statistics.median,
        "p95": lambda times: _quantile(times, 95),
        "p99": lambda times: _quantile(times, 99),
    }
    rows = [
        [f"{title}, {name} (ms)", *(f"{1000 * share(times):.1f}" for times in seconds.values())]
        for name, share in shares.items()
    ]
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = [f"{medians[base] / value:.1f}" for value in medians.values()]
    return [*rows, [f"{title}, times faster", *ratios]]


def rate_rows(title: str, rates: Seconds, base: str) -> list[list[str]]:
    """Median of so many a second, its spread, and the ratio to `base`."""
    medians = {name: statistics.median(values) for name, values in rates.items() if values}

    def cell(name: str, text: Callable[[str], str]) -> str:
        return text(name) if name in medians else "-"

    return [
        [title, *(cell(name, lambda n: f"{medians[n]:.1f}") for name in rates)],
        [f"{title}, least and most", *(cell(name, lambda n: _spread(rates[n])) for name in rates)],
        [
            f"{title}, over {base}",
            *(cell(name, lambda n: f"{medians[n] / medians[base]:.2f}") for name in rates),
        ],
    ]


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in Markdown."""
    print(f"| | {' | '.join(columns)} |")
    print("|---|" + "---:|" * len(columns))
    for row in rows:
        print(f"| {' | '.join(row)} |")


def print_processes(services: Sequence[Service]) -> None:
    """Print memory peaks and start-up times."""
    print("\nMemory of each process, at its highest (MB), and start-up:")
    for service in services:
        for kind, peaks in memory_by_kind(service.processes()).items():
            sizes = ", ".join(f"{peak / 1e6:.0f}" for peak in peaks[:6])
            print(f"  {service.name}: {kind} {sizes}")
        for kind, seconds in service.start_seconds.items():
            print(f"  {service.name}: {kind} is ready after {seconds:.1f} s")


def print_cost(cpu: Mapping[str, float], images: Mapping[str, int]) -> None:
    """Print what a million images cost; the formula beside it."""
    print("\nCPU-hours for a million images of a bulk import")
    print(
        "  (user and system time of all its processes, database included / images x 10^6 / 3600):"
    )
    for name, seconds in cpu.items():
        print(f"  {name}: {seconds / images[name] * 1e6 / 3600:.1f}")
    print(f"Load average at the end: {os.getloadavg()[0]:.1f}")


def _quantile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f}"
