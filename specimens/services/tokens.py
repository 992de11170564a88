"""API tokens: shown once, stored hashed, expiring."""

from datetime import datetime, timedelta

from django.db import transaction
from knox.models import AuthToken

from specimens.models import User
from specimens.services import audit


@transaction.atomic
def create_token(*, actor: User | None, user: User, lifetime: timedelta) -> tuple[str, datetime]:
    """Make a token for `user`; return it, for the only time, with when it expires."""
    row, token = AuthToken.objects.create(user=user, expiry=lifetime)
    audit.record(
        actor=actor,
        action="token.created",
        subject=user,
        details={"token_key": row.token_key, "expires_at": row.expiry.isoformat()},
    )
    return token, row.expiry
