"""Taking in cell images. When `add_cell_images` returns, what it accepted cannot be lost."""

import hashlib
import logging
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BufferedRandom, BytesIO
from typing import Literal, cast

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.db import InterfaceError, OperationalError, transaction

from classifier.imaging.intake import ImageHeader, inspect
from classifier.imaging.refusal import ImageRefused
from specimens import workflow
from specimens.models import CellImage, Site, Specimen, User
from specimens.models.cells import image_path
from specimens.permissions import Action, require, visible_to
from specimens.services import audit, doorbell, results
from specimens.services.errors import StorageUnavailable
from specimens.services.queue_entry import add_and_enqueue, refuse_when_full, urgency_of
from specimens.services.storage import written_together

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Received:
    """What became of one file: accepted, duplicate of an earlier one, or refused and why."""

    filename: str
    status: Literal["accepted", "duplicate", "refused"]
    cell_image: CellImage | None = None
    code: str = ""
    message: str = ""
    upload: "UploadedFile[bytes] | None" = field(default=None, repr=False)


def public_site() -> Site:
    """Return the site that owns what comes in without an account (WBCLAB_PUBLIC_PREDICT)."""
    return Site.objects.get_or_create(code="public", defaults={"name": "Public predictions"})[0]


def clean_filename(name: str | None) -> str:
    """Return the sender's file name without path and control characters, 255 characters at most."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    printable = "".join(c for c in last if unicodedata.category(c)[0] != "C")
    return printable[-255:] or "unnamed"


def add_cell_images(
    *,
    actor: User | None,
    site: Site,
    specimen: Specimen | None,
    uploads: "Sequence[UploadedFile[bytes]]",
    source: str = CellImage.Source.BROWSER,
    is_synthetic: bool = False,
) -> list[Received]:
    """Store each acceptable file and queue its classification; answers in the order of `uploads`.

    Files first (fsynced), then one transaction with the rows, then the ring. `actor` None is the
    public predict call, which has no specimen. Raises QueueFull, StorageUnavailable (nothing was
    stored), NotAllowedInState, PermissionDenied.
    """
    if specimen is not None and actor is not None:
        require(actor, Action.ADD_IMAGES)
        specimen = visible_to(actor, Specimen).select_related("order").get(pk=specimen.pk)
        workflow.after(workflow.Act.ADD_IMAGES, specimen.state)
    refuse_when_full(site=site, urgency=urgency_of(specimen), images=len(uploads))
    answers = []
    for upload in uploads:
        answers.append(_receive(upload, site, specimen, actor, source, is_synthetic))
    _mark_duplicates(answers, specimen)
    _store_and_queue(answers, actor, specimen)
    return answers


def _receive(
    upload: "UploadedFile[bytes]",
    site: Site,
    specimen: Specimen | None,
    actor: User | None,
    source: str,
    is_synthetic: bool,
) -> Received:
    """Check one file by its content and build its unsaved CellImage."""
    filename = clean_filename(upload.name)
    content = cast("BytesIO | BufferedRandom", upload.file)
    try:
        header: ImageHeader = inspect(content, filename)
    except ImageRefused as refused:
        return Received(filename, "refused", code=refused.code, message=refused.message)
    image = CellImage(
        site=site,
        specimen=specimen,
        sha256=hashlib.file_digest(content, hashlib.sha256).hexdigest(),
        filename=filename,
        media_type=header.media_type,
        size=upload.size or 0,
        width=header.width or None,
        height=header.height or None,
        source=source,
        is_synthetic=is_synthetic,
        received_from=actor,
    )
    content.seek(0)
    upload.name = f"cell.{header.extension}"
    return Received(filename, "accepted", cell_image=image, upload=upload)


def _mark_duplicates(answers: Sequence[Received], specimen: Specimen | None) -> None:
    """Answer with the recorded image where this specimen has the same content already."""
    if specimen is None:
        return
    accepted = [a for a in answers if a.cell_image is not None]
    digests = {a.cell_image.sha256 for a in accepted if a.cell_image}
    known = {
        image.sha256: image
        for image in CellImage.objects.filter(specimen=specimen, sha256__in=digests)
    }
    for answer in accepted:
        assert answer.cell_image is not None  # noqa: S101 - narrows the type
        first = known.setdefault(answer.cell_image.sha256, answer.cell_image)
        if first is not answer.cell_image:
            answer.status = "duplicate"
            answer.message = "This specimen has the same picture already; it is counted once."
            answer.cell_image = first


def _store_and_queue(
    answers: Sequence[Received],
    actor: User | None,
    specimen: Specimen | None,
) -> None:
    written: dict[str, Received] = {}
    try:
        notice = _write_files(answers, written, told=specimen is None)
        _write_rows(answers, actor, specimen, notice)
        _delete(name for name, answer in written.items() if answer.status != "accepted")
    except (OperationalError, InterfaceError):
        # Perhaps it has committed, and then needs the files; else they are files without rows.
        raise
    except BaseException as error:
        _delete(written)
        if isinstance(error, OSError):
            logger.exception("the image store cannot be written")
            raise StorageUnavailable(
                "The images could not be stored; none was accepted. An administrator must look at "
                "the disk; then send them again."
            ) from error
        raise


def _write_files(answers: Sequence[Received], written: dict[str, Received], *, told: bool) -> bytes:
    """Write them, and where a client waits give notice of them meanwhile, which is returned."""
    notice = b""

    def give_notice() -> None:
        nonlocal notice
        # With others under way in this process no worker is idle.
        if told and len(written) <= settings.BATCH_SIZE and not results.anybody_waits():
            notice = doorbell.give_notice(names=list(written))

    with written_together(give_notice):
        for answer in answers:
            if answer.status == "accepted" and answer.cell_image and answer.upload:
                # Not through the field, which would check the name that we made once more.
                name = image_path(answer.cell_image, answer.upload.name or "")
                answer.cell_image.file = name = default_storage.save(name, answer.upload)
                written[name] = answer
    return notice


def _delete(names: Iterable[str]) -> None:
    for name in names:
        default_storage.delete(name)


def _write_rows(
    answers: Sequence[Received],
    actor: User | None,
    specimen: Specimen | None,
    notice: bytes,
) -> None:
    if specimen is not None:
        _write_rows_of_specimen(answers, actor, specimen)
        return
    images = [a.cell_image for a in answers if a.status == "accepted" and a.cell_image]
    add_and_enqueue(images=images, specimen=None, notice=notice)


@transaction.atomic
def _write_rows_of_specimen(
    answers: Sequence[Received],
    actor: User | None,
    specimen: Specimen,
) -> None:
    # The lock makes the second look at duplicates final: two people may drop the same folder.
    locked = Specimen.objects.select_for_update(of=("self",)).select_related("order")
    specimen = locked.get(pk=specimen.pk)
    state = workflow.after(workflow.Act.ADD_IMAGES, specimen.state)
    _mark_duplicates([a for a in answers if a.status == "accepted"], specimen)
    images = [a.cell_image for a in answers if a.status == "accepted" and a.cell_image]
    if not images:
        return
    add_and_enqueue(images=images, specimen=specimen)
    note_images_added(
        actor=actor, specimen=specimen, state=state, images=len(images), source=images[0].source
    )


def note_images_added(
    *, actor: User | None, specimen: Specimen, state: str, **details: object
) -> None:
    """Write the new state of a specimen that got images, and the audit event with `details`."""
    specimen.state = state
    specimen.save(update_fields=["state"])
    audit.record(
        actor=actor,
        action="specimen.images_added",
        subject=specimen,
        specimen=specimen,
        details=details,
    )
