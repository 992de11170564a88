"""Deliveries: what the outbox sent to other systems, and what became of it."""

from collections.abc import Sequence
from typing import Any, Final

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
    found,
    person,
)
from specimens.api.v1.fields import moment, text
from specimens.api.v1.paging import PageQuery, page
from specimens.models import Delivery, Destination
from specimens.models.deliveries import Event
from specimens.permissions import Action, require
from specimens.selectors import api as reads
from specimens.services.deliveries import cancel_delivery, retry_delivery


class RetryForm(serializers.Serializer[Any]):
    render_again = serializers.BooleanField(
        default=False,
        help_text="Make the message anew, under a new id; else the same bytes go out again.",
    )


class CancelForm(serializers.Serializer[Any]):
    reason = text(500)


class DestinationShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=Destination.Kind.choices)


class DeliveryShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    site = serializers.CharField(help_text="Code.")
    destination = DestinationShape()
    specimen = serializers.IntegerField()
    report = serializers.IntegerField(allow_null=True, help_text="Null: a preliminary result.")
    event = serializers.ChoiceField(choices=Event.choices)
    sequence = serializers.IntegerField(help_text="Order within the specimen and destination.")
    message_id = serializers.CharField()
    state = serializers.ChoiceField(choices=Delivery.State.choices)
    attempts = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField()
    receipt = serializers.CharField(help_text="What the other side answered.")
    cancel_reason = serializers.CharField()


class DeliveryQuery(PageQuery):
    specimen = serializers.IntegerField(required=False)
    report = serializers.IntegerField(required=False)
    destination = serializers.CharField(required=False, help_text="Name.")
    state = serializers.ChoiceField(choices=Delivery.State.choices, required=False)
    event = serializers.ChoiceField(choices=Event.choices, required=False)
    created_after = serializers.DateTimeField(required=False)


EXAMPLE: Final[dict[str, Any]] = {
    "id": 301,
    "site": "main",
    "destination": {"name": "Hospital system", "kind": "hl7"},
    "specimen": 57,
    "report": 12,
    "event": "final",
    "sequence": 1,
    "message_id": "5d41402abc4b2a76b971",
    "state": "held",
    "attempts": 12,
    "created_at": "2026-11-23T09:30:00Z",
    "due_at": "2026-11-23T11:02:11Z",
    "finished_at": None,
    "last_error": "AE: the patient is not known.",
    "receipt": "",
    "cancel_reason": "",
}


class DeliveriesView(ResourceView):
    """All deliveries of the own sites."""

    @extend_schema(
        operation_id="deliveries",
        summary="List deliveries",
        tags=["Deliveries"],
        parameters=[DeliveryQuery, *documents.LIST],
        responses=documents.read_list(documents.listing(DeliveryShape), EXAMPLE),
    )
    def get(self, request: Request) -> Response:
        """Answer a page of deliveries, the newest first."""
        user = person(request)
        require(user, Action.VIEW_DELIVERIES)
        query = checked_query(DeliveryQuery, request)
        rows = reads.filtered(reads.deliveries(user), query, reads.DELIVERY_FILTERS)
        return page(request, rows, query, delivery_bodies)


class DeliveryView(ResourceView):
    """One delivery."""

    @extend_schema(
        operation_id="delivery",
        summary="Read a delivery",
        tags=["Deliveries"],
        parameters=documents.ONE,
        responses=documents.read_one(DeliveryShape, EXAMPLE),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Answer the delivery, without its message."""
        user = person(request)
        require(user, Action.VIEW_DELIVERIES)
        return Response(delivery_body(found(reads.deliveries(user), pk)))


class RetryView(ResourceView):
    """Sending again what waits or is held."""

    @extend_schema(
        operation_id="retry_delivery",
        summary="Send a delivery again",
        tags=["Deliveries"],
        parameters=documents.CHANGE,
        request=RetryForm,
        responses=documents.change_one(DeliveryShape, EXAMPLE | {"state": "due"}),
    )
    def post(self, request: Request, pk: int) -> Response:
        """Make it due now, if nobody changed it meanwhile."""
        user = person(request)
        require(user, Action.RETRY_DELIVERY)
        found(reads.deliveries(user), pk)
        form = checked(RetryForm, request)
        with changing(request, reads.deliveries(user), pk, delivery_body) as delivery:
            retry_delivery(actor=user, delivery=delivery, render_again=form["render_again"])
        return changed(delivery_body(found(reads.deliveries(user), pk)))


class CancelView(ResourceView):
    """Giving a delivery up."""

    @extend_schema(
        operation_id="cancel_delivery",
        summary="Give a delivery up",
        tags=["Deliveries"],
        parameters=documents.CHANGE,
        request=CancelForm,
        responses=documents.change_one(DeliveryShape, EXAMPLE | {"state": "cancelled"}),
    )
    def post(self, request: Request, pk: int) -> Response:
        """Cancel it for good, with the reason, if nobody changed it meanwhile."""
        user = person(request)
        require(user, Action.CANCEL_DELIVERY)
        found(reads.deliveries(user), pk)
        form = checked(CancelForm, request)
        with changing(request, reads.deliveries(user), pk, delivery_body) as delivery:
            cancel_delivery(actor=user, delivery=delivery, reason=form["reason"])
        return changed(delivery_body(found(reads.deliveries(user), pk)))


def delivery_bodies(deliveries: Sequence[Delivery]) -> list[dict[str, Any]]:
    """Return deliveries as JSON."""
    return [delivery_body(one) for one in deliveries]


def delivery_body(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery as JSON; read it by selectors.api.deliveries."""
    destination = delivery.destination
    return {
        "id": delivery.pk,
        "site": delivery.specimen.site.code,
        "destination": {"name": destination.name, "kind": destination.kind},
        "specimen": delivery.specimen_id,
        "report": delivery.report_id,
        "event": delivery.event,
        "sequence": delivery.sequence,
        "message_id": delivery.message_id,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "created_at": moment(delivery.created_at),
        "due_at": moment(delivery.due_at),
        "finished_at": moment(delivery.finished_at),
        "last_error": delivery.last_error,
        "receipt": delivery.receipt,
        "cancel_reason": delivery.cancel_reason,
    }
