"""Signing out and amending by REST: the same services, and so the same guards, as the pages."""

from typing import Any, Final

from django.core.exceptions import ValidationError
from django.http import Http404
from django.urls import URLPattern, path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import APIException
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response

from specimens.api import examples
from specimens.api.base import ApiView
from specimens.api.errors import ApiError
from specimens.api.schema import answer, error
from specimens.api.serializers import Error
from specimens.models import Specimen, User
from specimens.permissions import Action, require, visible_to
from specimens.selectors.case import Case, case_of
from specimens.services import audit
from specimens.services.errors import Conflict, GateClosed
from specimens.services.signing import MEANING, sign_out_report, start_amendment
from specimens.workflow import NotAllowedInState, Obstacle, sign_obstacles


class ObstacleShape(serializers.Serializer[Any]):
    code = serializers.CharField()
    text = serializers.CharField()
    bypassable = serializers.BooleanField()


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
    bypass_reason = serializers.CharField(default="", allow_blank=True, max_length=300)
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
    reason = serializers.CharField(max_length=500)
    password = serializers.CharField()


class AmendmentAnswer(serializers.Serializer[Any]):
    success = serializers.BooleanField(help_text="Always true.")
    state = serializers.CharField()


class GateClosedError(Error):
    obstacles = ObstacleShape(many=True)


_REFUSED: Final[dict[int, Any]] = {
    400: error("Password, reason, acknowledgement or form at fault.", "invalid"),
    401: error("No token, or a wrong one.", "not_authenticated"),
    403: error("The role does not permit it.", "not_allowed"),
    404: error("No such specimen at your sites.", "not_found"),
    409: error(
        "Signed or changed meanwhile, or not in a state that permits it.",
        "conflict",
        "not_in_this_state",
    ),
}


class SignOutView(ApiView):
    """The sign gate of one case, and its signature."""

    parser_classes = [JSONParser]

    @extend_schema(
        operation_id="sign_gate",
        summary="What stands between a case and its signature",
        tags=["Signing"],
        responses={
            200: answer(GateAnswer, "The gate, for who asks.", closed=examples.GATE),
            **{code: _REFUSED[code] for code in (401, 403, 404)},
        },
    )
    def get(self, request: Request, pk: int) -> Response:
        """Answer the obstacles for the account that asks, and the revision to sign."""
        user = _person(request)
        require(user, Action.SIGN_OUT)
        found = _specimen(user, pk)
        audit.record_view(actor=user, specimen=found)
        case = case_of(found)
        body = {
            "success": True,
            "state": found.state,
            "revision": case.revision,
            "obstacles": _obstacles(case, user),
            "critical": sorted({value.key for value in case.critical}),
        }
        return Response(body)

    @extend_schema(
        operation_id="sign_out",
        summary="Sign a case out",
        tags=["Signing"],
        request=SignOutForm,
        responses={
            201: answer(SignedAnswer, "Signed.", signed=examples.SIGNED),
            422: answer(
                GateClosedError,
                "The gate is closed; obstacles say why.",
                gate_closed=examples.GATE_CLOSED,
            ),
            **_REFUSED,
        },
    )
    def post(self, request: Request, pk: int) -> Response:
        """Sign the case as it stands; every guard is the service's."""
        user = _person(request)
        require(user, Action.SIGN_OUT)
        found = _specimen(user, pk)
        form = _checked(SignOutForm, request)
        try:
            report = sign_out_report(actor=user, specimen=found, **form)
        except GateClosed as closed:
            text, obstacles = str(closed), [_shape(one) for one in closed.obstacles]
            raise ApiError(
                status.HTTP_422_UNPROCESSABLE_ENTITY, "gate_closed", text, obstacles=obstacles
            ) from closed
        except (Conflict, NotAllowedInState, ValidationError) as refusal:
            raise _refusal(refusal) from refusal
        body = {
            "success": True,
            "report": report.pk,
            "version": report.version,
            "sha256": report.sha256,
            "signed_at": report.signed_at.isoformat(),
        }
        return Response(body, status=status.HTTP_201_CREATED)


class AmendmentView(ApiView):
    """Opening a signed case again."""

    parser_classes = [JSONParser]

    @extend_schema(
        operation_id="start_amendment",
        summary="Open a signed case again",
        description="The signed version stays. The next signature is the next version.",
        tags=["Signing"],
        request=AmendmentForm,
        responses={
            201: answer(AmendmentAnswer, "Open again.", opened=examples.AMENDMENT),
            **_REFUSED,
        },
    )
    def post(self, request: Request, pk: int) -> Response:
        """Start the amendment with its reason."""
        user = _person(request)
        require(user, Action.AMEND)
        found = _specimen(user, pk)
        form = _checked(AmendmentForm, request)
        try:
            case = start_amendment(actor=user, specimen=found, **form)
        except (Conflict, NotAllowedInState, ValidationError) as refusal:
            raise _refusal(refusal) from refusal
        return Response({"success": True, "state": case.state}, status=status.HTTP_201_CREATED)


def _person(request: Request) -> User:
    assert isinstance(request.user, User)  # noqa: S101 - the permission class saw to it
    return request.user


def _specimen(user: User, pk: int) -> Specimen:
    specimens = visible_to(user, Specimen).select_related("site", "order__patient")
    found = specimens.filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


def _checked(shape: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the form's values, or raise 400 with every fault by field."""
    form = shape(data=request.data)
    if not form.is_valid():
        faults = {name: " ".join(map(str, texts)) for name, texts in form.errors.items()}
        text = " ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise ApiError(status.HTTP_400_BAD_REQUEST, "invalid", text, fields=faults)
    return dict(form.validated_data)


def _refusal(refusal: Exception) -> APIException:
    if isinstance(refusal, ValidationError):
        fields = (
            {name: " ".join(texts) for name, texts in refusal.message_dict.items()}
            if hasattr(refusal, "error_dict")
            else {}
        )
        text = " ".join(refusal.messages)
        return ApiError(status.HTTP_400_BAD_REQUEST, "invalid", text, fields=fields)
    code = "conflict" if isinstance(refusal, Conflict) else "not_in_this_state"
    return ApiError(status.HTTP_409_CONFLICT, code, str(refusal))


def _obstacles(case: Case, user: User) -> list[dict[str, Any]]:
    return [_shape(one) for one in sign_obstacles(case.facts(user))]


def _shape(one: Obstacle) -> dict[str, Any]:
    return {"code": one.code, "text": one.text, "bypassable": one.bypassable}


urlpatterns: list[URLPattern] = [
    path("specimens/<int:pk>/sign-out", SignOutView.as_view(), name="api_sign_out"),
    path("specimens/<int:pk>/amendments", AmendmentView.as_view(), name="api_amendments"),
]
