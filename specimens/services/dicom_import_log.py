"""The log of DICOM imports: a line for everything that came in, or was refused."""

import logging
from pathlib import Path

from django.db import DatabaseError

from specimens.dicom.reader import read_attributes_of
from specimens.dicom.refusals import DicomRefusal
from specimens.models import DicomImport, DicomInstance, Site, User

logger = logging.getLogger(__name__)


def record_import(
    *,
    instance: DicomInstance,
    outcome: DicomImport.Outcome,
    text: str,
    way: str,
    sender: str,
    actor: User | None,
    filename: str,
) -> None:
    """Note what became of an instance that was taken; in the transaction that takes it."""
    DicomImport.objects.create(
        site_id=instance.site_id,
        instance=instance,
        outcome=outcome,
        text=text[:1000],
        way=way,
        sender=sender,
        actor=actor,
        filename=filename,
        size=instance.size,
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        study_instance_uid=instance.study_instance_uid,
        transfer_syntax_uid=instance.transfer_syntax_uid,
    )


def record_refusal(
    *,
    site: Site | None,
    sender: str,
    way: str,
    refusal: DicomRefusal,
    actor: User | None = None,
    path: Path | None = None,
    filename: str = "",
    sop_class_uid: str = "",
    sop_instance_uid: str = "",
) -> None:
    """Note in the import log what was not taken, with what can still be said of it.

    Never raises: a refusal must reach the sender also where the log cannot be written.
    """
    known = read_attributes_of(path) if path is not None else None
    try:
        size = path.stat().st_size if path is not None else None
        DicomImport.objects.create(
            site=site,
            outcome=DicomImport.Outcome.REFUSED,
            code=refusal.code,
            text=refusal.text[:1000],
            way=way,
            sender=sender[:120],
            actor=actor,
            filename=filename,
            size=size,
            sop_class_uid=(known.sop_class_uid if known else "") or sop_class_uid[:64],
            sop_instance_uid=(known.sop_instance_uid if known else "") or sop_instance_uid[:64],
            study_instance_uid=known.study_instance_uid if known else "",
            transfer_syntax_uid=known.transfer_syntax_uid if known else "",
        )
    except (DatabaseError, OSError):
        logger.exception("a refusal could not be written to the import log: %s", refusal.code)
