"""Compare the stored files with the rows; for a nightly job, and after a restore."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from specimens.selectors.stored_files import files_without_a_row, rows_without_their_file


class Command(BaseCommand):
    help = (
        "Lists rows whose file is missing or not whole, and ends with 1 if there is one; lists "
        "files that belong to no row: left by a process that died, or by going back to a backup."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--grace", type=float, default=60.0, help="minutes a file may be without a row (60)"
        )
        parser.add_argument(
            "--remove", action="store_true", help="delete the files that belong to no row"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        lost = 0
        for name, what in rows_without_their_file():
            lost += 1
            self.stdout.write(f"lost: {name} {what}")
        before, unknown = timezone.now() - timedelta(minutes=options["grace"]), 0
        for name in files_without_a_row(before=before):
            unknown += 1
            if options["remove"]:
                default_storage.delete(name)
            self.stdout.write(f"{'removed' if options['remove'] else 'no row'}: {name}")
        if lost:
            raise CommandError(
                f"{lost} files of accepted images are lost. Restore them from the backup of the "
                "image store; docs/deployment.md says how."
            )
        self.stdout.write(f"Every row has its file. {unknown} files without a row.")
