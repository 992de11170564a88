"""An instance that waits for a person, put straight into the tables."""

from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from specimens.models import DicomFrame, DicomInstance, Site
from tests.factories import picture


def waiting_instance(site: Site, **values: Any) -> DicomInstance:
    """Return one with a picture and without a specimen."""
    number = DicomInstance.objects.count() + 1
    instance = DicomInstance.objects.create(
        **{
            "site": site,
            "state": DicomInstance.State.UNMATCHED,
            "reason": "No specimen fits: accession number A9.",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.77.1.4",
            "sop_instance_uid": f"1.2.3.{number}",
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "rows": 48,
            "columns": 48,
            "file": f"dicom/waiting-{number}.dcm",
            "size": 7000,
            "sha256": f"{number:064x}",
            "content_sha256": f"{number:064x}",
            "identifiers": {"accession_number": "A9"},
            "way": "c-store",
            "sender": "PACS",
        }
        | values
    )
    DicomFrame.objects.create(instance=instance, number=1, sha256=f"{number:064x}")
    default_storage.save(instance.thumbnail_name(1), ContentFile(picture(number, format="JPEG")))
    return instance
