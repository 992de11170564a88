"""What asking an archive gives, by DIMSE (query_retrieve.py) and by DICOMweb (web_archive.py)."""

from dataclasses import dataclass
from typing import Final

LARGEST_NUMBER_OF_STUDIES: Final = 100


class ArchiveError(Exception):
    """The archive could not be asked, or did not do what it was asked; the text is for people."""


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study as the archive describes it; `instances` is None where it does not say how many."""

    uid: str
    accession_number: str
    date: str = ""
    description: str = ""
    patient_name: str = ""
    patient_id: str = ""
    modalities: str = ""
    instances: int | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """The sub-operations of a C-MOVE (PS3.4 section C.4.2.1.6)."""

    completed: int = 0
    failed: int = 0
    remaining: int = 0
    warnings: int = 0
