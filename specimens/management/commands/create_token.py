"""Makes an API token for an account; it is shown once and stored as a digest only."""

from datetime import timedelta
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from specimens.models import TokenGrant, User
from specimens.services.tokens import create_token


class Command(BaseCommand):
    help = "Create an API token for an account and print it. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        usual = cast("timedelta", settings.REST_KNOX["TOKEN_TTL"]).days
        parser.add_argument("username")
        parser.add_argument(
            "--days", type=int, default=usual, help=f"how long it is valid ({usual} by default)"
        )
        parser.add_argument(
            "--scopes",
            default=",".join(TokenGrant.Scope.values),
            help="what it may do, separated by commas: read, write (both by default)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        username, days = options["username"], options["days"]
        if days < 1:
            raise CommandError("--days must be 1 or more.")
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no account {username!r}.")
        if not user.is_active:
            raise CommandError(f"The account {username!r} is not active: its token would not work.")
        scopes = [scope.strip() for scope in options["scopes"].split(",")]
        try:
            token, expiry = create_token(
                actor=None, user=user, lifetime=timedelta(days=days), scopes=scopes
            )
        except ValidationError as refusal:
            raise CommandError("--scopes: " + " ".join(refusal.messages)) from refusal
        self.stderr.write(
            f"Token of {username} ({user.role}; {' and '.join(scopes)}), "
            f"valid until {expiry:%Y-%m-%d}. Keep it now: it is not shown again."
        )
        if not user.sites.exists():
            self.stderr.write(
                self.style.WARNING("The account belongs to no site yet: its images are refused.")
            )
        self.stdout.write(token)
