"""UIDs that follow from what they name: made again, for a retry, they are the same (PS3.5 B.2)."""

import uuid
from collections.abc import Sequence
from typing import Any, Final

from django.conf import settings
from pydicom.uid import UID, generate_uid

from specimens.interop.channels import SourceInstance
from specimens.models.reports import content_digest

# Drawn once for this purpose; another one would give every report another UID.
_NAMESPACE: Final = uuid.UUID("5f0f5d0a-0d3b-5a53-9f3f-2d3a0b6f1c84")


def stable_uid(*parts: str) -> str:
    """Return the UID of `parts`: below WBCLAB_DICOM_UID_ROOT where one is set, else 2.25 of a
    version 5 UUID.
    """
    name = "\x1f".join(parts)
    if root := str(settings.DICOM_UID_ROOT).strip("."):
        return str(generate_uid(prefix=f"{root}.", entropy_srcs=[name]))
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


def specimen_key(content: dict[str, Any]) -> tuple[str, ...]:
    """Name the specimen of a report: laboratory, patient and accession number."""
    patient = content["patient"]
    return (
        content["laboratory"]["name"],
        patient["issuer"],
        patient["identifier"],
        content["specimen"]["accession_number"],
    )


def specimen_uid(content: dict[str, Any]) -> str:
    """Return the Specimen UID (0040,0554) of the specimen of a report."""
    return stable_uid("specimen", *specimen_key(content))


def study_uid(content: dict[str, Any], sources: Sequence[SourceInstance]) -> str:
    """Return the study a report belongs to: that of its images, or one of the specimen's own.

    Images of several studies belong together by the specimen only.
    """
    studies = {source.study_instance_uid for source in sources}
    if len(studies) == 1 and UID(only := studies.pop()).is_valid:
        return only
    return stable_uid("study", *specimen_key(content))


def series_uid(content: dict[str, Any], study: str) -> str:
    """Return the series that all structured reports of a specimen share within a study."""
    return stable_uid("series", study, *specimen_key(content))


def report_uid(content: dict[str, Any], at: str = "") -> str:
    """Return the SOP Instance UID of a report: it follows from all that was signed.

    `at` tells two unsigned results of the same content apart.
    """
    return stable_uid("report", content_digest(content), at)
