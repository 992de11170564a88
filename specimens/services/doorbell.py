"""Tells a worker that work is due. A lost ring costs the sweep interval and nothing else.

With Redis the ring is a Celery message without content; without it, one byte through a named pipe
to the worker process of the same machine.
"""

import contextlib
import logging
import os
import select
from pathlib import Path
from types import TracebackType

from celery import current_app
from django.conf import settings
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)


def ring(*, jobs: int = 1) -> None:
    """Ring once for each batch that `jobs` due jobs make, so that idle workers join in.

    Never raises: what rings has committed already, and the sweep rings again.
    """
    if not settings.REDIS_URL:
        ring_pipe(settings.DOORBELL_PATH)
        return
    batches = max(1, min(8, -(-jobs // settings.BATCH_SIZE)))
    try:
        for _ in range(batches):
            current_app.send_task(
                "specimens.tasks.classify_due", queue="classify", expires=60, retry=False
            )
    except (OperationalError, OSError) as error:
        logger.warning("the broker cannot be reached (%s); the sweep will ring", error)


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

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, at most `seconds`; swallow all rings that came together."""
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        if ready:
            os.read(self._descriptor, 65536)
        return bool(ready)
