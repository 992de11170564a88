"""Keep the images of a case whatever its age, or let go of them."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError

from specimens.models import Specimen, User
from specimens.permissions import visible_to
from specimens.services.custody import set_legal_hold


class Command(BaseCommand):
    help = "Places a legal hold on the images of a case, or lifts it. Both are audited."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("accession_number")
        parser.add_argument("--site", required=True, help="code of the site")
        parser.add_argument("--actor", required=True, help="user name of an administrator")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--reason", help="why nothing may be removed")
        what.add_argument("--lift", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        actor = User.objects.filter(username=options["actor"]).first()
        if actor is None:
            raise CommandError(f"There is no account {options['actor']}.")
        number = options["accession_number"]
        specimen = (
            visible_to(actor, Specimen)
            .filter(site__code=options["site"], accession_number=number)
            .first()
        )
        if specimen is None:
            raise CommandError(f"{actor} sees no specimen {number} at {options['site']}.")
        if not options["lift"] and not options["reason"].strip():
            raise CommandError("Give the reason: it is what people read years later.")
        try:
            custody = set_legal_hold(actor=actor, specimen=specimen, reason=options["reason"] or "")
        except PermissionDenied as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(f"{number}: " + (f"held ({custody.legal_hold})." if custody.legal_hold
                                           else "no hold."))  # fmt: skip
