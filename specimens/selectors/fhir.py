"""The database as FHIR resources, for one person or system: what is not theirs does not exist."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from django.conf import settings
from django.db.models import Case as SqlCase
from django.db.models import Exists, Max, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce

from classifier.models import ModelVersion
from specimens.interop.codes import CodeTable
from specimens.interop.fhir import orders, people, reports
from specimens.interop.fhir.case import CORRECTED, FINAL, PRELIMINARY, CaseResult
from specimens.interop.fhir.naming import CaseIds, Systems
from specimens.interop.fhir.wire import Resource
from specimens.models import Order, Patient, Prediction, Report, Review, Site, Specimen, User
from specimens.permissions import visible_to
from specimens.selectors.case import case_of
from specimens.selectors.codes import code_table
from specimens.selectors.report_content import preliminary_content

# States in which a machine result stands that nobody has signed.
UNSIGNED: Final = (Specimen.State.PRECLASSIFIED, Specimen.State.IN_REVIEW)


def systems() -> Systems:
    """The identifier systems of the installation (WBCLAB_FHIR_SYSTEMS)."""
    return Systems(**settings.FHIR_SYSTEMS)


def orders_with_status(user: User) -> QuerySet[Order]:
    """Orders of `user`'s sites with ServiceRequest.status as `fhir_status`."""
    own = Specimen.objects.filter(order=OuterRef("pk"))
    alive = own.exclude(state=Specimen.State.REJECTED)
    unsigned = alive.exclude(Exists(Report.objects.filter(specimen=OuterRef("pk"))))
    return (
        visible_to(user, Order)
        .select_related("site", "patient")
        .prefetch_related("specimens")
        .annotate(
            fhir_status=SqlCase(
                When(cancelled_at__isnull=False, then=Value("revoked")),
                When(Exists(own) & ~Exists(alive), then=Value("revoked")),
                When(Exists(alive) & ~Exists(unsigned), then=Value("completed")),
                default=Value("active"),
            )
        )
    )


def specimens_of(user: User) -> QuerySet[Specimen]:
    """Specimens of `user`'s sites; `effective_at` is when their values held."""
    return (
        visible_to(user, Specimen)
        .select_related("site", "order__patient")
        .annotate(effective_at=Coalesce("collected_at", "received_at"))
    )


def reported(user: User) -> QuerySet[Specimen]:
    """Specimens that have a DiagnosticReport: signed (`signed_version`), or a machine result."""
    return (
        specimens_of(user)
        .annotate(signed_version=Max("reports__version"), signed_at=Max("reports__signed_at"))
        .filter(Q(signed_version__isnull=False) | Q(state__in=UNSIGNED))
    )


