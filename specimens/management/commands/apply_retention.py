"""Remove the images of cases that are older than the laboratory keeps them."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from specimens.models import OperationRun
from specimens.services.custody import apply_retention
from specimens.services.operations import record_run


class Command(BaseCommand):
    help = (
        "Lists the signed cases whose images are older than WBCLAB_RETENTION says; with --remove "
        "removes those images for ever. Reports, their pictures, and the audit trail stay; cases "
        "that are not signed or under a legal hold are left alone."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--remove", action="store_true", help="do it; else it is only listed")

    def handle(self, *args: Any, **options: Any) -> None:
        cases = files = 0
        remove = options["remove"]
        for moved in apply_retention(actor=None, dry_run=not remove):
            cases, files = cases + 1, files + moved.files
            specimen = moved.specimen
            self.stdout.write(
                f"{specimen.site.code} {specimen.accession_number}: {moved.files} files, "
                f"{moved.bytes} bytes"
            )
        if remove:
            details = {"cases": cases, "files": files}
            record_run(operation=OperationRun.Operation.RETENTION, ok=True, details=details)
        done = "removed" if remove else "to remove; nothing was changed, --remove does it"
        self.stdout.write(f"{cases} cases, {files} files {done}.")
