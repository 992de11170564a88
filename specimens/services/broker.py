"""The connections to Redis: for rings and results, and for counters."""

from functools import cache
from typing import Any, Final

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

# Longer than anybody waits for a ring; a caller must never hang on a broker that is away.
READ_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 1.0


def broker() -> Any:
    """Return the client of this process, for any of its threads; it keeps its connections."""
    return _client(settings.REDIS_URL)


def counter() -> Any:
    """Return the same for a counter, which keeps a request waiting for two seconds at most."""
    return _impatient_client(settings.REDIS_URL)


@cache
def _client(url: str) -> Any:
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=READ_SECONDS,
        health_check_interval=30,
    )


@cache
def _impatient_client(url: str) -> Any:
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 1),  # a connection that Redis has closed since
    )
