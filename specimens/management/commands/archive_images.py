"""Move the images of cases that were signed long ago to the archive."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from specimens.models import OperationRun
from specimens.services.custody import archive_images
from specimens.services.operations import record_run


class Command(BaseCommand):
    help = (
        "Moves the images of cases signed longer ago than DAYS to the archive (WBCLAB_ARCHIVE_*). "
        "They stay readable, at the archive's pace; small pictures stay where they are."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than", type=int, required=True, metavar="DAYS")

    def handle(self, *args: Any, **options: Any) -> None:
        cases = files = size = 0
        operation = OperationRun.Operation.ARCHIVE
        try:
            for moved in archive_images(actor=None, older_than=timedelta(options["older_than"])):
                cases, files, size = cases + 1, files + moved.files, size + moved.bytes
        except ValidationError as refusal:
            raise CommandError(" ".join(refusal.messages)) from refusal
        except OSError as error:
            record_run(operation=operation, ok=False, details={"files": files})
            text = f"After {files} files: {error}. Nothing is lost; run it again."
            raise CommandError(text) from error
        record_run(operation=operation, ok=True, details={"cases": cases, "files": files})
        self.stdout.write(f"{cases} cases, {files} files, {size} bytes are in the archive.")