@dataclass
class Records:
    """The resources one request reads; each case, and each code table, is read once."""

    user: User
    base: str
    systems: Systems = field(default_factory=systems)
    _codes: dict[int, CodeTable] = field(default_factory=dict)
    _cases: dict[tuple[int, int | None], CaseResult | None] = field(default_factory=dict)

    def codes(self, site: Site) -> CodeTable:
        if site.pk not in self._codes:
            self._codes[site.pk] = code_table(site)
        return self._codes[site.pk]

    def at(self, site: Site) -> Systems:
        return self.systems.at(site.code)

    @cached_property
    def sites(self) -> list[Site]:
        return list(visible_to(self.user, Site))

    def patient(self, row: Patient) -> Resource:
        data = {
            "identifier": row.identifier,
            "issuer": row.issuer,
            "family_name": row.family_name,
            "given_name": row.given_name,
            "birth_date": row.birth_date.isoformat() if row.birth_date else None,
            "sex": row.sex,
        }
        return people.patient(
            data, ident=str(row.pk), systems=self.at(row.site), organization=str(row.site_id)
        )

    def service_request(self, row: Order) -> Resource:
        """`row` comes from `orders_with_status`."""
        data = {
            "placer_number": row.placer_number,
            "priority": row.priority,
            "requester": row.requester,
            "clinical_information": row.clinical_information,
        }
        return orders.service_request(
            data,
            status=row.fhir_status,  # type: ignore[attr-defined]
            ids=CaseIds(
                patient=str(row.patient_id), order=str(row.pk), organization=str(row.site_id)
            ),
            systems=self.at(row.site),
            codes=self.codes(row.site),
            specimens={str(one.pk): one.accession_number for one in row.specimens.all()},
            ordered_at=row.ordered_at.isoformat(),
        )

    def specimen(self, row: Specimen) -> Resource:
        collected = row.collected_at
        data = {
            "accession_number": row.accession_number,
            "received_at": row.received_at.isoformat(),
            "collected_at": collected.isoformat() if collected else None,
        }
        return orders.specimen(
            data,
            ids=self.ids(row),
            systems=self.at(row.site),
            state=row.state,
            rejection_reason=row.rejection_reason,
        )

    def ids(self, specimen: Specimen, report: Report | None = None) -> CaseIds:
        """The ids of a case: those of its rows."""
        return CaseIds(
            patient=str(specimen.order.patient_id),
            order=str(specimen.order_id),
            specimen=str(specimen.pk),
            report=str(specimen.pk),
            organization=str(specimen.site_id),
            signer=str(report.signed_by_id) if report else "",
            provenance=str(report.pk) if report else "",
        )

    def case(self, specimen: Specimen, version: int | None = None) -> CaseResult | None:
        """The result in force, or a signed version; None where there is none."""
        key = (specimen.pk, version)
        if key not in self._cases:
            self._cases[key] = self._read_case(specimen, version)
        return self._cases[key]

    def _read_case(self, specimen: Specimen, version: int | None) -> CaseResult | None:
        signed = list(specimen.reports.order_by("version"))
        if version is not None:
            signed = [one for one in signed if one.version <= version]
            if not signed or signed[-1].version != version:
                return None
        common: dict[str, Any] = {
            "codes": self.codes(specimen.site),
            "systems": self.at(specimen.site),
            "is_versioned": True,
        }
        if signed:
            newest = signed[-1]
            return CaseResult(
                content=newest.content,
                event=FINAL if newest.version == 1 else CORRECTED,
                previous=tuple(one.content for one in signed[:-1]),
                ids=self.ids(specimen, newest),
                **common,
            )
        if specimen.state not in UNSIGNED:
            return None
        case = case_of(specimen)
        return CaseResult(
            content=preliminary_content(case),
            event=PRELIMINARY,
            issued=_last_change(specimen),
            revision=f"0-{case.revision}",
            ids=self.ids(specimen),
            **common,
        )

    def diagnostic_report(self, case: CaseResult) -> Resource:
        """The report; its PDF by address."""
        url = f"{self.base}Binary/report-{case.ids.provenance}" if case.is_signed else ""
        return reports.diagnostic_report(case, pdf_url=url)

    def organization(self, row: Site) -> Resource:
        return people.organization(
            name=row.name, code=row.code, ident=str(row.pk), systems=self.systems
        )

    def practitioner(self, row: User) -> Resource:
        return people.practitioner(
            name=row.display_name, username=row.username, ident=str(row.pk), systems=self.systems
        )

    def device(self, row: ModelVersion) -> Resource:
        model = {"name": row.name, "version": row.version, "digest": row.digest}
        return people.device(model, systems=self.systems)


def _last_change(specimen: Specimen) -> str:
    """When a machine result became what it is: the newest prediction or review."""
    of_case = {"cell_image__specimen": specimen}
    times = [
        Prediction.objects.filter(**of_case).aggregate(at=Max("created_at"))["at"],
        Review.objects.filter(**of_case).aggregate(at=Max("created_at"))["at"],
        specimen.received_at,
    ]
    return str(max(time for time in times if time is not None).isoformat())


def signers_of(user: User) -> QuerySet[User]:
    """People who signed a report at `user`'s sites."""
    return User.objects.filter(pk__in=visible_to(user, Report).values("signed_by"))
