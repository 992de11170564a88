"""Specimens: accessioned, corrected, rejected, followed through the laboratory."""

from collections.abc import Sequence
from typing import Any, Final

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from specimens.api.problems import invalid
from specimens.api.v1 import documents
from specimens.api.v1.base import (
    ResourceView,
    changed,
    changing,
    checked,
    checked_query,
    created,
    found,
    person,
)
from specimens.api.v1.fields import moment, own_site, text
from specimens.api.v1.orders import OrderFields, PatientForm
from specimens.api.v1.paging import PageQuery, page
from specimens.api.v1.repeats import repeatable
from specimens.models import Order, Specimen, User
from specimens.models.patients_orders import Priority
from specimens.permissions import Action, require, visible_to
from specimens.selectors import api as reads
from specimens.services import audit
from specimens.services.accessioning import (
    OrderData,
    PatientData,
    accession_specimen,
    reject_specimen,
)
from specimens.services.disclosures import record_list
from specimens.services.order_entry import change_specimen

_COUNT: Final[dict[str, Any]] = {"max_digits": 6, "decimal_places": 2, "min_value": 0}


class SpecimenForm(serializers.Serializer[Any]):
    """With `order`, the number of one that was placed; or with `patient` and `order_details`."""

    site = text(30, blank=True, help_text="Code; may be left out where you have one site only.")
    accession_number = text(32, help_text="Letters, digits and . _ / - only.")
    order = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    patient = PatientForm(required=False)
    order_details = OrderFields(required=False)
    collected_at = serializers.DateTimeField(required=False, allow_null=True)
    received_at = serializers.DateTimeField(required=False, help_text="Missing: now.")
    wbc_count = serializers.DecimalField(
        **_COUNT, required=False, allow_null=True, help_text="10^9/L, of the analyser."
    )


class SpecimenChange(serializers.Serializer[Any]):
    collected_at = serializers.DateTimeField(required=False, allow_null=True)
    wbc_count = serializers.DecimalField(**_COUNT, required=False, allow_null=True)


class RejectionForm(serializers.Serializer[Any]):
    reason = text(200)


