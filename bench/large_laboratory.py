"""How fast the lists answer in a laboratory that has kept everything for years.

Fills a throw-away PostgreSQL with made-up specimens and cells by INSERT ... SELECT, then asks for
pages as a pathologist of all sites and prints how long each took. Asserts nothing.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from bench.large_claims import measure_queue
from bench.large_rows import CELL_ROWS, SPECIMEN_ROWS
from bench.measured import Measured, timed
from tests.counterparts import PostgreSQL, postgres

if TYPE_CHECKING:
    from specimens.models import User

SPECIMENS_AT_ONCE: Final = 10_000
NUMBERED: Final = ("patient", "order", "specimen", "cellimage")
BIG_TABLES: Final = ("specimens_cellimage", "specimens_prediction", "specimens_job")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.large_laboratory", description=__doc__)
    parser.add_argument("--specimens", type=int, default=100_000)
    parser.add_argument("--cells-per-specimen", type=int, default=100)
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--explain", action="store_true", help="plan of the slowest query of each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wbclab-bench-") as home, postgres() as server:
        _prepare(server)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "wbclab.settings",
            "WBCLAB_HOME": home,
            "WBCLAB_DATABASE_URL": server.url,
            "WBCLAB_REDIS_URL": "",
            "WBCLAB_LOG_LEVEL": "WARNING",
        }
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connection

        call_command("migrate", verbosity=0)
        try:
            person = _people(options.sites)
            # The same things are asked of the queue with nothing beside it, then beside all jobs.
            _number_rows_from(1_000_000_000)
            before = measure_queue("no other rows")
            _fill(options.specimens, options.cells_per_specimen, options.sites)
            _describe()
            measured = [*_measure(person, options.specimens), *measure_queue("all rows")]
            _print([*measured, *before])
            if options.explain:
                _explain(measured)
        finally:
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined] # PostgreSQL only


def _prepare(server: PostgreSQL) -> None:
    """Let the filling write little besides the rows. What is read with stays as it was."""
    import psycopg

    settings = {
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "8GB",
        "autovacuum": "off",  # VACUUM ANALYZE is run once instead, not beside the measurement
    }
    with psycopg.connect(server.url, autocommit=True) as connection:
        for name, value in settings.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    server.restart()


def _people(sites: int) -> "User":
    from django.utils import timezone

    from classifier.models import ModelVersion
    from specimens.models import Role, Site, User, WorkerHeartbeat

    for number in range(1, sites + 1):
        Site.objects.create(pk=number, code=f"site-{number}", name=f"Laboratory {number}")
    person = User.objects.create(pk=1, username="pathologist", role=Role.PATHOLOGIST)
    person.sites.set(Site.objects.all())
    ModelVersion.objects.create(
        pk=1,
        name="bench",
        version="1",
        digest="0" * 64,
        metadata={"abstain": {"confidence_threshold": 0.8}, "ood": {"threshold": 1.3}},
        is_active=True,
    )
    now = timezone.now()
    WorkerHeartbeat.objects.create(
        worker="worker-1", engine="onnx", model_digest="0" * 64, started_at=now, seen_at=now
    )
    return person


def _number_rows_from(first: int) -> None:
    """Leave the numbers below to the rows that are filled in."""
    from django.db import connection

    with connection.cursor() as cursor:
        for table in NUMBERED:
            cursor.execute(
                f"SELECT setval(pg_get_serial_sequence('specimens_{table}', 'id'), %s)",
                [first],
            )


def _fill(specimens: int, cells: int, sites: int) -> None:
    from django.db import connection, transaction

    started = time.monotonic()
    with connection.cursor() as cursor:
        # Not checked row by row: the statements refer to nothing that is not there.
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("SET max_parallel_maintenance_workers = 0")
        cursor.execute("SET maintenance_work_mem = '1GB'")
        # Few values, all whole numbers of our own; percent signs of the SQL stay as they are.
        text = SPECIMEN_ROWS.replace("%(sites)s", str(sites))
        cursor.execute(text.replace("%(specimens)s", str(specimens)))
        with _without_indexes(cursor):
            for after in range(0, specimens, SPECIMENS_AT_ONCE):
                upto = min(after + SPECIMENS_AT_ONCE, specimens)
                with transaction.atomic():
                    cursor.execute(CELL_ROWS, {"cells": cells, "after": after, "upto": upto})
                _progress(f"{upto:,} specimens, {time.monotonic() - started:.0f} s")
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("RESET ALL")
    _progress(f"filled in {time.monotonic() - started:.0f} s")


@contextmanager
def _without_indexes(cursor: Any) -> Iterator[None]:
    """Drop the indexes of the big tables, and build them again, each in one go."""
    cursor.execute(
        """
        SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
        FROM pg_index AS i LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid
        WHERE i.indrelid = ANY(%s::regclass[]) AND c.oid IS NULL
        """,
        [list(BIG_TABLES)],
    )
    indexes = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f"DROP INDEX {name}")
    yield
    for name, definition in indexes:
        _progress(f"index {name}")
        cursor.execute(definition)


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _describe() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname, reltuples::bigint, pg_size_pretty(pg_total_relation_size(oid))
            FROM pg_class WHERE relname = ANY(%s) ORDER BY reltuples DESC
            """,
            [["specimens_specimen", *BIG_TABLES]],
        )
        for name, rows, size in cursor.fetchall():
            print(f"{name:<24}{rows:>14,} rows  {size}")
        cursor.execute("SELECT pg_size_pretty(pg_database_size(current_database())), version()")
        size, version = cursor.fetchone()
    print(f"database {size}; {version.partition(',')[0]}; {os.cpu_count()} cores")


