"""`manage.py import_dicom PATH... --site CODE`: files, folders and DICOMDIRs into the platform."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from classifier.imaging.dicom_walk import is_dicom
from classifier.imaging.source import Source
from specimens.dicom.reader import read_instance
from specimens.dicom.refusals import DicomRefusal
from specimens.models import Site, User
from specimens.models.dicom import Way
from specimens.selectors.dicom import decision_for
from specimens.selectors.health import service_health
from specimens.services.dicom_import import ImportOutcome, receive_instance

# PS3.10 section 8.6: the index of a medium. It names the files beside it, which are walked anyway.
_INDEX = "DICOMDIR"
_TEXTS = {
    "stored": "added to a specimen",
    "duplicate": "known already",
    "unmatched": "waiting to be matched",
    "quarantined": "in quarantine",
    "refused": "refused",
}
_GO_ON: Final = "Run the same command again: what is here already is passed over."
_ASK_AGAIN_SECONDS: Final = 2.0
_SAY_AGAIN_SECONDS: Final = 60.0


class Command(BaseCommand):
    help = (
        "Import DICOM files: single files, folders with all below them, or the DICOMDIR of a "
        "medium. Where the queue is full it waits until there is room. Running it again changes "
        "nothing. Ends with 1 where a file was refused."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("paths", metavar="PATH", nargs="+", type=Path)
        parser.add_argument("--site", required=True, help="code of the site they belong to")
        parser.add_argument("--user", help="account in whose name; the system's own if left out")
        parser.add_argument(
            "--dry-run", action="store_true", help="check and match, but store nothing"
        )
        parser.add_argument(
            "--no-wait", action="store_true", help="end where the queue is full, do not wait"
        )
        parser.add_argument("--quiet", action="store_true", help="no progress bar")

    def handle(
        self,
        *,
        paths: list[Path],
        site: str,
        user: str | None,
        dry_run: bool,
        no_wait: bool,
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
        self._waits = not no_wait
        self._bar = tqdm(files, unit="file", disable=quiet, file=sys.stderr)
        counts: Counter[str] = Counter()
        try:
            self._import_all(set(paths), the_site, actor, counts, dry_run=dry_run)
        except KeyboardInterrupt:
            raise CommandError(f"Stopped. {_GO_ON}", returncode=130) from None
        finally:
            self._bar.close()
            self._summarise(counts, dry_run=dry_run)
        if counts["refused"]:
            seen = sum(counts.values()) - counts["left out"]
            raise CommandError(f"{counts['refused']} of {seen} files were refused.")

    def _import_all(
        self,
        named: set[Path],
        site: Site,
        actor: User | None,
        counts: Counter[str],
        *,
        dry_run: bool,
    ) -> None:
        for path in self._bar:
            if not _is_dicom(path) and path not in named:
                counts["left out"] += 1
                continue
            state, text = self._import(path, site, actor, dry_run=dry_run)
            counts[state] += 1
            if state in ("refused", "quarantined"):
                self._say(f"{path}: {text}")

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
            outcome = self._receive(path, site, actor)
        except DicomRefusal as refusal:
            if refusal.may_pass:
                raise CommandError(f"{path}: {refusal.text} {_GO_ON}") from refusal
            return "refused", refusal.text
        return outcome.state, outcome.text

    def _receive(self, path: Path, site: Site, actor: User | None) -> ImportOutcome:
        """Take one file in, as soon as the queue has room for it."""
        sender = actor.get_username() if actor else "import_dicom"
        say_at = time.monotonic()
        while True:
            try:
                outcome = receive_instance(
                    actor=actor, site=site, path=path, sender=sender, way=Way.COMMAND
                )
            except DicomRefusal as refusal:
                if refusal.code != "queue_full" or not self._waits:
                    raise
                if time.monotonic() >= say_at:
                    self._say(_why_it_waits())
                    say_at = time.monotonic() + _SAY_AGAIN_SECONDS
                self._bar.set_postfix_str("the queue is full, waiting")
                time.sleep(_ASK_AGAIN_SECONDS)
                continue
            self._bar.set_postfix_str("")
            return outcome

    def _say(self, text: str) -> None:
        self._bar.clear()
        self.stderr.write(text)
        self.stderr.flush()

    def _summarise(self, counts: Counter[str], *, dry_run: bool) -> None:
        parts = [f"{counts[state]} {text}" for state, text in _TEXTS.items() if counts[state]]
        if counts["left out"]:
            parts.append(f"{counts['left out']} left out, which are no DICOM files")
        end = " Nothing was stored: this was a dry run." if dry_run else ""
        seen = sum(counts.values()) - counts["left out"]
        self.stdout.write(f"{seen} DICOM files: {', '.join(parts) or 'none'}.{end}")


def _why_it_waits() -> str:
    """What the person who watches should know: that nothing is wrong, or what is."""
    text = (
        f"The queue is full (WBCLAB_QUEUE_LIMIT: {settings.QUEUE_LIMIT} images): waiting until "
        f"there is room. Ctrl-C stops it; nothing is lost. {_GO_ON}"
    )
    worker = service_health()["worker"]
    return text if worker.ok else f"{text} But nothing will be classified: {worker.message}"


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
