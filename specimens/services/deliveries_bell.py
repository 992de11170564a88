"""Tells the delivering processes that something is due. A lost ring costs the sweep interval.

With Redis a message without content, published to whoever listens; without it, one byte through a
named pipe.
"""

import contextlib
import logging
import time
from types import TracebackType
from typing import Any, Final, Protocol

import redis
from django.conf import settings

from specimens.services.doorbell import PipeListener, ring_pipe

logger = logging.getLogger(__name__)

CHANNEL: Final = "wbclab.deliveries"
# A signer waits for this: one who rings in vain loses no more than the moment.
TIMEOUT_SECONDS: Final = 1.0


class Bell(Protocol):
    """What a delivering process waits at. Use as a context manager."""

    def __enter__(self) -> "Bell": ...

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def wait(self, seconds: float) -> bool: ...


def ring() -> None:
    """Ring. Never raises: what rings has committed already, and the sweep looks anyway."""
    if not settings.REDIS_URL:
        ring_pipe(settings.DELIVERY_DOORBELL_PATH)
        return
    try:
        with _client() as client:
            client.publish(CHANNEL, b"")
    except redis.RedisError as error:
        logger.warning("the broker cannot be reached (%s); the sweep will find it", error)


def listen() -> Bell:
    """Return the other end of what `ring` pulls."""
    return RedisListener() if settings.REDIS_URL else PipeListener(settings.DELIVERY_DOORBELL_PATH)


def _client() -> Any:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=TIMEOUT_SECONDS, socket_timeout=TIMEOUT_SECONDS
    )


class RedisListener:
    """Waits for rings through Redis; without Redis it merely waits, and asks again each time."""

    def __enter__(self) -> "RedisListener":
        self._client = _client()
        self._subscription: Any = None
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._drop()
        self._client.close()

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, at most `seconds`; swallow all rings that came together."""
        deadline = time.monotonic() + seconds
        try:
            if self._subscription is None:
                self._subscription = self._client.pubsub(ignore_subscribe_messages=True)
                self._subscription.subscribe(CHANNEL)
            while (left := deadline - time.monotonic()) > 0:
                if self._subscription.get_message(timeout=left):
                    while self._subscription.get_message(timeout=0):
                        pass
                    return True
        except redis.RedisError as error:
            logger.warning("the broker cannot be reached (%s); nobody can ring", error)
            self._drop()
            time.sleep(max(0.0, deadline - time.monotonic()))
        return False

    def _drop(self) -> None:
        if self._subscription is not None:
            with contextlib.suppress(redis.RedisError):
                self._subscription.close()
            self._subscription = None
