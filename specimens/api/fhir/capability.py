"""The CapabilityStatement (R4, capabilitystatement): what is routed, said to programs."""

from typing import Any, Final

from specimens.interop.fhir.wire import Resource, without_empty
from specimens.selectors.fhir_kinds import KINDS, Kind

FHIR_VERSION: Final = "4.0.1"
PUBLISHED: Final = "2026-11-23"
DOCUMENTATION: Final = (
    "Results of the white-blood-cell differential. A machine result nobody has signed is partial "
    "(Observations: preliminary), a signed one final, an amended one amended or corrected, with a "
    "new version. GET [base]/Bundle/report-[id of the DiagnosticReport] is a report with all it "
    "refers to and its PDF. Creating is idempotent by identifier. There are no Subscription "
    "resources: results are pushed by the outbox, as signed webhooks or as FHIR transactions, to "
    "destinations an administrator enters (docs/integration.md). For research and assistance: a "
    "person verifies each cell."
)


def capability_statement(base: str) -> Resource:
    """Return the statement for the server at `base`."""
    return without_empty(
        {
            "resourceType": "CapabilityStatement",
            "id": "wbclab",
            "url": f"{base}metadata",
            "name": "wbclab",
            "title": "wbclab FHIR R4",
            "status": "active",
            "date": PUBLISHED,
            "kind": "instance",
            "software": {"name": "wbclab"},
            "implementation": {"description": "wbclab", "url": base.rstrip("/")},
            "description": DOCUMENTATION,
            "fhirVersion": FHIR_VERSION,
            "format": ["application/fhir+json", "json"],
            "rest": [
                {
                    "mode": "server",
                    "documentation": DOCUMENTATION,
                    "security": {
                        "description": "Authorization: Bearer <token>, or Token <token>; tokens "
                        "are made with manage.py create_token. Each sees its own sites only."
                    },
                    "resource": [
                        *(_resource(kind) for kind in KINDS.values()),
                        *_documents(),
                    ],
                }
            ],
        }
    )


def _resource(kind: Kind) -> dict[str, Any]:
    codes = ["read", "search-type"]
    codes += ["create"] if kind.creates else []
    codes += ["vread", "history-instance"] if kind.has_versions else []
    return {
        "type": kind.name,
        "interaction": [{"code": code} for code in codes],
        "versioning": "versioned" if kind.has_versions else "no-version",
        "readHistory": True if kind.has_versions else None,
        "conditionalCreate": True if kind.creates else None,
        "conditionalRead": "not-match",
        "referencePolicy": ["literal"],
        "searchInclude": [f"{kind.name}:{name}" for name in kind.includes],
        "searchRevInclude": list(kind.revincludes),
        "searchParam": [
            {"name": name, "type": one.type, "documentation": one.documentation}
            for name, one in kind.parameters.items()
        ],
    }


def _documents() -> list[dict[str, Any]]:
    return [
        {
            "type": "Bundle",
            "documentation": "report-[id of the DiagnosticReport]: the report, complete.",
            "interaction": [{"code": "read"}],
            "versioning": "no-version",
        },
        {
            "type": "Binary",
            "documentation": "The PDF of a signed version; DiagnosticReport.presentedForm.url.",
            "interaction": [{"code": "read"}],
            "versioning": "no-version",
        },
    ]
