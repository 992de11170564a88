"""How the claim path scales: 1, 2, 4 and 8 workers on one PostgreSQL, and what they wait for.

The model is replaced by a fixed wait, so that cores do not limit; everything else is what workers
do: claims, leases prolonged, results written, specimens moved on, while somebody sends images. Asks
PostgreSQL (fsync on) to log each wait for a lock above 10 ms. Prints a table, asserts nothing.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from bench.claims_worker import RUN
from bench.images import describe_machine
from tests.counterparts import PostgreSQL, postgres
from tests.processes import die_with_parent

WORKERS: Final = (1, 2, 4, 8)
SITES: Final = 2
IMAGES_OF_A_SPECIMEN: Final = 100
# "process 7 still waiting for ShareLock on transaction 971 after 10.1 ms", and what it was at.
LONG_WAIT: Final = re.compile(
    r"still waiting for .*? after ([0-9.]+) ms.*?STATEMENT:\s+(.{,90})", re.DOTALL
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.claims", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="for each number of workers")
    parser.add_argument("--wait", type=float, default=0.2, help="of the model, for each batch")
    parser.add_argument("--batch", type=int, default=16, help="images in one claim")
    parser.add_argument("--repeats", type=int, default=1, help="of the whole series")
    options = parser.parse_args()
    print(f"{describe_machine()}\nOne batch of {options.batch} takes {options.wait:g} s\n")
    with tempfile.TemporaryDirectory(prefix="wbclab-bench-") as home, postgres(durable=True) as pg:
        _log_long_waits(pg)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "wbclab.settings",
            "WBCLAB_HOME": home,
            "WBCLAB_DATABASE_URL": pg.url,
            "WBCLAB_REDIS_URL": "",
            "WBCLAB_LOG_LEVEL": "ERROR",
            "WBCLAB_BATCH_SIZE": str(options.batch),
        }
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], check=True)
        _print_head()
        for _ in range(options.repeats):
            alone = 0.0
            for count in WORKERS:
                rate = _measure(pg, count, options, alone)
                alone = alone or rate


def _log_long_waits(server: PostgreSQL) -> None:
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET log_lock_waits = on")
        connection.execute("ALTER SYSTEM SET deadlock_timeout = '10ms'")
        connection.execute("SELECT pg_reload_conf()")


def _measure(server: PostgreSQL, count: int, options: argparse.Namespace, alone: float) -> float:
    """Run `count` workers and a sender; print their line, return images a second."""
    before = server.log_path.stat().st_size
    images = round(1.3 * count * options.batch * (options.seconds + 3) / max(options.wait, 0.01))
    prepare = ["prepare", str(SITES), str(images), str(IMAGES_OF_A_SPECIMEN)]
    subprocess.run([sys.executable, "-m", RUN, *prepare], check=True)
    times = [str(options.seconds), str(options.wait)]
    running = [_start(["send", *times]), *(_start(["work", *times]) for _ in range(count))]
    for one in running:
        assert one.stdout is not None  # narrows the type
        one.stdout.readline()  # it is ready
    for one in running:
        assert one.stdin is not None
        one.stdin.write(b"go\n")
        one.stdin.flush()
    sent, *found = [json.loads(one.communicate()[0]) for one in running]
    with server.log_path.open("rb") as log:
        log.seek(before)
        waits = LONG_WAIT.findall(log.read().decode(errors="replace"))
    rate: float = sum(one["images"] for one in found) / options.seconds
    _print_line(count, rate, alone or rate, found, sent, waits)
    return rate


def _start(arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", RUN, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=die_with_parent(),
    )


def _print_head() -> None:
    print(
        f"{'workers':>7}{'claims/s':>10}{'images/s':>10}{'scale':>7}"
        f"{'claim p50':>12}{'p99':>9}{'result p50':>13}{'p99':>9}{'send p99':>11}"
        f"{'lock waits > 10 ms':>21}{'load':>7}"
    )


def _print_line(
    count: int,
    rate: float,
    alone: float,
    found: Sequence[dict[str, Any]],
    sent: dict[str, Any],
    waits: Sequence[tuple[str, str]],
) -> None:
    claims = [one for worker in found for one in worker["claims"]]
    results = [one for worker in found for one in worker["results"]]
    transactions = len(claims) + len(results) + len(sent["calls"])
    claims_a_second = rate * len(claims) / sum(one["images"] for one in found)
    print(
        f"{count:>7}{claims_a_second:>10.1f}{rate:>10.0f}{rate / alone:>7.2f}"
        f"{statistics.median(claims):>9.1f} ms{_p99(claims):>6.1f} ms"
        f"{statistics.median(results):>10.1f} ms{_p99(results):>6.1f} ms"
        f"{_p99(sent['calls']):>8.1f} ms{len(waits):>9} of {transactions:>6}"
        f"{os.getloadavg()[0]:>9.1f}",
        flush=True,
    )
    for milliseconds, statement in waits[:5]:
        print(f"        {float(milliseconds):.0f} ms or more: {' '.join(statement.split())}")


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[-1] if len(values) > 1 else sum(values)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
