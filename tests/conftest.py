"""Fixtures for all tests: the cast, and a database that forgets."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management.commands import flush
from django.db import connection

from specimens.services.queue_entry import forget_counts
from tests.factories import Cast, make_cast

_OTHER_SESSIONS = """
SELECT state, query FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Let go of the database at the end; a session that somebody keeps is named by what it did."""
    yield
    if connection.vendor != "postgresql":
        return
    gc.collect()  # connections of threads that have ended
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as apart:
        for _ in range(50):
            if not (left := apart.execute(_OTHER_SESSIONS).fetchall()):
                return
            time.sleep(0.2)
    pytest.fail(f"sessions of the database that the tests have left: {left}")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, settings: Any) -> Iterator[None]:
    """Images, the doorbell and static files of a test lie in its own folder."""
    settings.MEDIA_ROOT = tmp_path / "images"
    settings.DOORBELL_PATH = tmp_path / "doorbell"
    forget_counts()
    # Counted by the minute in a cache that outlives a test; those of the limit set their own.
    settings.WRONG_CREDENTIALS_LIMIT = 0
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    yield


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """What a test writes need not outlive the machine; the processes it starts still sync."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _descriptor: None)
        yield


@pytest.fixture
def within_a_minute() -> None:
    """Wait for the next minute where this one is about to end: the test is of what one counts.

    Nor does the day turn then. Ask for it before what takes the time.
    """
    left = 60 - time.time() % 60
    if left < 3:
        time.sleep(left)


@pytest.fixture
def cast(db: None) -> Cast:
    """Technician, pathologists, administrator, integration, and an outsider of another site."""
    return make_cast()


# What a migration leaves in these, no test changes.
_KEPT_TABLES = {"django_content_type", "auth_permission"}
_NO_DELETE = "specimens_auditevent_no_delete"


@pytest.fixture(autouse=True, scope="session")
def _emptied_between_transactional_tests() -> Iterator[None]:
    """Let the test runner empty the tables, the append-only audit trail too, and quickly.

    To truncate each of fifty tables, and to write a few hundred content types and permissions anew,
    took longer than most of these tests.
    """
    operations = type(connection.ops)
    original = operations.sql_flush

    def sql_flush(self: Any, style: Any, tables: Any, **options: Any) -> list[str]:
        tables = sorted(set(tables) - _KEPT_TABLES)
        if connection.vendor == "sqlite":
            return [
                f"DROP TRIGGER IF EXISTS {_NO_DELETE}",
                *original(self, style, tables, **options),
                f"CREATE TRIGGER {_NO_DELETE} BEFORE DELETE ON specimens_auditevent "
                "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END",
            ]
        names = [self.quote_name(table) for table in tables]
        return [
            # As TRUNCATE would, wait for the last words of a process that was killed.
            f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE",
            "SET LOCAL session_replication_role = replica",  # no trigger, no foreign key
            "; ".join(f"DELETE FROM {name}" for name in names),  # noqa: S608
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "sql_flush", sql_flush)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_, **__: None)
        yield
