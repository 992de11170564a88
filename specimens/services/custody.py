"""Images of signed cases over the years: moved to the archive, kept under a hold, or removed.

Rows, reports and the audit trail stay for ever. A case that is not signed, or is open for an
amendment, is never touched.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, default_storage
from django.db import transaction
from django.db.models import F, Max, Q, QuerySet
from django.utils import timezone

from specimens.models import CellImage, DicomInstance, ImageCustody, Report, Site, Specimen, User
from specimens.permissions import Action, require, visible_to
from specimens.services import audit
from specimens.services.image_files import archive

SIGNED: Final = (Specimen.State.SIGNED_OUT, Specimen.State.AMENDED)


@dataclass(frozen=True, slots=True)
class Moved:
    """What was, or in a dry run would be, done with the images of one case."""

    specimen: Specimen
    files: int
    bytes: int


def archive_images(*, actor: User | None, older_than: timedelta) -> Iterator[Moved]:
    """Move the images of cases signed longer ago to the archive, case by case.

    Each file is in the archive, read back and held against its digest, before it leaves the image
    store. Thumbnails stay. Raises OSError, ValidationError (no archive is set up).
    """
    target = archive()
    if target is None or not isinstance(default_storage, FileSystemStorage):
        raise ValidationError(
            "No archive is set up (WBCLAB_ARCHIVE_DIR or WBCLAB_ARCHIVE_S3_BUCKET), or the images "
            "lie in a bucket already: let its lifecycle rules move them."
        )
    done = Q(image_custody__archived_at__gte=F("signed_at"))
    gone = Q(image_custody__removed_at__isnull=False)
    for specimen in _signed_before(timezone.now() - older_than).exclude(done | gone).iterator():
        yield _archive_case(actor, specimen, target)


def _signed_before(moment: datetime) -> QuerySet[Specimen]:
    signed = Specimen.objects.filter(state__in=SIGNED).annotate(signed_at=Max("reports__signed_at"))
    return signed.filter(signed_at__lt=moment).select_related("site", "image_custody")


@transaction.atomic
def _archive_case(actor: User | None, specimen: Specimen, target: Storage) -> Moved:
    locked = _lock_signed(specimen)
    if locked is None:
        return Moved(specimen, 0, 0)
    files = size = 0
    for name in _names(locked):
        if _is_here(name):
            size += _move(name, target)
            files += 1
    ImageCustody.objects.update_or_create(specimen=locked, defaults={"archived_at": timezone.now()})
    details = {"files": files, "bytes": size}
    audit.record(actor=actor, action="specimen.images_archived", subject=locked,
                 specimen=locked, details=details)  # fmt: skip
    return Moved(locked, files, size)


def _lock_signed(specimen: Specimen) -> Specimen | None:
    """Lock a case; None where it has been opened again meanwhile."""
    locked = Specimen.objects.select_for_update(of=("self",)).get(pk=specimen.pk)
    return locked if locked.state in SIGNED else None


def _names(specimen: Specimen) -> list[str]:
    """Return the files of a case; frames of one DICOM object share theirs."""
    images = CellImage.objects.filter(specimen=specimen).values_list("file", flat=True)
    objects = DicomInstance.objects.filter(specimen=specimen).values_list("file", flat=True)
    return sorted({*images, *objects})


def _is_here(name: str) -> bool:
    return FileSystemStorage.exists(default_storage, name)


def _move(name: str, target: Storage) -> int:
    with default_storage.open(name) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size: int = file.size
        if not target.exists(name):
            file.seek(0)
            target.save(name, File(file))
    with target.open(name) as kept:
        if hashlib.file_digest(kept, "sha256").hexdigest() != digest:
            raise OSError(f"the archive did not give back what was put there: {name}")
    # Whoever reads from here on finds it in the archive (storage.py), whatever becomes of us.
    default_storage.delete(name)
    return size


def apply_retention(*, actor: User | None, dry_run: bool) -> Iterator[Moved]:
    """Remove the images of signed cases that are older than their site's rule.

    Rules: WBCLAB_RETENTION. Never under a legal hold; the small pictures that a report shows stay.
    """
    for site in Site.objects.all():
        rule = settings.RETENTION.get(site.code, settings.RETENTION.get("*"))
        if rule is None:
            continue
        old = _signed_before(timezone.now() - timedelta(days=rule["images_days"]))
        kept = Q(image_custody__removed_at__isnull=False) | ~Q(image_custody__legal_hold="")
        free = old.filter(site=site).exclude(kept & Q(image_custody__isnull=False))
        for specimen in free.iterator():
            yield _remove_case(actor, specimen, rule["images_days"], dry_run=dry_run)


@transaction.atomic
def _remove_case(actor: User | None, specimen: Specimen, days: int, *, dry_run: bool) -> Moved:
    locked = _lock_signed(specimen)
    if locked is None:
        return Moved(specimen, 0, 0)
    custody, _ = ImageCustody.objects.select_for_update().get_or_create(specimen=locked)
    if custody.legal_hold or custody.removed_at:
        return Moved(locked, 0, 0)
    names = _names(locked)
    moved = Moved(locked, len(names), sum(_size(name) for name in names))
    if dry_run:
        transaction.set_rollback(True)
        return moved
    custody.removed_at = timezone.now()
    custody.save()
    details = {"files": moved.files, "bytes": moved.bytes, "images_days": days}
    audit.record(actor=actor, action="specimen.images_removed", subject=locked,
                 specimen=locked, details=details)  # fmt: skip
    thumbnails = _thumbnails_nobody_signed(locked)
    transaction.on_commit(lambda: _delete([*names, *thumbnails]))
    return moved


def _size(name: str) -> int:
    try:
        with default_storage.open(name) as file:
            return int(file.size)
    except FileNotFoundError:
        return 0


def _thumbnails_nobody_signed(specimen: Specimen) -> list[str]:
    shown = {
        picture["sha256"]
        for content in Report.objects.filter(specimen=specimen).values_list("content", flat=True)
        for picture in content["pictures"]
    }
    images = CellImage.objects.filter(specimen=specimen).exclude(sha256__in=shown)
    return [image.thumbnail_name for image in images]


def _delete(names: list[str]) -> None:
    old = archive()
    for name in names:
        default_storage.delete(name)
        if old is not None:
            old.delete(name)


@transaction.atomic
def set_legal_hold(*, actor: User, specimen: Specimen, reason: str) -> ImageCustody:
    """Keep every image of a case whatever its age, or with an empty reason let go of it."""
    require(actor, Action.ADMINISTER)
    specimen = visible_to(actor, Specimen).select_for_update(of=("self",)).get(pk=specimen.pk)
    custody, _ = ImageCustody.objects.get_or_create(specimen=specimen)
    custody.legal_hold, custody.held_by = reason.strip(), actor if reason.strip() else None
    custody.full_clean()
    custody.save()
    action = "specimen.hold_placed" if custody.legal_hold else "specimen.hold_lifted"
    audit.record(actor=actor, action=action, subject=specimen, specimen=specimen,
                 details={"reason": custody.legal_hold})  # fmt: skip
    return custody
