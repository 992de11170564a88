"""The worker process of the embedded mode (production: Celery, queue `classify`)."""

import logging
import signal
import threading
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from classifier.artifact import ModelArtifactError
from specimens.services.attendance import attend
from specimens.services.classification import ClassificationWorker
from specimens.services.doorbell import listen

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Classify queued cell images until stopped (embedded mode)."
    # They are for `manage.py check`: they would load every page, and 35 MB with them.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, _stop)
        try:
            with listen() as bell, ClassificationWorker() as worker:
                attend(worker, bell, stopped=threading.Event(), sweeps=True)
        except ModelArtifactError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            logger.info("worker stopped")


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
