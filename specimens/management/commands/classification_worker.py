"""The worker process of the embedded mode (production: Celery, queue `classify`)."""

import logging
import signal
import time
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from classifier.artifact import ModelArtifactError
from specimens.services.classification import ClassificationWorker
from specimens.services.doorbell import PipeListener
from specimens.services.queue import sweep

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Classify queued cell images until stopped (embedded mode)."

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, _stop)
        try:
            with PipeListener(settings.DOORBELL_PATH) as bell, ClassificationWorker() as worker:
                while True:
                    _work(worker)
                    bell.wait(settings.SWEEP_SECONDS)
        except ModelArtifactError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            logger.info("worker stopped")


def _work(worker: ClassificationWorker) -> None:
    """Drain the queue; a database that is away is waited for, not died of."""
    try:
        worker.drain()
        sweep()
    except DatabaseError as error:
        logger.warning("the database cannot be used (%s); trying again", error)
        connection.close()
        time.sleep(1)


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
