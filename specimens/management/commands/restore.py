"""Restore a backup into an empty installation."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from specimens.services.backup import BackupError
from specimens.services.restoring import restore_backup


class Command(BaseCommand):
    help = (
        "Restores SOURCE, a folder that manage.py backup wrote, into an empty installation: checks "
        "every digest, verifies the audit chain, queues again what was being classified, and holds "
        "what had not been delivered. Stop all other services before."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", type=Path)
        parser.add_argument(
            "--deliveries",
            choices=["hold", "send"],
            default="hold",
            help="hold (default): a person decides what had arrived; send: all go out again, under "
            "the same message ids, by which receivers tell repeats",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = restore_backup(
                source=options["source"].resolve(), deliveries=options["deliveries"]
            )
        except BackupError as error:
            raise CommandError(str(error)) from error
        held = "held for a person" if options["deliveries"] == "hold" else "left to go out again"
        self.stdout.write(
            f"Restored the backup of {done.made_at}: {done.images} files of images, "
            f"{done.reports} signed reports, {done.jobs_requeued} images queued again, "
            f"{done.deliveries} deliveries {held}. The audit chain is sound."
        )
