"""Compare what was signed with what was delivered; for a nightly job that raises an alarm."""

from argparse import ArgumentParser
from datetime import datetime, time, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date

from specimens.models import Destination
from specimens.selectors.reconciliation import Reconciliation, reconcile


class Command(BaseCommand):
    help = (
        "Lists every report signed in the period that a destination does not have, and ends with "
        "1 if there is one. Reports younger than --grace minutes may still be on their way."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--since", help="first day, 2026-01-31 (default: seven days ago)")
        parser.add_argument("--until", help="last day (default: today)")
        parser.add_argument("--site", help="code of one site (default: all)")
        parser.add_argument("--grace", type=float, default=15.0, help="minutes (default: 15)")

    def handle(self, *args: Any, **options: Any) -> None:
        today = timezone.localdate()
        first = _day(options["since"], "--since") if options["since"] else today - timedelta(days=7)
        last = _day(options["until"], "--until") if options["until"] else today
        since, until = _midnight(first), _midnight(last + timedelta(days=1))
        until = min(until, timezone.now() - timedelta(minutes=options["grace"]))
        destinations = Destination.objects.select_related("site").order_by("site", "name")
        if options["site"]:
            destinations = destinations.filter(site__code=options["site"])
            if not destinations:
                raise CommandError(f"The site {options['site']} has no destination.")
        missing = sum(
            self._say(reconcile(destination, since=since, until=until))
            for destination in destinations
            if destination.active or destination.deliveries.exists()
        )
        if missing:
            raise CommandError(f"{missing} missing. See Deliveries, Reconciliation.")
        self.stdout.write("Everything that was signed has been delivered.")

    def _say(self, found: Reconciliation) -> int:
        destination = found.destination
        self.stdout.write(
            f"{destination.site.code} {destination.name}: {found.signed} signed, "
            f"{found.delivered} delivered, {found.cancelled} cancelled, "
            f"{found.superseded} superseded, {found.missing} missing"
        )
        for gap in found.gaps:
            number, version = gap.report.specimen.accession_number, gap.report.version
            reason = f" ({gap.text})" if gap.text else ""
            self.stdout.write(f"  {number} version {version}: {gap.why}{reason}")
        if found.missing > len(found.gaps):
            self.stdout.write(f"  and {found.missing - len(found.gaps)} more")
        return found.missing


def _day(text: str, option: str) -> Any:
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None:
        raise CommandError(f"{option}: {text} is not a day; write it as 2026-01-31.")
    return day


def _midnight(day: Any) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