class ImageCounts(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    reviewed = serializers.IntegerField(help_text="By a person.")
    waiting = serializers.IntegerField(help_text="For the model.")
    failed = serializers.IntegerField(help_text="Neither classified nor waiting.")


class FlagShape(serializers.Serializer[Any]):
    code = serializers.CharField()
    text = serializers.CharField()


class ReportReference(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    version = serializers.IntegerField()


class SpecimenShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    site = serializers.CharField(help_text="Code.")
    accession_number = serializers.CharField()
    order = serializers.IntegerField()
    priority = serializers.ChoiceField(choices=Priority.choices)
    state = serializers.ChoiceField(choices=Specimen.State.choices)
    collected_at = serializers.DateTimeField(allow_null=True)
    received_at = serializers.DateTimeField()
    wbc_count = serializers.CharField(allow_null=True, help_text="10^9/L, a decimal as text.")
    assigned_to = serializers.CharField(allow_null=True, help_text="Account that reviews it.")
    review_flags = FlagShape(many=True, help_text="Why it needs attention.")
    amendment_reason = serializers.CharField(help_text="While it is open again.")
    rejection_reason = serializers.CharField()
    is_synthetic = serializers.BooleanField()
    images = ImageCounts()
    reports = ReportReference(many=True, help_text="Signed versions, the first first.")


class SpecimenQuery(PageQuery):
    site = serializers.CharField(required=False, help_text="Code.")
    state = serializers.ChoiceField(choices=Specimen.State.choices, required=False)
    accession_number = serializers.CharField(required=False)
    order = serializers.IntegerField(required=False)
    patient = serializers.CharField(required=False, help_text="Patient number.")
    priority = serializers.ChoiceField(choices=Priority.choices, required=False)
    received_after = serializers.DateTimeField(required=False)
    received_before = serializers.DateTimeField(required=False)


EXAMPLE: Final[dict[str, Any]] = {
    "id": 57,
    "site": "main",
    "accession_number": "261123-001",
    "order": 31,
    "priority": "routine",
    "state": "in_review",
    "collected_at": "2026-11-23T07:50:00Z",
    "received_at": "2026-11-23T08:20:00Z",
    "wbc_count": "14.20",
    "assigned_to": "pathologist",
    "review_flags": [{"code": "stat", "text": "STAT order"}],
    "amendment_reason": "",
    "rejection_reason": "",
    "is_synthetic": False,
    "images": {"total": 112, "reviewed": 40, "waiting": 0, "failed": 1},
    "reports": [{"id": 12, "version": 1}],
}


class SpecimensView(ResourceView):
    """All specimens of the own sites, and new ones."""

    @extend_schema(
        operation_id="specimens",
        summary="List specimens",
        tags=["Specimens"],
        parameters=[SpecimenQuery, *documents.LIST],
        responses=documents.read_list(documents.listing(SpecimenShape), EXAMPLE),
    )
    def get(self, request: Request) -> Response:
        """Answer a page of specimens, the newest first."""
        user = person(request)
        require(user, Action.EXCHANGE)
        query = checked_query(SpecimenQuery, request)
        rows = reads.filtered(reads.specimens(user), query, reads.SPECIMEN_FILTERS)

        def bodies(chosen: Sequence[Specimen]) -> list[dict[str, Any]]:
            record_list(actor=user, rows=chosen)
            return specimen_bodies(chosen)

        return page(request, rows, query, bodies)

    @extend_schema(
        operation_id="create_specimen",
        summary="Accession a specimen",
        description=(
            "For an order that was placed (`order`), or with `patient` and `order_details` in one "
            "call."
        ),
        tags=["Specimens"],
        parameters=documents.CREATE,
        request=SpecimenForm,
        responses=documents.create_one(SpecimenShape, EXAMPLE),
    )
    @repeatable
    def post(self, request: Request) -> Response:
        """Record the specimen under its accession number."""
        user = person(request)
        require(user, Action.ACCESSION)
        form = checked(SpecimenForm, request)
        site, origin = own_site(user, form.pop("site")), _origin(user, form)
        specimen = accession_specimen(actor=user, site=site, **origin, **form)
        return created(_read(user, specimen.pk), reverse("v1_specimen", args=[specimen.pk]))


class SpecimenView(ResourceView):
    """One specimen."""

    @extend_schema(
        operation_id="specimen",
        summary="Read a specimen",
        tags=["Specimens"],
        parameters=documents.ONE,
        responses=documents.read_one(SpecimenShape, EXAMPLE),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Answer the specimen as it stands; the look is recorded."""
        user = person(request)
        require(user, Action.EXCHANGE)
        specimen = found(reads.specimens(user), pk)
        audit.record_view(actor=user, specimen=specimen)
        return Response(specimen_body(specimen))

    @extend_schema(
        operation_id="change_specimen",
        summary="Correct a specimen",
        description="Until it is signed out or rejected. What is left out stays as it is.",
        tags=["Specimens"],
        parameters=documents.CHANGE,
        request=SpecimenChange,
        responses=documents.change_one(SpecimenShape, EXAMPLE, "not_in_this_state"),
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given, if nobody changed the specimen meanwhile."""
        user = person(request)
        require(user, Action.ACCESSION)
        found(reads.specimens(user), pk)
        changes = checked(SpecimenChange, request)
        with changing(request, reads.specimens(user), pk, specimen_body) as specimen:
            change_specimen(actor=user, specimen=specimen, changes=changes)
        return changed(_read(user, pk))


class RejectionView(ResourceView):
    """Turning a specimen away."""

    @extend_schema(
        operation_id="reject_specimen",
        summary="Reject a specimen",
        description="For good, with the reason, before its review.",
        tags=["Specimens"],
        parameters=documents.CHANGE,
        request=RejectionForm,
        responses=documents.change_one(
            SpecimenShape, EXAMPLE | {"state": "rejected"}, "not_in_this_state"
        ),
    )
    def post(self, request: Request, pk: int) -> Response:
        """Reject it, if nobody changed it meanwhile."""
        user = person(request)
        require(user, Action.REJECT_SPECIMEN)
        found(reads.specimens(user), pk)
        form = checked(RejectionForm, request)
        with changing(request, reads.specimens(user), pk, specimen_body) as specimen:
            reject_specimen(actor=user, specimen=specimen, reason=form["reason"])
        return changed(_read(user, pk))


def _origin(user: User, form: dict[str, Any]) -> dict[str, Any]:
    """Take out of the form where the specimen comes from: an order, or patient and details."""
    number, patient = form.pop("order", None), form.pop("patient", None)
    details = form.pop("order_details", None)
    if (number is None) == (patient is None):
        text = "Send either `order` or `patient`: a placed order has its patient."
        raise invalid({"order": text})
    if number is None:
        order = OrderData(**details) if details else OrderData()
        return {"patient": PatientData(**patient), "order": order}
    if details is not None:
        raise invalid({"order_details": "Only for a new order; this one is placed already."})
    placed = visible_to(user, Order).filter(pk=number).first()
    if placed is None:
        raise invalid({"order": "There is no such order at your sites."})
    return {"order": placed}


def _read(user: User, pk: int) -> dict[str, Any]:
    return specimen_body(found(reads.specimens(user), pk))


def specimen_body(specimen: Specimen) -> dict[str, Any]:
    """Return one specimen as JSON; read it by selectors.api.specimens."""
    return specimen_bodies([specimen])[0]


def specimen_bodies(specimens: Sequence[Specimen]) -> list[dict[str, Any]]:
    """Return specimens as JSON; their images are counted in one query."""
    counts = reads.image_counts(specimens)
    none = dict.fromkeys(("total", "reviewed", "waiting", "failed"), 0)
    return [
        {
            "id": one.pk,
            "site": one.site.code,
            "accession_number": one.accession_number,
            "order": one.order_id,
            "priority": one.order.priority,
            "state": one.state,
            "collected_at": moment(one.collected_at),
            "received_at": moment(one.received_at),
            "wbc_count": None if one.wbc_count is None else str(one.wbc_count),
            "assigned_to": one.assigned_to.username if one.assigned_to else None,
            "review_flags": one.review_flags,
            "amendment_reason": one.amendment_reason,
            "rejection_reason": one.rejection_reason,
            "is_synthetic": one.is_synthetic,
            "images": counts.get(one.pk, none),
            "reports": [{"id": r.pk, "version": r.version} for r in one.reports.all()],
        }
        for one in specimens
    ]
