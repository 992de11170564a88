"""What was found and fetched by DICOMweb stands in the audit trail: one event for each site."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from django.db import transaction

from specimens.models import DicomInstance, Site, Specimen, User
from specimens.permissions import Action, require
from specimens.services import audit

_NAMED: Final = 50  # studies in one event


@transaction.atomic
def record_search(*, actor: User, rows: Sequence[DicomInstance], level: str) -> None:
    """Record that `actor` was shown these by a search; `level` is study, series or instance."""
    _record(actor, rows, "dicom.listed", {"level": level})


@transaction.atomic
def record_retrieval(*, actor: User, rows: Sequence[DicomInstance], form: str) -> None:
    """Record that `actor` was given these instances, as dicom or metadata."""
    _record(actor, rows, "dicom.retrieved", {"form": form})


def _record(
    actor: User, rows: Sequence[DicomInstance], action: str, details: dict[str, Any]
) -> None:
    require(actor, Action.EXCHANGE)
    by_site: dict[int, list[DicomInstance]] = defaultdict(list)
    for row in rows:
        by_site[row.site_id].append(row)
    sites = Site.objects.in_bulk(list(by_site))
    for key, mine in sorted(by_site.items()):
        specimens = {row.specimen_id for row in mine}
        only = specimens.pop() if len(specimens) == 1 else None
        audit.record(
            actor=actor,
            action=action,
            subject=mine[0] if len(mine) == 1 else sites[key],
            site=sites[key],
            specimen=Specimen.objects.get(pk=only) if only else None,
            details=details
            | {
                "objects": len(mine),
                "studies": sorted({row.study_instance_uid for row in mine})[:_NAMED],
            },
        )
