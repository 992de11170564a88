"""Creates that may be sent twice: the second gets the first one's answer, and nothing is done.

The row of a key is written before the work, so that two at once are told apart; the answer is
written in the transaction of the work, so that neither exists without the other.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from specimens.models import IdempotencyKey, User
from specimens.services.errors import Conflict

# After which a request that neither ended nor failed was in a process that died, where the database
# cannot tell.
PATIENCE: Final = timedelta(minutes=2)
# Between taking a key and `hold` it looks as if nobody were at work.
_NOT_YET_HELD: Final = timedelta(seconds=1)
_SWEPT_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: HTTP status, headers that count, the body as JSON."""

    status: int
    headers: dict[str, str]
    body: Any


class KeyReused(Exception):
    """The key has been used for something else."""


class StillRunning(Conflict):
    """Another request under the same key is being worked on."""


def begin(*, actor: User, key: str, request_digest: str) -> uuid.UUID | Answer:
    """Take the key; return the proof of it, or the answer to give again.

    Call it outside a transaction. Raises KeyReused, StillRunning.
    """
    now = timezone.now()
    _sweep()
    attempt = uuid.uuid4()
    try:
        with transaction.atomic():
            IdempotencyKey.objects.create(
                account=actor,
                key=key,
                request_digest=request_digest,
                attempt=attempt,
                started_at=now,
                expires_at=now + timedelta(hours=settings.IDEMPOTENCY_HOURS),
            )
    except IntegrityError:
        return _known(actor, key, request_digest, attempt)
    return attempt


def _known(actor: User, key: str, request_digest: str, attempt: uuid.UUID) -> uuid.UUID | Answer:
    now = timezone.now()
    with transaction.atomic():
        rows = IdempotencyKey.objects.select_for_update().filter(account=actor, key=key)
        row = rows.first()
        if row is None:  # it failed, and was given back, since we looked
            raise StillRunning("Another request with this Idempotency-Key has just ended. Retry.")
        if row.expires_at > now:
            if row.request_digest != request_digest:
                raise KeyReused(
                    "This Idempotency-Key was used for another request. Take a new key for each "
                    "create, and the same key only to repeat it unchanged."
                )
            if row.status is not None:
                return Answer(row.status, row.headers, row.body)
            age = now - row.started_at
            if age < _NOT_YET_HELD or (age < PATIENCE and not _is_left_behind(row.attempt)):
                raise StillRunning(
                    "The first request with this Idempotency-Key is still being worked on. "
                    "Retry in a moment."
                )
        row.request_digest, row.attempt, row.started_at = request_digest, attempt, now
        row.expires_at = now + timedelta(hours=settings.IDEMPOTENCY_HOURS)
        row.status, row.headers, row.body = None, {}, None
        row.save()
    return attempt


def hold(*, attempt: uuid.UUID) -> None:
    """Show that the request is being worked on, until the transaction of the work has ended.

    However it ends: where the process dies or the database goes away, a repeat need not wait.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_lock_of(attempt)])


def _is_left_behind(attempt: uuid.UUID) -> bool:
    """Is nobody at work under this key? On SQLite that cannot be seen.

    Wrong where taking the key and `hold` lie far apart: then two work, and `finish` lets one of
    them through.
    """
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_lock_of(attempt)])
        return bool(cursor.fetchone()[0])


def _lock_of(attempt: uuid.UUID) -> int:
    return attempt.int >> 65  # 63 bits, of which 59 are random


def finish(*, attempt: uuid.UUID, status: int, headers: Mapping[str, str], body: Any) -> None:
    """Keep the answer. Call it in the transaction of the work; raises StillRunning to undo it."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("the answer belongs into the transaction of the work")
    rows = IdempotencyKey.objects.filter(attempt=attempt, status=None)
    if rows.update(status=status, headers=dict(headers), body=body) != 1:
        raise StillRunning("Another request has taken this Idempotency-Key over. Retry.")


def give_back(*, attempt: uuid.UUID) -> None:
    """Let go of a key whose work came to nothing: it may be sent again, corrected."""
    IdempotencyKey.objects.filter(attempt=attempt, status=None).delete()


def _sweep() -> None:
    expired = IdempotencyKey.objects.filter(expires_at__lt=timezone.now())
    oldest = expired.order_by("expires_at").values_list("pk", flat=True)[:_SWEPT_AT_ONCE]
    if found := list(oldest):
        IdempotencyKey.objects.filter(pk__in=found).delete()
