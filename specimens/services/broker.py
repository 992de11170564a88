"""The connection to Redis that rings and results go through."""

from functools import cache
from typing import Any, Final

import redis
from django.conf import settings

# Longer than anybody waits for a ring; a caller must never hang on a broker that is away.
READ_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 1.0


def broker() -> Any:
    """Return the client of this process, for any of its threads; it keeps its connections."""
    return _client(settings.REDIS_URL)


@cache
def _client(url: str) -> Any:
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=READ_SECONDS,
        health_check_interval=30,
    )
