"""The process that sends results to other systems, in both modes."""

import logging
import signal
import time
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from specimens.interop.outgoing_http import allowed_hosts
from specimens.services import deliveries_bell
from specimens.services.deliveries_worker import DeliveryWorker

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Send reports to their destinations until stopped. Several may run at a time."
    # They are for `manage.py check`: they would load every page, and 35 MB with them.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        try:
            allowed_hosts()
        except ValueError as error:
            raise CommandError(f"WBCLAB_DELIVERY_ALLOWED_HOSTS: {error}") from error
        try:
            with deliveries_bell.listen() as bell, DeliveryWorker() as worker:
                while True:
                    bell.wait(_sweep(worker))
        except KeyboardInterrupt:
            logger.info("deliverer stopped")


def _sweep(worker: DeliveryWorker) -> float:
    """Sweep; a database that is away is waited for, not died of."""
    try:
        return worker.sweep()
    except DatabaseError as error:
        logger.warning("the database cannot be used (%s); trying again", error)
        time.sleep(1)
        return 0.0
    finally:
        connection.close()


def _stop(signal_number: int, frame: FrameType | None) -> None:
    # A second signal while the lanes end must not cut them short.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
