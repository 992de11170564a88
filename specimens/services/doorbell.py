"""Tells a worker that work is due. A lost ring costs the sweep interval and nothing else.

With Redis the ring is an element of a list that idle workers wait at, so that one of them wakes for
each; without it, one byte through a named pipe to the worker process of the same machine.

With Redis an idle worker of the same machine can be given notice of images that will be on record
in a moment, and begins with them. The ring for them then goes to that worker.
"""

import contextlib
import logging
import os
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

import redis
from django.conf import settings

from specimens.services.broker import READ_SECONDS, broker

logger = logging.getLogger(__name__)

LIST: Final = "wbclab.classify"
MOST_RINGS: Final = 8
# Longer than images take to be on record; then nobody waits for the ring of a notice any more.
_NOTICE_SECONDS: Final = 60
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

# What is begun with the images of a notice: the names of their files.
Begin = Callable[[Sequence[str]], None]


class Bell(Protocol):
    """What a worker waits at. Use as a context manager."""

    def __enter__(self) -> "Bell": ...

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def wait(self, seconds: float, begin: Begin | None = None) -> bool:
        """Wait for a ring, at most `seconds`; whether there is reason to look.

        What comes with a notice is begun in between.
        """


@cache
def notices() -> str:
    """Return the list of the notices of this machine, empty where it does not say which it is.

    Its containers have a kernel in common, and with it what is in a file that is not on disk yet.
    Another machine may see a part of it, or nothing.
    """
    try:
        return f"{LIST}.notices.{_BOOT_ID.read_text().strip()}"
    except OSError:
        return ""


def give_notice(*, names: Sequence[str]) -> bytes:
    """Have an idle worker begin with files that have their names; their rows follow in a moment.

    Returns what `ring` is told then; it is empty where there are no notices. Never raises.
    """
    if not settings.REDIS_URL or not notices():
        return b""
    notice = " ".join(names).encode()
    try:
        broker().lpush(notices(), notice)
    except redis.RedisError:
        return b""  # the ring will say so
    return notice


def ring(*, jobs: int = 1, notice: bytes = b"") -> None:
    """Ring once for each batch that `jobs` due jobs make, so that idle workers join in.

    Where a worker has taken notice of them it alone is woken. Never raises: what rings has
    committed already, and the sweep rings again.
    """
    if notice and _ring_who_took(notice):
        return
    if not settings.REDIS_URL:
        ring_pipe(settings.DOORBELL_PATH)
        return
    rings = max(1, min(MOST_RINGS, -(-jobs // settings.BATCH_SIZE)))
    try:
        # Workers that are busy look again by themselves: what they did not hear is no loss.
        if broker().lpush(LIST, *[b"!"] * rings) > MOST_RINGS:
            broker().ltrim(LIST, 0, MOST_RINGS - 1)
    except redis.RedisError as error:
        logger.warning("the broker cannot be reached (%s); the sweep will ring", error)


def _ring_who_took(notice: bytes) -> bool:
    """Ring for the worker that took a notice; False where none did."""
    try:
        with broker().pipeline(transaction=False) as pipeline:
            pipeline.lrem(notices(), 1, notice)
            pipeline.lpush(_own_list(notice), b"!")
            pipeline.expire(_own_list(notice), _NOTICE_SECONDS)
            return not pipeline.execute()[0]
    except redis.RedisError:
        return False


def _own_list(notice: bytes) -> str:
    """Return the list of the ring for a notice: file names are used once."""
    return f"{notices()}:{notice.decode().partition(' ')[0]}"


def listen() -> Bell:
    """Return the other end of what `ring` pulls."""
    return RedisListener() if settings.REDIS_URL else PipeListener(settings.DOORBELL_PATH)


def ring_pipe(path: Path) -> None:
    """Ring through a named pipe; nothing happens where nobody listens."""
    # ENXIO: no worker listens; ENOENT: none ever did; EAGAIN: the pipe is full of rings already.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(descriptor, b"!")
        finally:
            os.close(descriptor)


class PipeListener:
    """The worker's end of the pipe. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> "PipeListener":
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self.path, mode=0o600)
        # Opened for both directions: with no writer at hand a read-only pipe would report its end.
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def wait(self, seconds: float, begin: Begin | None = None) -> bool:
        """Wait for a ring, at most `seconds`; swallow all rings that came together."""
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        if ready:
            self.read()
        return bool(ready)

    def read(self) -> bytes:
        """Wait for something and return all there is."""
        select.select([self._descriptor], [], [])
        return os.read(self._descriptor, 65536)


class RedisListener:
    """A worker's end of the list. Use as a context manager."""

    def __init__(self) -> None:
        # Where the rings for notices will come.
        self._expected: deque[str] = deque(maxlen=MOST_RINGS)

    def __enter__(self) -> "RedisListener":
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing is held."""

    def wait(self, seconds: float, begin: Begin | None = None) -> bool:
        """Wait for a ring, at most `seconds`; where nobody can ring, look all the same."""
        deadline = time.monotonic() + seconds
        lists = [LIST, notices()] if begin is not None and notices() else [LIST]
        try:
            while True:
                patience = min(seconds, READ_SECONDS / 2)
                heard = broker().blpop([*self._expected, *lists], timeout=patience)
                if heard is None:
                    self._expected.clear()
                    return False
                place, content = heard[0].decode(), heard[1]
                if begin is None or place != notices():
                    if place in self._expected:
                        self._expected.remove(place)
                    return True
                self._expected.append(_own_list(content))
                begin(content.decode().split())
        except redis.RedisError as error:
            logger.warning("the broker cannot be reached (%s); looking without a ring", error)
            time.sleep(max(0.0, deadline - time.monotonic()))
            return True
