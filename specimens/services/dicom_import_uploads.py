"""Files that people and programs upload: DICOM goes to the import, pictures their own way."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from classifier.imaging.dicom_walk import is_dicom
from classifier.imaging.source import Source
from specimens.dicom.refusals import DicomRefusal
from specimens.models import CellImage, Site, Specimen, User
from specimens.models.dicom import Way
from specimens.permissions import Action, require
from specimens.services.dicom_import import ImportOutcome, receive_instance
from specimens.services.errors import QueueFull, StorageUnavailable
from specimens.services.imaging import Received, add_cell_images, clean_filename
from specimens.services.queue_entry import RETRY_AFTER_SECONDS


def add_files(
    *,
    actor: User,
    specimen: Specimen,
    uploads: "Sequence[UploadedFile[bytes]]",
    source: str = CellImage.Source.BROWSER,
    confirmed: bool = False,
) -> list[Received]:
    """Take pictures and DICOM files in for one specimen; answers in the order of `uploads`.

    A DICOM file whose identifiers speak against the specimen is refused ("identifiers_disagree")
    unless `confirmed`. Raises what `add_cell_images` raises.
    """
    require(actor, Action.ADD_IMAGES)
    answers: dict[int, Received] = {}
    pictures = [place for place, one in enumerate(uploads) if not is_dicom_upload(one)]
    received = add_cell_images(
        actor=actor,
        site=specimen.site,
        specimen=specimen,
        uploads=[uploads[place] for place in pictures],
        source=source,
    )
    answers |= dict(zip(pictures, received, strict=True))
    way = Way.API if source == CellImage.Source.API else Way.UPLOAD
    for place, upload in enumerate(uploads):
        if place in answers:
            continue
        try:
            answers[place] = _add_instance(actor, specimen, upload, way, confirmed)
        except (QueueFull, StorageUnavailable) as refusal:
            if not any(one.status == "accepted" for one in answers.values()):
                raise
            # What came before it is stored, so the call as a whole cannot be refused any more.
            code, text = not_stored(refusal)
            name = clean_filename(upload.name)
            answers[place] = Received(name, "refused", code=code, message=text)
    return [answers[place] for place in range(len(uploads))]


def not_stored(refusal: QueueFull | StorageUnavailable) -> tuple[str, str]:
    """Return code and text for one file of several that came when there was no room any more."""
    if isinstance(refusal, QueueFull):
        text = f"The queue is full: send it again in {refusal.retry_after_seconds} s."
        return "queue_full", text
    return "storage_unavailable", str(refusal)


def is_dicom_upload(upload: "UploadedFile[bytes]") -> bool:
    """Whether the content is a DICOM file (PS3.10); the name says nothing."""
    content = cast("BinaryIO", upload.file)
    try:
        return is_dicom(Source(content))
    finally:
        content.seek(0)


def receive_upload(
    *,
    actor: User,
    site: Site,
    upload: "UploadedFile[bytes]",
    way: Way,
    specimen: Specimen | None = None,
    confirmed: bool = False,
) -> ImportOutcome:
    """Take in one uploaded DICOM file. Raises DicomRefusal, StorageUnavailable."""
    with _on_disk(upload) as path:
        return receive_instance(
            actor=actor,
            site=site,
            path=path,
            sender=actor.get_username(),
            way=way,
            filename=clean_filename(upload.name),
            specimen=specimen,
            confirmed=confirmed,
        )


def _add_instance(
    actor: User, specimen: Specimen, upload: "UploadedFile[bytes]", way: Way, confirmed: bool
) -> Received:
    filename = clean_filename(upload.name)
    try:
        outcome = receive_upload(
            actor=actor,
            site=specimen.site,
            upload=upload,
            way=way,
            specimen=specimen,
            confirmed=confirmed,
        )
    except DicomRefusal as refusal:
        if refusal.code == "queue_full":
            raise QueueFull(retry_after_seconds=RETRY_AFTER_SECONDS) from refusal
        if refusal.may_pass:
            raise StorageUnavailable(refusal.text) from refusal
        return Received(filename, "refused", code=refusal.code, message=refusal.text)
    if outcome.state == "quarantined":
        text = f"It is kept in quarantine, and not counted. {outcome.text}"
        return Received(filename, "refused", code="quarantined", message=text)
    image = CellImage.objects.filter(pk__in=outcome.cell_image_ids).order_by("pk").first()
    status = "accepted" if outcome.state == "stored" else "duplicate"
    return Received(filename, status, cell_image=image, message=outcome.text)  # type: ignore[arg-type]


@contextmanager
def _on_disk(upload: "UploadedFile[bytes]") -> Iterator[Path]:
    """The upload as a file with a name: where Django has put it, or a copy that goes again."""
    path = getattr(upload, "temporary_file_path", None)
    if path is not None:
        yield Path(path())
        return
    try:
        with tempfile.NamedTemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as copy:
            for chunk in upload.chunks():
                copy.write(chunk)
            copy.flush()
            yield Path(copy.name)
    except OSError as error:
        text = "The disk is full; the object was not accepted. Tell an administrator."
        raise StorageUnavailable(text) from error
