"""The content of a signed report, and the file it becomes, without a database."""

from datetime import UTC, datetime
from typing import Any

from specimens.dicom.structured_report import structured_report
from specimens.interop.channels import OutgoingReport, Payload
from specimens.interop.codes import default_codes


def report_content() -> dict[str, Any]:
    """What Report.content holds of a small signed case."""
    rows = [("neutrophil", 60, "60.0"), ("lymphocyte", 30, "30.0"), ("monocyte", 10, "10.0")]
    return {
        "format": 1,
        "version": 1,
        "laboratory": {"name": "Laboratory", "header": ""},
        "patient": {
            "identifier": "P1", "issuer": "HOSP", "family_name": "Musterfrau",
            "given_name": "Erika", "birth_date": "1950-02-03", "sex": "F", "age_in_days": 27_000,
        },
        "specimen": {
            "accession_number": "A000123", "placer_number": "PL1", "priority": "routine",
            "requester": "Dr. A", "clinical_information": "",
            "collected_at": "2026-01-02T08:00:00+00:00",
            "received_at": "2026-01-02T09:00:00+00:00", "wbc_count": "7.20",
            "is_synthetic": False,
        },
        "differential": [
            {
                "key": key, "name": key.title(), "code": key[:3].upper(), "count": count,
                "percent": percent, "lower": 1.0, "upper": 90.0, "absolute": None,
                "reference": {},
            }
            for key, count, percent in rows
        ],
        "non_wbc": [],
        "counted": 100,
        "comments": [],
        "pictures": [],
        "models": [{"name": "dm-fnet", "version": "1.0", "digest": "d" * 64}],
        "reviewers": ["A"],
        "bypassed": [],
        "critical_values_told": {},
        "signature": {
            "name": "P", "username": "p", "at": "2026-01-02T10:00:00+00:00", "meaning": "Seen.",
        },
        "amendment_reason": "",
        "limitation": "For research and assistance.",
    }  # fmt: skip


def outgoing(**changes: Any) -> OutgoingReport:
    """The report as a channel gets it."""
    given: dict[str, Any] = {
        "message_id": "m",
        "event": "final",
        "content": report_content(),
        "previous": None,
        "created_at": datetime(2026, 1, 2, tzinfo=UTC),
        "pdf": lambda: b"",
        "codes": default_codes(),
        "sources": [],
        "report_id": "1",
        "previous_report_id": "",
    }
    return OutgoingReport(**(given | changes))


def report_file() -> Payload:
    """What a channel sends of it."""
    return Payload(structured_report(outgoing()), "application/dicom")
