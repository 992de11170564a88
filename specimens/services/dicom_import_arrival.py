"""What arrives and what becomes of it: plain data that the import passes around, and its log."""

from dataclasses import dataclass
from typing import Literal

from specimens.models import DicomImport, DicomInstance, Site, Specimen, User
from specimens.models.dicom import Way
from specimens.services.dicom_import_log import record_import


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What became of one instance.

    Attributes:
        state: "stored" (matched to a specimen), "duplicate" (known with the same content; nothing
            changed), "unmatched" or "quarantined" (kept, and waiting for a person).
        text: for people.
    """

    state: Literal["stored", "duplicate", "unmatched", "quarantined"]
    sop_class_uid: str
    sop_instance_uid: str
    specimen_id: int | None
    cell_image_ids: tuple[int, ...]
    text: str
    instance_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Who sends what, and where a person wants it."""

    actor: User | None
    site: Site
    sender: str
    way: Way
    filename: str
    specimen: Specimen | None
    confirmed: bool


def log_outcome(
    arrival: Arrival, instance: DicomInstance, outcome: DicomImport.Outcome, text: str
) -> None:
    """Write the line of an arrival into the import log."""
    record_import(
        instance=instance,
        outcome=outcome,
        text=text,
        way=arrival.way,
        sender=arrival.sender,
        actor=arrival.actor,
        filename=arrival.filename,
    )
