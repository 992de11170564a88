"""A laboratory with a case in every state, another site that must never show, and FHIR clients."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.test import Client
from fhir.resources.R4B import get_fhir_model_class

from classifier.models import ModelVersion
from specimens.interop.fhir.wire import from_json
from specimens.models import Report, Role, Site, Specimen, User
from specimens.selectors.case import case_of
from specimens.services.review import Decision, review_cells
from specimens.services.signing import sign_out_report, start_amendment
from specimens.services.tokens import create_token
from tests.factories import Cast, OrderFactory, PatientFactory, SpecimenFactory, UserFactory
from tests.portal.conftest import METADATA, Cells

PASSWORD = "correct horse"
# Elements that R4 (4.0.1) does not have and R4B brought, of the resources we make.
KINDS_OF_R4 = {
    "Binary", "Bundle", "CapabilityStatement", "Device", "DiagnosticReport", "Observation",
    "OperationOutcome", "Organization", "Patient", "Practitioner", "Provenance", "ServiceRequest",
    "Specimen",
}  # fmt: skip


def checked(resource: Any) -> Any:
    """Return the resource, after an independent library has taken it as FHIR."""
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    assert resource["resourceType"] in KINDS_OF_R4
    for entry in resource.get("entry", ()):
        checked(entry["resource"])
    return resource


class FhirClient:
    """Calls as one account; every answer is held to FHIR."""

    def __init__(self, user: User | None) -> None:
        headers = {}
        if user is not None:
            token, _ = create_token(actor=None, user=user, lifetime=timedelta(days=1))
            headers = {"authorization": f"Bearer {token}"}
        self.http = Client(headers=headers, raise_request_exception=False)

    def get(self, path: str, data: Any = None, **headers: str) -> Any:
        return self._answered(self.http.get(f"/fhir/{path}", data, headers=headers))

    def post(self, path: str, body: Any, **headers: str) -> Any:
        answer = self.http.post(
            f"/fhir/{path}", body, content_type="application/fhir+json", headers=headers
        )
        return self._answered(answer)

    @staticmethod
    def _answered(answer: Any) -> Any:
        if answer.content and "json" in answer["Content-Type"]:
            answer.resource = checked(from_json(answer.content))
            if answer.status_code >= 400:
                assert answer.resource["resourceType"] == "OperationOutcome"
        return answer

    def found(self, path: str, **data: Any) -> list[str]:
        """Return what a search matches, as Type/id."""
        answer = self.get(path, {name.replace("__", "."): value for name, value in data.items()})
        assert answer.status_code == 200, answer.content
        return names(answer.resource)


def names(bundle: Any, mode: str = "match") -> list[str]:
    return [
        f"{one['resource']['resourceType']}/{one['resource'].get('id', '')}"
        for one in bundle.get("entry", [])
        if one["search"]["mode"] == mode
    ]


@dataclass
class Laboratory:
    """Cases of the cast's site, by what became of them, and a signed one of the other site."""

    expected: Any
    empty: Specimen
    machine: Specimen
    signed: Specimen
    amended: Specimen
    rejected: Specimen
    elsewhere: Specimen

    def report(self, case: Specimen) -> Report:
        found = case.reports.order_by("-version").first()
        assert found is not None
        return found


def classified(site: Site, cells: Cells, accessioned_by: User, **values: Any) -> Specimen:
    case: Specimen = SpecimenFactory.create(
        site=site,
        accessioned_by=accessioned_by,
        state=Specimen.State.PRECLASSIFIED,
        wbc_count="7.20",
        **values,
    )
    for name in ("Neutrophil", "Neutrophil", "Lymphocyte", "Monocyte"):
        cells.classified(case, name)
    return case


def sign(case: Specimen, actor: User, **changes: str) -> Report:
    """Label every cell (by default as proposed) and sign."""
    case = Specimen.objects.get(pk=case.pk)
    decisions = [
        Decision(cell.pk, changes.get(cell.proposed, cell.proposed), cell.revision)
        for cell in case_of(case).cells
    ]
    review_cells(actor=actor, specimen=case, decisions=decisions)
    case.refresh_from_db()
    return sign_out_report(
        actor=actor,
        specimen=case,
        password=PASSWORD,
        seen_revision=case_of(case).revision,
        acknowledged=dict.fromkeys(changes.values(), "Dr Ward"),
    )


def amend(case: Specimen, actor: User, **changes: str) -> Report:
    start_amendment(actor=actor, specimen=case, reason="second look", password=PASSWORD)
    return sign(case, actor, **changes)


def make_laboratory(cast: Cast) -> Laboratory:
    version = ModelVersion.objects.create(
        name="dm-fnet", version="1.0", digest="d" * 64, metadata=METADATA, is_active=True
    )
    cells = Cells(version)
    for site in (cast.site, cast.other_site):
        site.target_cells = 1
        site.save()
    order = OrderFactory.create(site=cast.site, placer_number="ORD-1")
    patient = PatientFactory.create(
        site=cast.site, identifier="P1", issuer="urn:hospital", birth_date="1964-08-12"
    )
    signed = classified(
        cast.site, cells, cast.technician,
        order=OrderFactory.create(site=cast.site, patient=patient, placer_number="ORD-2"),
        accession_number="A/1", collected_at="2026-11-20T10:00:00+00:00",
    )  # fmt: skip
    sign(signed, cast.pathologist)
    amended = classified(cast.site, cells, cast.technician)
    sign(amended, cast.pathologist, monocyte="blast")
    amend(amended, cast.second_pathologist, monocyte="monocyte")
    other = UserFactory.create(username="elsewhere", role=Role.PATHOLOGIST, sites=[cast.other_site])
    elsewhere = classified(
        cast.other_site, cells, other,
        order=OrderFactory.create(
            site=cast.other_site,
            patient=PatientFactory.create(site=cast.other_site, identifier="P1"),
            placer_number="ORD-2",
        ),
        accession_number="A/1", collected_at="2026-11-20T10:00:00+00:00",
    )  # fmt: skip
    sign(elsewhere, other)
    return Laboratory(
        expected=order,
        empty=cast.specimen(),
        machine=classified(cast.site, cells, cast.technician),
        signed=signed,
        amended=amended,
        rejected=cast.specimen(state=Specimen.State.REJECTED, rejection_reason="clotted"),
        elsewhere=elsewhere,
    )
