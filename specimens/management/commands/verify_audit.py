"""Verify the audit trail, in the database or in an export of it."""

import re
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from specimens.audit_chain import Line, Verdict, as_line, read_lines, verify_chain
from specimens.models import OperationRun
from specimens.selectors.audit import chain_lines
from specimens.services.operations import record_run


class Command(BaseCommand):
    help = (
        "Walks the audit chain: no gap in the sequence, every hash right, every event after the "
        "one it names. Prints the first bad row and ends with 1. Keep the last line of a good run "
        "elsewhere and give it back with --head: that finds events cut off at the end."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--file", type=Path, help="verify this export; needs no database")
        parser.add_argument("--export", type=Path, help="also write the events as JSON lines")
        parser.add_argument("--head", help="SEQUENCE:HASH of an earlier run")

    def handle(self, *args: Any, **options: Any) -> None:
        head = self._head(options["head"])
        file, export = options["file"], options["export"]
        if file and export:
            raise CommandError("--file and --export exclude each other: an export is one already.")
        try:
            if file:
                with file.open(encoding="utf-8") as lines:
                    verdict = verify_chain(read_lines(lines), head=head)
            elif export:
                verdict = self._export(export, head)
            else:
                verdict = verify_chain(chain_lines(), head=head)
        except (OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        if not file:
            operation = OperationRun.Operation.AUDIT_VERIFICATION
            details = {"events": verdict.events, "last_sequence": verdict.last_sequence}
            record_run(operation=operation, ok=verdict.fault is None, details=details)
        self._say(verdict)

    def _export(self, path: Path, head: tuple[int, str] | None) -> Verdict:
        """Write every event, verifying what is written; a bad row does not end the export."""
        with path.open("w", encoding="utf-8") as out:

            def written() -> Iterator[Line]:
                for line in chain_lines():
                    out.write(as_line(line) + "\n")
                    yield line

            lines = written()
            verdict = verify_chain(lines, head=head)
            for _ in lines:
                pass
        self.stdout.write(f"Exported to {path}.")
        return verdict

    def _say(self, verdict: Verdict) -> None:
        if verdict.fault is not None:
            raise CommandError(
                f"Event {verdict.fault.sequence}: {verdict.fault.text}. "
                f"The {verdict.events} events before it are sound."
            )
        self.stdout.write(f"{verdict.events} events, all sound.")
        if verdict.events:
            self.stdout.write(f"--head {verdict.last_sequence}:{verdict.last_hash}")

    def _head(self, text: str | None) -> tuple[int, str] | None:
        if text is None:
            return None
        found = re.fullmatch(r"(\d+):([0-9a-f]{64})", text)
        if found is None:
            raise CommandError("--head is SEQUENCE:HASH, as an earlier run printed it.")
        return int(found[1]), found[2]
