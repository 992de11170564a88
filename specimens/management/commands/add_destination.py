"""Enter a destination from the command line, as an administrator does on the page."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management.base import BaseCommand, CommandError

from specimens.interop.channels import DeliveryFailure
from specimens.models import Destination, Site, User
from specimens.models.deliveries import Event, signed_events
from specimens.permissions import visible_to
from specimens.services.destinations import add_destination, probe_destination


class Command(BaseCommand):
    help = "Enter a system that gets results (docs/integration.md)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--actor", required=True, help="user name of an administrator")
        parser.add_argument("--site", required=True, help="code of the site")
        parser.add_argument("--name", required=True)
        parser.add_argument("--kind", required=True, choices=Destination.Kind.values)
        parser.add_argument("--address", required=True)
        parser.add_argument(
            "--event", action="append", choices=Event.values, help="default: final and corrected"
        )
        parser.add_argument(
            "--setting", action="append", default=[], help="NAME=VALUE; the value may be JSON"
        )
        parser.add_argument("--test", action="store_true", help="then ask it for a sign of life")

    def handle(self, *args: Any, **options: Any) -> None:
        actor = User.objects.filter(username=options["actor"]).first()
        if actor is None:
            raise CommandError(f"There is no account {options['actor']}.")
        site = visible_to(actor, Site).filter(code=options["site"]).first()
        if site is None:
            raise CommandError(f"{actor} belongs to no site with the code {options['site']}.")
        try:
            destination = add_destination(
                actor=actor,
                site=site,
                events=options["event"] or signed_events(),
                settings=dict(_setting(text) for text in options["setting"]),
                **{name: options[name] for name in ("name", "kind", "address")},
            )
        except ValidationError as refusal:
            texts = [f"{name}: {' '.join(said)}" for name, said in refusal.message_dict.items()]
            raise CommandError("Nothing was entered. " + " ".join(texts)) from refusal
        except PermissionDenied as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(f"{destination.name} is entered.")
        if options["test"]:
            self._test(actor, destination)

    def _test(self, actor: User, destination: Destination) -> None:
        try:
            receipt = probe_destination(actor=actor, destination=destination)
        except DeliveryFailure as failure:
            raise CommandError(
                f"The test failed. {failure} The destination stays entered."
            ) from failure
        self.stdout.write(f"The test succeeded. {receipt.text}")


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandError(f"--setting {text}: write NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
