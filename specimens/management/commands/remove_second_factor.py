"""Takes the second factor of an account away; for the administrator who has lost the own one."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from specimens.models import User
from specimens.services.second_factor import remove_second_factor


class Command(BaseCommand):
    help = "Remove authenticator app and recovery codes of an account; recorded in the audit trail."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:
        username = options["username"]
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no account {username!r}.")
        if remove_second_factor(actor=None, user=user):
            self.stdout.write(f"{username} has no second factor any more.")
        else:
            self.stdout.write(f"{username} had no second factor.")
