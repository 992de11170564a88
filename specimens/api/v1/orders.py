"""Orders: who asked for a differential of whose blood."""

from collections.abc import Sequence
from typing import Any, Final

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

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
from specimens.api.v1.paging import PageQuery, page
from specimens.api.v1.repeats import repeatable
from specimens.models import Order, Patient
from specimens.models.patients_orders import Priority, Sex
from specimens.permissions import Action, require
from specimens.selectors import api as reads
from specimens.services.accessioning import OrderData, PatientData
from specimens.services.disclosures import record_list, record_order_view
from specimens.services.order_entry import change_order, place_order


class PatientForm(serializers.Serializer[Any]):
    identifier = text(64, help_text="Patient number of the issuer.")
    issuer = text(64, blank=True, help_text="Whose number it is; empty: the hospital's.")
    family_name = text(100)
    given_name = text(100, blank=True)
    birth_date = serializers.DateField(required=False, allow_null=True, default=None)
    sex = serializers.ChoiceField(choices=Sex.choices, default=Sex.UNKNOWN)


class OrderFields(serializers.Serializer[Any]):
    placer_number = text(64, blank=True, help_text="The hospital's number (HL7 ORC-2).")
    priority = serializers.ChoiceField(choices=Priority.choices, default=Priority.ROUTINE)
    requester = text(120, blank=True)
    clinical_information = text(10_000, blank=True)
    ordered_at = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="Missing: now."
    )


class OrderForm(OrderFields):
    site = text(30, blank=True, help_text="Code; may be left out where you have one site only.")
    patient = PatientForm()


class OrderChange(serializers.Serializer[Any]):
    priority = serializers.ChoiceField(choices=Priority.choices, required=False)
    requester = serializers.CharField(required=False, allow_blank=True, max_length=120)
    clinical_information = serializers.CharField(
        required=False, allow_blank=True, max_length=10_000
    )


class PatientShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    identifier = serializers.CharField()
    issuer = serializers.CharField()
    family_name = serializers.CharField()
    given_name = serializers.CharField()
    birth_date = serializers.DateField(allow_null=True)
    sex = serializers.ChoiceField(choices=Sex.choices)


class OrderShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    site = serializers.CharField(help_text="Code.")
    patient = PatientShape()
    placer_number = serializers.CharField(help_text="Of the hospital; empty: none was given.")
    filler_number = serializers.CharField()
    priority = serializers.ChoiceField(choices=Priority.choices)
    requester = serializers.CharField()
    clinical_information = serializers.CharField()
    ordered_at = serializers.DateTimeField()
    expected_since = serializers.DateTimeField(
        allow_null=True, help_text="While its tube is still to come."
    )
    cancelled_at = serializers.DateTimeField(allow_null=True)
    specimens = serializers.ListField(child=serializers.IntegerField())


class OrderQuery(PageQuery):
    site = serializers.CharField(required=False, help_text="Code.")
    patient = serializers.CharField(required=False, help_text="Patient number.")
    placer_number = serializers.CharField(required=False)
    priority = serializers.ChoiceField(choices=Priority.choices, required=False)
    ordered_after = serializers.DateTimeField(required=False)
    ordered_before = serializers.DateTimeField(required=False)
    expected = serializers.BooleanField(
        required=False, allow_null=True, default=None, help_text="Whether its tube is to come."
    )


EXAMPLE: Final[dict[str, Any]] = {
    "id": 31,
    "site": "main",
    "patient": {
        "id": 17,
        "identifier": "P000017",
        "issuer": "",
        "family_name": "Musterfrau",
        "given_name": "Erika",
        "birth_date": "1964-08-12",
        "sex": "F",
    },
    "placer_number": "PL-2026-0031",
    "filler_number": "",
    "priority": "routine",
    "requester": "Ward 3",
    "clinical_information": "Fever, leukocytosis.",
    "ordered_at": "2026-11-23T08:15:00Z",
    "expected_since": "2026-11-23T08:15:02Z",
    "cancelled_at": None,
    "specimens": [],
}


