"""Prints what is wrong with the code tables; ends with 1 where anything is."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from specimens.interop.codes import default_codes
from specimens.models import Site
from specimens.selectors.codes import code_problems_at, code_rows, code_table


class Command(BaseCommand):
    help = "Check the codes results go out under: defaults, and each site's own."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--site", help="Code of one site; without it, all.")
        parser.add_argument("--show", action="store_true", help="Print the table in force, too.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check each site's table."""
        sites = Site.objects.all()
        if options["site"]:
            sites = sites.filter(code=options["site"])
            if not sites:
                raise CommandError(f"There is no site with the code {options['site']}.")
        defaults = default_codes()
        problems = [f"defaults: {text}" for text in defaults.problems()]
        for site in sites:
            problems += [f"{site.code}: {text}" for text in code_problems_at(site)]
            if options["show"]:
                self._show(site)
        for text in problems:
            self.stderr.write(text)
        if problems:
            raise CommandError(f"{len(problems)} problems.")
        self.stdout.write(f"Codes {defaults.version}: no problem of form. {defaults.remark}")

    def _show(self, site: Site) -> None:
        for row in code_rows(code_table(site)):
            code = row.entry.code
            self.stdout.write(
                "\t".join(
                    (site.code, row.quantity, row.cell_class, code.system, code.code,
                     row.entry.unit, row.entry.origin)
                )
            )  # fmt: skip
