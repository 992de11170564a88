"""Signing out and amending by REST: the same services, and so the same guards, as the pages."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from specimens.api.v1 import documents
from specimens.api.v1.base import ResourceView, checked, found, person
from specimens.api.v1.documents import ObstacleShape
from specimens.api.v1.fields import moment, text
from specimens.api.v1.repeats import repeatable
from specimens.permissions import Action, can, require
from specimens.selectors import api as reads
from specimens.selectors.case import case_of
from specimens.services import audit
from specimens.services.guessing import confirm_password
from specimens.services.signing import MEANING, sign_out_report, start_amendment
from specimens.workflow import sign_obstacles


class GateAnswer(serializers.Serializer[Any]):
    success = serializers.BooleanField(help_text="Always true.")
    state = serializers.CharField()
    revision = serializers.CharField(help_text="Send it back as seen_revision.")
    obstacles = ObstacleShape(many=True)
    critical = serializers.ListField(
        child=serializers.CharField(), help_text="Class keys that need an acknowledgement."
    )


class SignOutForm(serializers.Serializer[Any]):
    password = serializers.CharField(help_text="Of the account that signs, each time anew.")
    seen_revision = serializers.CharField(help_text="The revision that was looked at.")
    meaning = serializers.CharField(default=MEANING, max_length=200)
    bypass = serializers.ListField(child=serializers.CharField(), default=list)
    bypass_reason = text(300, blank=True)
    acknowledged = serializers.DictField(
        child=serializers.CharField(), default=dict, help_text="Who was told, by class key."
    )


class SignedAnswer(serializers.Serializer[Any]):
    success = serializers.BooleanField(help_text="Always true.")
    report = serializers.IntegerField()
    version = serializers.IntegerField()
    sha256 = serializers.CharField()
    signed_at = serializers.DateTimeField()


class AmendmentForm(serializers.Serializer[Any]):
    reason = text(500)
    password = serializers.CharField()


class AmendmentAnswer(serializers.Serializer[Any]):
    success = serializers.BooleanField(help_text="Always true.")
    state = serializers.CharField()


GATE: Final[dict[str, Any]] = {
    "success": True,
    "state": "in_review",
    "revision": "9f2c41",
    "obstacles": documents.PROBLEMS["gate_closed"][2]["obstacles"],
    "critical": ["blast"],
}
SIGNED: Final[dict[str, Any]] = {
    "success": True,
    "report": 12,
    "version": 1,
    "sha256": "3f" * 32,
    "signed_at": "2026-11-23T09:30:00Z",
}
AMENDMENT: Final[dict[str, Any]] = {"success": True, "state": "in_review"}


P = ParamSpec("P")
V = TypeVar("V", bound=ResourceView)


def counting_passwords(
    act: Callable[Concatenate[V, Request, P], Response],
) -> Callable[Concatenate[V, Request, P], Response]:
    """Bound the guesses; whether the password is right, the service says.

    Outside of `repeatable`, whose transaction would take the count back.
    """

    @wraps(act)
    def wrapped(view: V, request: Request, /, *args: P.args, **kwargs: P.kwargs) -> Response:
        user = person(request)
        if can(user, Action.SIGN_OUT) and isinstance(request.data, dict):
            password = request.data.get("password")
            if password and isinstance(password, str):
                confirm_password(
                    request=request._request, actor=user, password=password, step="signature"
                )
        return act(view, request, *args, **kwargs)

    return wrapped


class SignOutView(ResourceView):
    """The sign gate of one case, and its signature."""

    @extend_schema(
        operation_id="sign_gate",
        summary="What stands between a case and its signature",
        tags=["Signing"],
        parameters=documents.ONE,
        responses=documents.read_one(GateAnswer, GATE),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Answer the obstacles for the account that asks, and the revision to sign."""
        user = person(request)
        require(user, Action.SIGN_OUT)
        specimen = found(reads.specimens(user), pk)
        audit.record_view(actor=user, specimen=specimen)
        case = case_of(specimen)
        body = {
            "success": True,
            "state": specimen.state,
            "revision": case.revision,
            "obstacles": [
                {"code": one.code, "text": one.text, "bypassable": one.bypassable}
                for one in sign_obstacles(case.facts(user))
            ],
            "critical": sorted({value.key for value in case.critical}),
        }
        return Response(body)

    @extend_schema(
        operation_id="sign_out",
        summary="Sign a case out",
        description="`seen_revision` stands for If-Match here: what was looked at is signed.",
        tags=["Signing"],
        parameters=[documents.IDEMPOTENCY_KEY, documents.LOCATION, documents.RETRY_AFTER],
        request=SignOutForm,
        responses=documents.create_one(SignedAnswer, SIGNED, "gate_closed", "not_in_this_state"),
    )
    @counting_passwords
    @repeatable
    def post(self, request: Request, pk: int) -> Response:
        """Sign the case as it stands; every guard is the service's."""
        user = person(request)
        require(user, Action.SIGN_OUT)
        specimen = found(reads.specimens(user), pk)
        form = checked(SignOutForm, request)
        report = sign_out_report(actor=user, specimen=specimen, **form)
        body = {
            "success": True,
            "report": report.pk,
            "version": report.version,
            "sha256": report.sha256,
            "signed_at": moment(report.signed_at),
        }
        return Response(
            body,
            status=status.HTTP_201_CREATED,
            headers={"Location": reverse("v1_report", args=[report.pk])},
        )


class AmendmentView(ResourceView):
    """Opening a signed case again."""

    @extend_schema(
        operation_id="start_amendment",
        summary="Open a signed case again",
        description="The signed version stays. The next signature is the next version.",
        tags=["Signing"],
        parameters=[documents.IDEMPOTENCY_KEY, documents.RETRY_AFTER],
        request=AmendmentForm,
        responses=documents.create_one(AmendmentAnswer, AMENDMENT, "not_in_this_state"),
    )
    @counting_passwords
    @repeatable
    def post(self, request: Request, pk: int) -> Response:
        """Start the amendment with its reason."""
        user = person(request)
        require(user, Action.AMEND)
        specimen = found(reads.specimens(user), pk)
        form = checked(AmendmentForm, request)
        case = start_amendment(actor=user, specimen=specimen, **form)
        return Response({"success": True, "state": case.state}, status=status.HTTP_201_CREATED)
