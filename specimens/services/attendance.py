"""A worker at its bell, in both modes."""

import threading
import time

import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from specimens.services.classification import ClassificationWorker
from specimens.services.doorbell import Bell
from specimens.services.queue import sweep

logger = structlog.get_logger(__name__)


def attend(
    worker: ClassificationWorker, bell: Bell, *, stopped: threading.Event, sweeps: bool
) -> None:
    """Classify whenever the bell rings, until `stopped`; with `sweeps` look after what lies around.

    A database that is away is waited for, not died of.
    """
    swept = 0.0
    due = True
    while not stopped.is_set():
        try:
            if due:
                worker.drain(stopped)
            if sweeps and time.monotonic() - swept >= settings.SWEEP_SECONDS:
                swept = time.monotonic()
                sweep()
        except DatabaseError as error:
            logger.warning("the database cannot be used; trying again", error=error)
            connection.close()
            stopped.wait(1)
            continue
        due = bell.wait(settings.SWEEP_SECONDS, worker.give_head_start)