def _measure(person: "User", specimens: int) -> list[Measured]:
    from django.test import Client, RequestFactory
    from django.urls import reverse

    from specimens.views.frame import frame

    client = Client(SERVER_NAME="localhost")
    client.force_login(person)
    request = RequestFactory().get("/")
    request.user = person

    def page(address: str) -> Callable[[], object]:
        def ask() -> None:
            answer = client.get(address)
            if answer.status_code != 200:
                raise RuntimeError(f"{address}: {answer.status_code}")

        return ask

    everything = reverse("specimen_list")
    waiting = specimens - 150
    asked = {
        "worklist": page(reverse("worklist")),
        "worklist, with failed images": page(reverse("worklist") + "?failed=1"),
        "review queue": page(reverse("review_queue")),
        "specimens": page(everything),
        "specimens, last page": page(f"{everything}?page={specimens}"),
        "specimens, text: a name": page(f"{everything}?q=Musterfrau12"),
        "specimens, text: a number": page(f"{everything}?q=-{waiting:06}"),
        "specimens, with failed images": page(f"{everything}?failed=1"),
        "one specimen": page(reverse("specimen", args=[waiting])),
        "frame's status line": lambda: frame(request),
        "model page": page(reverse("model")),
    }
    found = []
    for name, ask in asked.items():
        _progress(name)
        found.append(timed(name, ask))
    return found


def _print(measured: list[Measured]) -> None:
    print(f"\n{'':<36}{'median':>10}{'p95':>10}{'queries':>9}{'slowest':>12}")
    for one in measured:
        slowest = 1000 * float(one.slowest["time"])
        print(
            f"{one.name:<36}{one.median:>7.1f} ms{one.p95:>7.1f} ms{len(one.queries):>9}"
            f"{slowest:>9.0f} ms"
        )
    print(f"Load average over one and five minutes: {os.getloadavg()[0]:.1f}, ", end="")
    print(f"{os.getloadavg()[1]:.1f}")


def _explain(measured: list[Measured]) -> None:
    from django.db import connection

    for one in measured:
        sql = one.slowest["sql"]
        if not sql.lstrip().startswith(("SELECT", "WITH")):
            continue
        print(f"\n--- {one.name} ---\n{sql}")
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {sql}")
            for (line,) in cursor.fetchall():
                print(line)


if __name__ == "__main__":
    main()
