"""The token a client calls with: what it may do, and the one that replaces it."""

from datetime import timedelta
from typing import Any, Final

from drf_spectacular.utils import extend_schema
from knox.models import AuthToken
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from specimens.api.errors import ApiError
from specimens.api.v1 import documents
from specimens.api.v1.base import ResourceView, checked, person
from specimens.api.v1.fields import moment
from specimens.models import Role, Site, TokenGrant
from specimens.permissions import visible_to
from specimens.services.tokens import rotate_token

_DAY: Final = 24 * 3600


class RotationForm(serializers.Serializer[Any]):
    overlap_seconds = serializers.IntegerField(
        min_value=0, max_value=_DAY, default=300, help_text="How long the old token still works."
    )


class CurrentTokenShape(serializers.Serializer[Any]):
    account = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    sites = serializers.ListField(child=serializers.CharField(), help_text="Codes.")
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=TokenGrant.Scope.choices))
    expires_at = serializers.DateTimeField()


class NewTokenShape(serializers.Serializer[Any]):
    token = serializers.CharField(help_text="Shown this once; only its digest is stored.")
    expires_at = serializers.DateTimeField()
    old_expires_at = serializers.DateTimeField(help_text="Until when the old one works.")


CURRENT: Final[dict[str, Any]] = {
    "account": "integration",
    "role": "integration",
    "sites": ["main"],
    "scopes": ["read", "write"],
    "expires_at": "2027-11-23T08:00:00Z",
}
_SHOWN_ONCE: Final = "0123abcd…"
NEW: Final[dict[str, Any]] = {
    "token": _SHOWN_ONCE,
    "expires_at": "2027-11-23T08:00:00Z",
    "old_expires_at": "2026-11-23T08:05:00Z",
}


class CurrentTokenView(ResourceView):
    """The token of this very call."""

    required_scope = None

    @extend_schema(
        operation_id="current_token",
        summary="What this token may do",
        tags=["Tokens"],
        parameters=documents.ONE,
        responses=documents.read_one(CurrentTokenShape, CURRENT),
    )
    def get(self, request: Request) -> Response:
        """Answer account, role, sites, scopes and end of the token."""
        token, user = _token(request), person(request)
        body = {
            "account": user.username,
            "role": user.role,
            "sites": [site.code for site in visible_to(user, Site)],
            "scopes": token.grant.scopes,
            "expires_at": moment(token.expiry),
        }
        return Response(body)


class RotateView(ResourceView):
    """A new token for the old one."""

    required_scope = None

    @extend_schema(
        operation_id="rotate_token",
        summary="Replace this token by a new one",
        description="Of the same scopes and length of life. The old one works a little longer.",
        tags=["Tokens"],
        parameters=[documents.RETRY_AFTER],
        request=RotationForm,
        responses=documents.create_one(NewTokenShape, NEW),
    )
    def post(self, request: Request) -> Response:
        """Answer the new token, the only time it is shown."""
        token, form = _token(request), checked(RotationForm, request)
        overlap = timedelta(seconds=form["overlap_seconds"])
        new, expiry = rotate_token(actor=person(request), token=token, overlap=overlap)
        token.refresh_from_db()
        body = {
            "token": new,
            "expires_at": moment(expiry),
            "old_expires_at": moment(token.expiry),
        }
        headers = {"Cache-Control": "no-store"}
        return Response(body, status=status.HTTP_201_CREATED, headers=headers)


def _token(request: Request) -> AuthToken:
    if not isinstance(request.auth, AuthToken):
        text = "Call this with a token; a session of the portal has none."
        raise ApiError(status.HTTP_403_FORBIDDEN, "not_allowed", text)
    return request.auth
