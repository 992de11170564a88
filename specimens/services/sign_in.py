"""What the audit trail knows of sessions: begun, ended, how."""

from typing import Any

from django.db import transaction
from django.http import HttpRequest

from specimens.models import User
from specimens.permissions import own_site
from specimens.services import audit
from specimens.services.guessing import client_address


@transaction.atomic
def record_sign_in(*, request: HttpRequest, actor: User, second_factor: bool) -> None:
    """Record that a session has begun."""
    _record(actor, "sign_in.succeeded", request, second_factor=second_factor)


@transaction.atomic
def record_end(*, request: HttpRequest, actor: User, why: str) -> None:
    """Record that a session has ended: asked for, idle, or too old."""
    _record(actor, "sign_in.ended", request, why=why)


@transaction.atomic
def record_password_change(*, request: HttpRequest, actor: User) -> None:
    """Record that somebody has changed the own password."""
    _record(actor, "user.password_changed", request)


def _record(actor: User, action: str, request: HttpRequest, **more: str | bool) -> None:
    details: dict[str, Any] = {"address": client_address(request)} | more
    audit.record(actor=actor, action=action, subject=actor, site=own_site(actor), details=details)
