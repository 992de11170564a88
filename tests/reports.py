"""Frozen report contents for tests: what a signature would have written, without a database."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from specimens.differential import differential
from specimens.documents.changes import report_changes
from specimens.documents.sheet import Sheet, VersionLine, sheet_of
from specimens.reference import Limits, judge
from specimens.selectors.report_content import LIMITATION

COUNTS = {"neutrophil": 61, "lymphocyte": 30, "monocyte": 6, "eosinophil": 2, "basophil": 1}
MANY = COUNTS | {
    "band_neutrophil": 7, "immature_granulocyte": 3, "blast": 2, "atypical_lymphocyte": 4,
    "plasma_cell": 1, "erythroblast": 5, "smudge_cell": 9, "giant_platelet": 2, "artefact": 3,
}  # fmt: skip
_LIMITS = {
    ("neutrophil", "percent"): Limits(Decimal("40.00"), Decimal("80.00"), source="Site's own"),
    ("neutrophil", "absolute"): Limits(Decimal("2.00"), Decimal("7.00"), source="Site's own"),
    ("lymphocyte", "percent"): Limits(Decimal("20.00"), Decimal("28.00"), source="Site's own"),
    ("basophil", "percent"): Limits(None, Decimal("2.00"), source="Site's own"),
    ("blast", "percent"): Limits(
        None, Decimal(0), None, Decimal(0), source="Any blast is reported at once"
    ),
}


def _row(row: Any) -> dict[str, Any]:
    reference = {}
    for quantity in ("percent", "absolute"):
        limits = _LIMITS.get((row.cell_class.key, quantity))
        value = getattr(row, quantity)
        if limits and value is not None:
            low, high = (None if x is None else str(x) for x in (limits.low, limits.high))
            flag = judge(value, limits).value
            reference[quantity] = {
                "low": low, "high": high, "flag": flag, "source": limits.source
            }  # fmt: skip
    return {
        "key": row.cell_class.key,
        "name": row.cell_class.name,
        "code": row.cell_class.code,
        "count": row.count,
        "percent": str(row.percent),
        "lower": round(row.lower, 1),
        "upper": round(row.upper, 1),
        "absolute": None if row.absolute is None else str(row.absolute),
        "reference": reference,
    }


def content(
    counts: Mapping[str, int] = COUNTS, wbc_count: str | None = "7.20", **values: Any
) -> dict[str, Any]:
    """Return the content of a report; `values` replace whole parts of it."""
    counted = differential(counts, None if wbc_count is None else Decimal(wbc_count))
    return {
        "format": 1,
        "version": 1,
        "laboratory": {
            "name": "Institute of Haematology",
            "header": "University Hospital\nExample Street 1, 12345 Exampletown",
        },
        "patient": {
            "identifier": "P0004711", "issuer": "", "family_name": "Müller-Ødegård",
            "given_name": "Erika", "birth_date": "1970-01-02", "sex": "F", "age_in_days": 20_778,
        },
        "specimen": {
            "accession_number": "261122-001", "placer_number": "ORD-77", "priority": "routine",
            "requester": "Ward 3", "clinical_information": "Leukocytosis, fever",
            "collected_at": "2026-11-22T07:30:00+00:00", "received_at": "2026-11-22T08:02:00+00:00",
            "wbc_count": wbc_count, "is_synthetic": False,
        },
        "differential": [_row(row) for row in counted.rows],
        "non_wbc": [
            {"key": o.cell_class.key, "name": o.cell_class.name, "count": o.count,
             "per_100_wbc": str(o.per_100_wbc)} for o in counted.non_wbc
        ],
        "counted": counted.counted,
        "comments": [],
        "pictures": [],
        "models": [{"name": "dm-fnet", "version": "1.0", "digest": "d" * 64}],
        "reviewers": ["Tina Technician", "Paul Pathologist"],
        "bypassed": [],
        "critical_values_told": {},
        "signature": {
            "name": "Paul Pathologist", "username": "paul", "at": "2026-11-22T09:15:00+00:00",
            "meaning": "I have reviewed every cell and approve this report.",
        },
        "amendment_reason": "",
        "limitation": LIMITATION,
    } | values  # fmt: skip


def comment(text: str) -> dict[str, Any]:
    return {
        "text": text, "author": "Paul Pathologist", "at": "2026-11-22T09:10:00+00:00", "cell": None
    }  # fmt: skip


def sheet(shown: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> Sheet:
    """Return the sheet of a content, with what changed since the one before."""
    day = datetime(2026, 11, 22, 9, 15, tzinfo=UTC)
    versions = [VersionLine(n, n, "Paul Pathologist", day) for n in range(1, shown["version"] + 1)]
    changes = report_changes(before, shown) if before else []
    return sheet_of(shown, sha256="a" * 64, changes=changes, versions=versions)
