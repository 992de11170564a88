"""`manage.py import_dicom PATH... --site CODE`: files, folders and DICOMDIRs into the platform."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from classifier.imaging.dicom_walk import is_dicom
from classifier.imaging.source import Source
from specimens.dicom.reader import read_instance
from specimens.dicom.refusals import DicomRefusal
from specimens.models import Site, User
from specimens.selectors.dicom import decision_for
from specimens.services.dicom_import import receive_instance

# PS3.10 section 8.6: the index of a medium. It names the files beside it, which are walked anyway.
_INDEX = "DICOMDIR"
_TEXTS = {
    "stored": "added to a specimen",
    "duplicate": "known already",
    "unmatched": "waiting to be matched",
    "quarantined": "in quarantine",
    "refused": "refused",
}


class Command(BaseCommand):
    help = (
        "Import DICOM files: single files, folders with all below them, or the DICOMDIR of a "
        "medium. Running it again changes nothing. Ends with 1 where a file was refused."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("paths", metavar="PATH", nargs="+", type=Path)
        parser.add_argument("--site", required=True, help="code of the site they belong to")
        parser.add_argument("--user", help="account in whose name; the system's own if left out")
        parser.add_argument(
            "--dry-run", action="store_true", help="check and match, but store nothing"
        )
        parser.add_argument("--quiet", action="store_true", help="no progress bar")

    def handle(
        self,
        *,
        paths: list[Path],
        site: str,
        user: str | None,
        dry_run: bool,
        quiet: bool,
        **options: Any,
    ) -> None:
        the_site = Site.objects.filter(code=site).first()
        if the_site is None:
            codes = ", ".join(Site.objects.values_list("code", flat=True)) or "none yet"
            raise CommandError(f"There is no site {site!r}. Sites: {codes}.")
        actor = self._account(user)
        files = list(dict.fromkeys(path for start in paths for path in _files(start)))
        if not files:
            raise CommandError("There is no file in what was named.")
        counts: Counter[str] = Counter()
        left_out = 0
        bar = tqdm(files, unit="file", disable=quiet, file=sys.stderr)
        for path in bar:
            if not _is_dicom(path) and path not in paths:
                left_out += 1
                continue
            state, text = self._import(path, the_site, actor, dry_run=dry_run)
            counts[state] += 1
            if state in ("refused", "quarantined"):
                bar.clear()
                self.stderr.write(f"{path}: {text}")
        self._summarise(counts, left_out, dry_run=dry_run)
        if counts["refused"]:
            raise CommandError(f"{counts['refused']} of {sum(counts.values())} files were refused.")

    def _account(self, username: str | None) -> User | None:
        if username is None:
            return None
        user = User.objects.filter(username=username, is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active account {username!r}.")
        return user

    def _import(
        self, path: Path, site: Site, actor: User | None, *, dry_run: bool
    ) -> tuple[str, str]:
        try:
            if dry_run:
                decision = decision_for(site, read_instance(path).attributes)
                return (
                    "stored" if decision.state == "matched" else decision.state
                ), decision.reason
            sender = actor.get_username() if actor else "import_dicom"
            outcome = receive_instance(
                actor=actor, site=site, path=path, sender=sender, way="command"
            )
        except DicomRefusal as refusal:
            if refusal.may_pass:
                raise CommandError(f"{path}: {refusal.text} Run it again then.") from refusal
            return "refused", refusal.text
        return outcome.state, outcome.text

    def _summarise(self, counts: Counter[str], left_out: int, *, dry_run: bool) -> None:
        parts = [f"{counts[state]} {text}" for state, text in _TEXTS.items() if counts[state]]
        if left_out:
            parts.append(f"{left_out} left out, which are no DICOM files")
        end = " Nothing was stored: this was a dry run." if dry_run else ""
        self.stdout.write(f"{sum(counts.values())} DICOM files: {', '.join(parts) or 'none'}.{end}")


def _files(start: Path) -> Iterator[Path]:
    """The files of a path, in order; of the folder of a DICOMDIR, and never the index itself."""
    if not start.exists():
        raise CommandError(f"{start} does not exist.")
    folder = start.parent if start.name.upper() == _INDEX else start
    if folder.is_file():
        yield folder
        return
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and path.name.upper() != _INDEX:
            yield path


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_dicom(Source(file))
    except OSError:
        return True  # the import says why it cannot be read
