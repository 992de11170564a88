"""One thing asked for again and again."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

ROUNDS: Final = 20


@dataclass(frozen=True, slots=True)
class Measured:
    """How long it took each time; the queries are those of one time more."""

    name: str
    milliseconds: list[float]
    queries: list[dict[str, str]]

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.milliseconds, n=20)[-1]

    @property
    def slowest(self) -> dict[str, str]:
        return max(self.queries, key=lambda query: float(query["time"]))


def timed(name: str, ask: Callable[[], object], rounds: int = ROUNDS) -> Measured:
    """Ask once to warm up, `rounds` times by the clock, and once for the queries."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    ask()
    milliseconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        ask()
        milliseconds.append(1000 * (time.perf_counter() - started))
    with CaptureQueriesContext(connection) as captured:
        ask()
    return Measured(name, milliseconds, list(captured.captured_queries))
