"""Taking in DICOM instances. When `receive_instance` returns, what it took cannot be lost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from specimens.models import Site, Specimen, User


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


def receive_instance(
    *,
    actor: User | None,
    site: Site,
    path: Path,
    sender: str,
    way: str,
    filename: str = "",
    specimen: Specimen | None = None,
    confirmed: bool = False,
) -> ImportOutcome:
    """Take in one Part 10 file that lies on the disk; the file itself is left where it is.

    Idempotent on (SOP Instance UID, frame). `specimen` is where a person dropped the file; where
    its identifiers say otherwise it is refused unless `confirmed`. Raises DicomRefusal, which the
    import log holds as well.
    """
    raise NotImplementedError
