"""Back up the database and the images."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from specimens.models import OperationRun
from specimens.services.backup import BackupError, make_backup
from specimens.services.operations import record_run


class Command(BaseCommand):
    help = (
        "Writes a backup below TARGET while the platform works: a snapshot of the database, the "
        "images that TARGET does not hold yet, their digests, a manifest. Put TARGET on another "
        "machine's disk, encrypted (docs/operations.md)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("target", type=Path, help="folder of all backups")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            backup = make_backup(target=options["target"].resolve())
        except (BackupError, DatabaseError) as error:
            self._record_failure()
            raise CommandError(f"No backup was made. {error}") from error
        self.stdout.write(
            f"{backup.folder}: the database and {backup.images} files of images, "
            f"{backup.images_copied} of them new."
        )

    def _record_failure(self) -> None:
        try:
            record_run(operation=OperationRun.Operation.BACKUP, ok=False)
        except DatabaseError as error:
            self.stderr.write(f"That it failed could not be recorded: {error}")
