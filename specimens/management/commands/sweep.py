"""The sweeper: takes expired leases back and rings for what is due."""

import logging
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, connection

from specimens.services.queue import sweep

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Sweep the queue every WBCLAB_SWEEP_SECONDS until stopped; --once for a single sweep."
    # They are for `manage.py check`: they would load every page, and 35 MB with them.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="sweep once and end")

    def handle(self, *args: Any, **options: Any) -> None:
        while True:
            try:
                sweep()
            except DatabaseError as error:
                if options["once"]:
                    raise
                logger.warning("the database cannot be used (%s); trying again", error)
                connection.close()
            if options["once"]:
                return
            time.sleep(settings.SWEEP_SECONDS)