class OrdersView(ResourceView):
    """All orders of the own sites, and new ones."""

    @extend_schema(
        operation_id="orders",
        summary="List orders",
        tags=["Orders"],
        parameters=[OrderQuery, *documents.LIST],
        responses=documents.read_list(documents.listing(OrderShape), EXAMPLE),
    )
    def get(self, request: Request) -> Response:
        """Answer a page of orders, the newest first."""
        user = person(request)
        require(user, Action.EXCHANGE)
        query = checked_query(OrderQuery, request)
        rows = reads.filtered(reads.orders(user), query, reads.ORDER_FILTERS)
        rows = reads.expected_only(rows, query["expected"])

        def bodies(chosen: Sequence[Order]) -> list[dict[str, Any]]:
            record_list(actor=user, rows=chosen)
            return [order_body(order) for order in chosen]

        return page(request, rows, query, bodies)

    @extend_schema(
        operation_id="create_order",
        summary="Place an order",
        description="With its patient: one that is known by the number and issuer, or a new one.",
        tags=["Orders"],
        parameters=documents.CREATE,
        request=OrderForm,
        responses=documents.create_one(OrderShape, EXAMPLE),
    )
    @repeatable
    def post(self, request: Request) -> Response:
        """Record an order whose tube is still to come."""
        user = person(request)
        require(user, Action.ACCESSION)
        form = checked(OrderForm, request)
        order = place_order(
            actor=user,
            site=own_site(user, form.pop("site")),
            patient=PatientData(**form.pop("patient")),
            order=OrderData(**form),
        )
        body = order_body(reads.orders(user).get(pk=order.pk))
        return created(body, reverse("v1_order", args=[order.pk]))


class OrderView(ResourceView):
    """One order."""

    @extend_schema(
        operation_id="order",
        summary="Read an order",
        tags=["Orders"],
        parameters=documents.ONE,
        responses=documents.read_one(OrderShape, EXAMPLE),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Answer the order with its patient; the look is recorded."""
        user = person(request)
        require(user, Action.EXCHANGE)
        order = found(reads.orders(user), pk)
        record_order_view(actor=user, order=order)
        return Response(order_body(order))

    @extend_schema(
        operation_id="change_order",
        summary="Correct an order",
        description="Until a specimen of it is signed out. What is left out stays as it is.",
        tags=["Orders"],
        parameters=documents.CHANGE,
        request=OrderChange,
        responses=documents.change_one(OrderShape, EXAMPLE, "not_in_this_state"),
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given, if nobody changed the order meanwhile."""
        user = person(request)
        require(user, Action.ACCESSION)
        found(reads.orders(user), pk)
        changes = checked(OrderChange, request)
        with changing(request, reads.orders(user), pk, order_body) as order:
            change_order(actor=user, order=order, changes=changes)
        return changed(order_body(found(reads.orders(user), pk)))


def patient_body(patient: Patient) -> dict[str, Any]:
    """Return a patient as JSON."""
    return {
        "id": patient.pk,
        "identifier": patient.identifier,
        "issuer": patient.issuer,
        "family_name": patient.family_name,
        "given_name": patient.given_name,
        "birth_date": patient.birth_date.isoformat() if patient.birth_date else None,
        "sex": patient.sex,
    }


def order_body(order: Order) -> dict[str, Any]:
    """Return an order as JSON; read it by selectors.api.orders."""
    return {
        "id": order.pk,
        "site": order.site.code,
        "patient": patient_body(order.patient),
        "placer_number": order.placer_number,
        "filler_number": order.filler_number,
        "priority": order.priority,
        "requester": order.requester,
        "clinical_information": order.clinical_information,
        "ordered_at": moment(order.ordered_at),
        "expected_since": moment(order.expected_since),
        "cancelled_at": moment(order.cancelled_at),
        "specimens": [specimen.pk for specimen in order.specimens.all()],
    }
