"""Writes the signed cells of a site to a folder, to evaluate the model on or to fine-tune it."""

from pathlib import Path
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError, CommandParser

from specimens.models import Site, User
from specimens.permissions import visible_to
from specimens.services.errors import Conflict
from specimens.services.signed_cells import export_signed_cells


class Command(BaseCommand):
    help = (
        "Write the cells of the signed cases of a site by class, as PNG without any header, with a "
        "manifest. The export is recorded in the audit trail. The images are of patients: treat "
        "them as such."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--output", type=Path, required=True, help="a folder that is not there")
        parser.add_argument("--site", required=True, help="code of the site")
        parser.add_argument(
            "--user", required=True, help="administrator of that site who answers for the export"
        )
        parser.add_argument(
            "--with-drawn", action="store_true", help="also drawn cells of the demonstration"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        actor = User.objects.filter(username=options["user"], is_active=True).first()
        if actor is None:
            raise CommandError(f"There is no active account {options['user']!r}.")
        site = visible_to(actor, Site).filter(code=options["site"]).first()
        if site is None:
            raise CommandError(f"{actor.get_username()} belongs to no site {options['site']!r}.")
        try:
            exported = export_signed_cells(
                actor=actor,
                site=site,
                output=options["output"],
                with_drawn=options["with_drawn"],
            )
        except (Conflict, OSError, PermissionDenied) as error:
            raise CommandError(str(error)) from error
        for name, reason in exported.left_out:
            self.stderr.write(f"Left out: {name}: {reason}")
        for key, count in sorted(exported.by_class.items()):
            self.stdout.write(f"{count:>7} {key}")
        self.stdout.write(
            f"{exported.by_class.total()} cells of {len(exported.specimens)} specimens in "
            f"{options['output']}"
        )
