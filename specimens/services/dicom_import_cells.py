"""From the frames of DICOM instances to cell images with a job each."""

import hashlib
from collections.abc import Sequence

from specimens import workflow
from specimens.models import CellImage, DicomFrame, DicomInstance, Specimen, User
from specimens.services.imaging import note_images_added
from specimens.services.queue_entry import enqueue


def add_frames(
    *,
    actor: User | None,
    specimen: Specimen,
    frames: Sequence[DicomFrame],
    slide_id: int | None = None,
) -> list[int]:
    """Make each frame a cell image of `specimen`, which the caller has locked; return their ids.

    The pixels stay where they are, in the file as received: a worker decodes the frame from it. A
    picture the specimen has already is linked, not added again. Raises NotAllowedInState.
    """
    state = workflow.after(workflow.Act.ADD_IMAGES, specimen.state)
    digests = [frame_digest(frame.instance, frame.number) for frame in frames]
    known = {
        image.sha256: image
        for image in CellImage.objects.filter(
            specimen=specimen, sha256__in=digests, dicom_frame__isnull=True
        )
    }
    fresh = [
        _cell_image(frame, digest, specimen, slide_id, actor)
        for frame, digest in zip(frames, digests, strict=True)
        if digest not in known
    ]
    images = known | {image.sha256: image for image in CellImage.objects.bulk_create(fresh)}
    for frame, digest in zip(frames, digests, strict=True):
        frame.cell_image = images[digest]
    DicomFrame.objects.bulk_update(frames, ["cell_image"])
    enqueue(images=fresh, specimen=specimen)
    if fresh:
        note_images_added(
            actor=actor,
            specimen=specimen,
            state=state,
            images=len(fresh),
            source=CellImage.Source.DICOM,
            sop_instance_uids=sorted({one.instance.sop_instance_uid for one in frames})[:50],
        )
    return [images[digest].pk for digest in digests]


def frame_digest(instance: DicomInstance, number: int) -> str:
    """What tells a frame from all others: of the file, and for one of several of its number too."""
    if instance.number_of_frames == 1:
        return instance.sha256
    return hashlib.sha256(f"{instance.sha256}#{number}".encode()).hexdigest()


def _cell_image(
    frame: DicomFrame, digest: str, specimen: Specimen, slide_id: int | None, actor: User | None
) -> CellImage:
    instance = frame.instance
    return CellImage(
        site_id=instance.site_id,
        specimen=specimen,
        slide_id=slide_id,
        file=instance.file.name,
        sha256=digest,
        filename=instance.filename or f"{instance.sop_instance_uid}.dcm",
        media_type="application/dicom",
        size=instance.size,
        frame=frame.number,
        micrometres_per_pixel=instance.micrometres_per_pixel,
        width=instance.columns,
        height=instance.rows,
        source=CellImage.Source.DICOM,
        is_synthetic=specimen.is_synthetic,
        received_from=actor,
    )
