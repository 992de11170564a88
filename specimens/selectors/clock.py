"""The time that leases, pauses and signs of life are told by: the database's.

Several machines write and judge them. By their own clocks, one that is an hour ahead would take
away what all the others hold, and what it leased would stay leased for an hour after its death.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import connection
from django.utils import timezone

# How long one look at the database's clock is counted on from.
_HOLDS_SECONDS: Final = 60.0
# Goes on while the machine sleeps, and is set by nobody.
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_seen: tuple[datetime, float] | None = None


def now() -> datetime:
    """Return the time of the database, without asking it each time; with SQLite the machine's."""
    global _seen
    if connection.vendor != "postgresql":
        return timezone.now()
    steady = time.clock_gettime(_STEADY)
    if _seen is None or steady - _seen[1] > _HOLDS_SECONDS:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            _seen = (cursor.fetchone()[0].astimezone(UTC), steady)
    at, when = _seen
    return at + timedelta(seconds=steady - when)
