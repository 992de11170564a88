"""A case under review: what each cell counts as, the differential, its flags and the sign gate."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.db.models import Count, OuterRef, Q, Subquery
from django.utils import timezone

from classifier.classes import CLASS_BY_NAME, UNIDENTIFIED
from specimens.differential import Differential, differential
from specimens.models import CellImage, Job, Patient, Prediction, ReferenceRange, Specimen, User
from specimens.reference import Flag, Limits, judge
from specimens.workflow import CaseFacts


@dataclass(frozen=True, slots=True)
class CellState:
    """One cell of a case. `label` is the person's class key, `proposed` the machine's decision."""

    pk: int
    label: str
    proposed: str
    revision: int
    reviewer_id: int | None

    @property
    def counts_as(self) -> str:
        """The class key it counts as: the person's word, else the machine's."""
        return self.label or self.proposed


@dataclass(frozen=True, slots=True)
class JudgedValue:
    """A value of the differential with the limits it was judged by; None where none apply."""

    key: str
    quantity: str
    value: Decimal
    limits: Limits
    flag: Flag


@dataclass(frozen=True, slots=True)
class Case:
    """Everything the gate, the page and the report need of a specimen, read in a few queries."""

    specimen: Specimen
    cells: tuple[CellState, ...]
    unfinished: int
    failed: int
    differential: Differential
    judged: tuple[JudgedValue, ...]
    comments: int = 0

    @property
    def revision(self) -> str:
        """Changes with every image, prediction, review and comment: what a signer has seen."""
        seen = [(cell.pk, cell.counts_as, cell.revision) for cell in self.cells]
        content = (seen, self.unfinished, self.failed, self.comments, self.specimen.wbc_count)
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]

    @property
    def critical(self) -> tuple[JudgedValue, ...]:
        return tuple(value for value in self.judged if value.flag.is_critical)

    def facts(self, signer: User) -> CaseFacts:
        """Return what the sign gate looks at, were `signer` to sign now."""
        labelled_by = set(
            CellImage.objects.filter(specimen=self.specimen, reviews__isnull=False)
            .values_list("reviews__reviewer", flat=True)
            .distinct()
        )
        site = self.specimen.site
        return CaseFacts(
            unfinished=self.unfinished,
            failed=self.failed,
            unreviewed=sum(not cell.label for cell in self.cells),
            unidentified=self.differential.unidentified,
            counted=self.differential.counted,
            target=site.target_cells,
            quality_lock=site.quality_lock,
            signer_alone=labelled_by <= {signer.pk},
            four_eyes=site.four_eyes,
            critical=tuple(value.key for value in self.critical),
        )


def case_of(specimen: Specimen) -> Case:
    """Read the case of `specimen`. The caller has checked who may see it."""
    cells, unfinished, failed = _cells(specimen)
    counted = differential(Counter(cell.counts_as for cell in cells), specimen.wbc_count)
    return Case(
        specimen=specimen,
        cells=cells,
        unfinished=unfinished,
        failed=failed,
        differential=counted,
        judged=tuple(_judged(specimen, counted)),
        comments=specimen.comments.filter(on_report=True).count(),
    )


def _cells(specimen: Specimen) -> tuple[tuple[CellState, ...], int, int]:
    newest = Prediction.objects.filter(cell_image=OuterRef("pk")).order_by("-pk")
    rows = CellImage.objects.filter(specimen=specimen).annotate(
        decision=Subquery(newest.values("decision")[:1])
    )
    open_jobs = Job.objects.filter(cell_image__specimen=specimen).aggregate(
        n=Count("pk", filter=Q(state__in=[Job.State.QUEUED, Job.State.RUNNING]))
    )["n"]
    cells, without = [], 0
    columns = ("pk", "label", "decision", "revision", "labelled_by_id")
    for pk, label, decision, revision, reviewer in rows.order_by("pk").values_list(*columns):
        if decision is None and not label:
            without += 1  # waits, or failed: nothing to count it as
            continue
        proposed = CLASS_BY_NAME[decision].key if decision else UNIDENTIFIED.key
        cells.append(CellState(pk, label, proposed, revision, reviewer))
    return tuple(cells), open_jobs, max(0, without - open_jobs)


def _judged(specimen: Specimen, counted: Differential) -> list[JudgedValue]:
    if counted.counted == 0:
        return []
    limits = limits_for(specimen)
    values = []
    for row in counted.rows:
        given = {"percent": row.percent, "absolute": row.absolute}
        for quantity, value in given.items():
            found = limits.get((row.cell_class.key, quantity))
            if value is not None and found is not None:
                judged = judge(value, found)
                values.append(JudgedValue(row.cell_class.key, quantity, value, found, judged))
    return values


def age_in_days(patient: Patient, on: date) -> int | None:
    """Return the age on a day; None where the birth date is not recorded."""
    return (on - patient.birth_date).days if patient.birth_date else None


def age_on_collection(specimen: Specimen) -> int | None:
    """Return the age the reference limits are chosen by, in days."""
    day = timezone.localdate(specimen.collected_at or specimen.received_at)
    return age_in_days(specimen.order.patient, day)


def limits_for(specimen: Specimen) -> dict[tuple[str, str], Limits]:
    """Return the limits by (class key, quantity) for the patient of `specimen`.

    The most specific row holds: the site's own before the common one, the sex before both. Without
    a birth date only rows for adults are used, and that is what the report then says.
    """
    patient = specimen.order.patient
    age = age_on_collection(specimen)
    rows = ReferenceRange.objects.filter(Q(site=specimen.site_id) | Q(site__isnull=True)).filter(
        Q(sex="") | Q(sex=patient.sex)
    )
    age = 40 * 365 if age is None else age
    rows = rows.filter(age_from_days__lte=age, age_to_days__gt=age)
    found: dict[tuple[str, str], tuple[tuple[bool, bool], Limits]] = {}
    for row in rows:
        rank = (row.site_id is not None, bool(row.sex))
        limits = Limits(row.low, row.high, row.critical_low, row.critical_high, row.source)
        key = (row.cell_class, row.quantity)
        if key not in found or rank > found[key][0]:
            found[key] = (rank, limits)
    return {key: limits for key, (_, limits) in found.items()}
