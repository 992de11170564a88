"""A bulk import, from files to results in the database."""

import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg

from bench.client import Client, Image
from bench.services import Service

AT_ONCE = 100  # images in one call: those of one specimen
SENDERS = 2
PATIENCE_SECONDS = 120
_OPEN = "SELECT count(*) FROM specimens_job WHERE state IN ('queued', 'running')"
_FAILED = "SELECT count(*) FROM specimens_job WHERE state = 'failed'"
Connection = psycopg.Connection[tuple[int]] | sqlite3.Connection


def import_images(client: Client, specimens: Sequence[int], images: Sequence[Image]) -> float:
    """Send the images, `AT_ONCE` for each specimen; seconds until the last result is committed."""
    pieces = [images[first : first + AT_ONCE] for first in range(0, len(images), AT_ONCE)]
    started = time.perf_counter()
    with ThreadPoolExecutor(SENDERS) as senders:
        list(senders.map(client.add_cells, specimens, pieces))
    _await_results(client.service)
    return time.perf_counter() - started


def _await_results(service: Service) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    with closing(_connect(service.database)) as connection:
        while _count(connection, _OPEN):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{service.name} did not finish the import in time")
            time.sleep(0.02)
        if failed := _count(connection, _FAILED):
            raise RuntimeError(f"{service.name} failed {failed} images")


def _count(connection: Connection, query: str) -> int:
    return sum(count for (count,) in connection.execute(query))


def _connect(address: str) -> Connection:
    if address.startswith("sqlite:"):
        return sqlite3.connect(address.removeprefix("sqlite:"), timeout=20)
    return psycopg.connect(address, autocommit=True)
