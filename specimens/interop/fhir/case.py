"""One result as it is turned into FHIR: its content, its event, and what it is called by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from specimens.interop.codes import CodeTable
from specimens.interop.fhir.naming import CaseIds, Systems

Content = Mapping[str, Any]
PRELIMINARY: Final = "preliminary"
FINAL: Final = "final"
CORRECTED: Final = "corrected"
EVENTS: Final = (PRELIMINARY, FINAL, CORRECTED)
PRELIMINARY_VERSION: Final = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What the builders take.

    Attributes:
        content: of the report, or of the preliminary result (then without a signature).
        event: preliminary, final or corrected (an amendment).
        previous: contents of the versions before, the oldest first; a push knows the last only.
        issued: instant of a preliminary result; a signed one has that of its signature.
        revision: version of a preliminary result, which changes with every cell.
        is_versioned: Provenance refers to the version of the report, for who keeps versions.
    """

    content: Content
    event: str
    codes: CodeTable
    systems: Systems
    previous: tuple[Content, ...] = ()
    issued: str = ""
    revision: str = PRELIMINARY_VERSION
    is_versioned: bool = False
    ids: CaseIds = field(default_factory=CaseIds)

    @property
    def is_signed(self) -> bool:
        return self.event != PRELIMINARY

    @property
    def accession_number(self) -> str:
        return str(self.content["specimen"]["accession_number"])

    @property
    def version_id(self) -> str:
        """meta.versionId of the report and its observations."""
        return str(self.content["version"]) if self.is_signed else self.revision

    @property
    def issued_at(self) -> str:
        return str(self.content["signature"]["at"]) if self.is_signed else self.issued

    @property
    def effective_at(self) -> str:
        """When the value held: at the collection, else at the receipt of the blood."""
        specimen = self.content["specimen"]
        return str(specimen["collected_at"] or specimen["received_at"])

    def meta(self) -> dict[str, Any]:
        """Version and time; drawn cells are marked as test data."""
        return {
            "versionId": self.version_id,
            "lastUpdated": self.issued_at,
            "security": security(self.content["specimen"]),
        }


def security(specimen: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the label of test data where the cells are drawn and nobody's."""
    if not specimen["is_synthetic"]:
        return []
    return [
        {
            "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
            "code": "HTEST",
            "display": "test health data",
        }
    ]
