"""The audit trail only grows, and each row vouches for the one before it."""

import pytest
from django.db import DatabaseError, connection, transaction

from specimens.models import AuditEvent
from specimens.models.audit import GENESIS
from specimens.services import audit
from tests.factories import Cast, make_cast

pytestmark = [pytest.mark.core, pytest.mark.django_db]


def _three(cast: Cast) -> list[AuditEvent]:
    specimen = cast.specimen()
    return [audit.record_view(actor=cast.technician, specimen=specimen) for _ in range(3)]


def test_each_event_carries_the_hash_of_the_one_before(cast: Cast) -> None:
    first, second, third = _three(cast)
    assert first.previous_hash == GENESIS
    assert (second.previous_hash, third.previous_hash) == (first.hash, second.hash)


def test_the_hash_is_the_same_when_read_back(cast: Cast) -> None:
    _three(cast)
    assert all(event.hash == event.computed_hash() for event in AuditEvent.objects.all())


def test_a_changed_column_no_longer_fits_the_hash(cast: Cast) -> None:
    event = _three(cast)[1]
    for column, value in {"action": "x", "actor_name": "x", "details": {"a": 1}}.items():
        changed = AuditEvent.objects.get(pk=event.pk)
        setattr(changed, column, value)
        assert changed.computed_hash() != event.hash, column


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE specimens_auditevent SET action = 'x'",
        "DELETE FROM specimens_auditevent",
    ],
)
def test_the_database_refuses_update_and_delete(cast: Cast, statement: str) -> None:
    _three(cast)
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert AuditEvent.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_an_event_outside_a_transaction_is_a_mistake() -> None:
    specimen = make_cast().specimen()
    with pytest.raises(RuntimeError, match="transaction"):
        audit.record(actor=None, action="x", subject=specimen)
