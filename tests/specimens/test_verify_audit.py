"""verify_audit names the first bad row, in the database and in an export."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from specimens.models import AuditEvent
from specimens.services import audit
from tests.factories import Cast

pytestmark = [pytest.mark.core, pytest.mark.django_db]

_SQLITE = "specimens_auditevent_no_{}"
_POSTGRESQL = "specimens_auditevent_append_only"


@pytest.fixture
def five(cast: Cast) -> list[AuditEvent]:
    specimen = cast.specimen()
    return [audit.record_view(actor=cast.technician, specimen=specimen) for _ in range(5)]


@contextmanager
def _without_the_trigger() -> Iterator[None]:
    """What somebody with the rights of the owner of the database could do."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Rows just written are pending on deferred constraints, which block ALTER TABLE.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(f"ALTER TABLE specimens_auditevent DISABLE TRIGGER {_POSTGRESQL}")
            yield
            cursor.execute(f"ALTER TABLE specimens_auditevent ENABLE TRIGGER {_POSTGRESQL}")
            return
        for act in ("update", "delete"):
            cursor.execute(f"DROP TRIGGER {_SQLITE.format(act)}")
        yield
        for act in ("update", "delete"):
            cursor.execute(
                f"CREATE TRIGGER {_SQLITE.format(act)} BEFORE {act} ON specimens_auditevent "
                "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END"
            )


def _sql(statement: str, *values: str | int) -> None:
    with _without_the_trigger(), connection.cursor() as cursor:
        cursor.execute(statement, values)


def _verify(**options: object) -> str:
    out = io.StringIO()
    call_command("verify_audit", stdout=out, **options)
    return out.getvalue()


def test_a_sound_chain_is_said_with_its_last_link(five: list[AuditEvent]) -> None:
    assert _verify() == f"5 events, all sound.\n--head 5:{five[4].hash}\n"


def test_an_empty_trail_is_sound(db: None) -> None:
    assert _verify() == "0 events, all sound.\n"


@pytest.mark.parametrize(
    ("column", "value"),
    [("action", "nothing.happened"), ("actor_name", "somebody-else"), ("details", '{"a": 1}'),
     ("object_id", "0"), ("at", "2020-01-01 00:00:00+00")],
)  # fmt: skip
def test_a_changed_row_is_named(five: list[AuditEvent], column: str, value: str) -> None:
    _sql(f"UPDATE specimens_auditevent SET {column} = %s WHERE sequence = 3", value)  # noqa: S608
    with pytest.raises(CommandError, match=r"Event 3: changed.*The 2 events before it are sound"):
        _verify()


def test_a_row_changed_with_its_hash_breaks_the_next_one(five: list[AuditEvent]) -> None:
    third = AuditEvent.objects.get(sequence=3)
    third.action = "nothing.happened"
    _sql(
        "UPDATE specimens_auditevent SET action = %s, hash = %s WHERE sequence = 3",
        third.action,
        third.computed_hash(),
    )
    with pytest.raises(CommandError, match="Event 4: does not follow the event before it"):
        _verify()


def test_a_removed_row_is_named(five: list[AuditEvent]) -> None:
    _sql("DELETE FROM specimens_auditevent WHERE sequence = %s", 2)
    with pytest.raises(CommandError, match="Event 2: missing: 2 removed, the next event is 3"):
        _verify()


def test_events_cut_off_at_the_end_are_found_with_an_earlier_head(five: list[AuditEvent]) -> None:
    head = f"5:{five[4].hash}"
    assert "5 events" in _verify(head=head)
    _sql("DELETE FROM specimens_auditevent WHERE sequence >= %s", 4)
    assert "3 events, all sound." in _verify()
    with pytest.raises(CommandError, match="Event 4: missing: the chain ends at 3"):
        _verify(head=head)


def test_a_chain_written_anew_is_found_with_an_earlier_head(five: list[AuditEvent]) -> None:
    with pytest.raises(CommandError, match="Event 3: its hash is not the one noted earlier"):
        _verify(head=f"3:{'0' * 64}")
    with pytest.raises(CommandError, match="SEQUENCE:HASH"):
        _verify(head="3")


def test_an_export_is_verified_without_the_database(
    five: list[AuditEvent], tmp_path: Path, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    file = tmp_path / "audit.jsonl"
    assert "5 events, all sound." in _verify(export=file)
    with django_assert_num_queries(0):
        assert "5 events, all sound." in _verify(file=file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[1]["details"] = {"x": 1}
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(CommandError, match="Event 2: changed"):
        _verify(file=file)
    file.write_text("no event\n")
    with pytest.raises(CommandError, match="line 1 of the export is not an audit event"):
        _verify(file=file)


def test_a_broken_chain_is_exported_to_its_end(five: list[AuditEvent], tmp_path: Path) -> None:
    _sql("UPDATE specimens_auditevent SET action = %s WHERE sequence = 2", "x")
    file = tmp_path / "audit.jsonl"
    with pytest.raises(CommandError, match="Event 2"):
        _verify(export=file)
    assert len(file.read_text().splitlines()) == 5


def test_the_walk_goes_in_batches(
    five: list[AuditEvent],
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    monkeypatch.setattr("specimens.selectors.audit._BATCH", 2)
    with django_assert_num_queries(4):  # three to read, one to write down that it was done
        assert "5 events" in _verify()
