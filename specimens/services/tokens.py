"""API tokens: shown once, stored hashed, scoped, expiring, replaced by a newer one, revoked."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from knox.models import AuthToken

from specimens.models import TokenGrant, User
from specimens.services import audit
from specimens.services.errors import Conflict

Scope = TokenGrant.Scope


@transaction.atomic
def create_token(
    *,
    actor: User | None,
    user: User,
    lifetime: timedelta,
    scopes: Sequence[str] = (Scope.READ, Scope.WRITE),
) -> tuple[str, datetime]:
    """Make a token for `user`; return it, for the only time, with when it expires.

    It may do what the role of `user` permits at the sites `user` has now, within `scopes`. Raises
    ValidationError for an unknown scope or none.
    """
    row, token = _new_token(user, lifetime, scopes)
    audit.record(
        actor=actor,
        action="token.created",
        subject=user,
        details={
            "token_key": row.token_key,
            "expires_at": row.expiry.isoformat(),
            "scopes": list(scopes),
        },
    )
    return token, row.expiry


@transaction.atomic
def rotate_token(*, actor: User, token: AuthToken, overlap: timedelta) -> tuple[str, datetime]:
    """Replace a token by a new one of the same scopes and length of life.

    The old one works for `overlap` more, so that a client can store the new one before it lets go
    of the old. Raises Conflict where it has been replaced already.
    """
    old = AuthToken.objects.select_for_update(of=("self",)).get(pk=token.pk)
    grant = TokenGrant.objects.get(token=old)
    if grant.rotated_at is not None:
        raise Conflict("This token has been replaced already; use the one that replaced it.")
    now = timezone.now()
    row, new = _new_token(actor, old.expiry - old.created, grant.scopes)
    grant.rotated_at = now
    grant.save(update_fields=["rotated_at"])
    old.expiry = min(old.expiry, now + overlap)
    old.save(update_fields=["expiry"])
    audit.record(
        actor=actor,
        action="token.rotated",
        subject=actor,
        details={
            "token_key": row.token_key,
            "expires_at": row.expiry.isoformat(),
            "replaces": old.token_key,
            "old_expires_at": old.expiry.isoformat(),
        },
    )
    return new, row.expiry


@transaction.atomic
def revoke_tokens(*, actor: User | None, user: User, only_outdated: bool = True) -> int:
    """End tokens of `user`: those that no longer fit the account, or all. Return how many."""
    rows = AuthToken.objects.select_for_update(of=("self",)).filter(user=user)
    ended = [row for row in rows if not only_outdated or why_outdated(row, user)]
    for row in ended:
        reason = why_outdated(row, user) or "on request"
        row.delete()
        audit.record(
            actor=actor,
            action="token.revoked",
            subject=user,
            details={"token_key": row.token_key, "reason": reason},
        )
    return len(ended)


def why_outdated(token: AuthToken, user: User) -> str:
    """Say why a token no longer fits its account; empty where it does.

    This is asked with each request, so it holds whichever way the account was changed.
    """
    if not user.is_active:
        return "the account is not active"
    grant: TokenGrant | None = getattr(token, "grant", None)
    if grant is None:
        return "the token names no scope"
    if grant.role != user.role:
        return "the role of the account has changed"
    if grant.sites != _site_ids(user):
        return "the sites of the account have changed"
    return ""


def _new_token(user: User, lifetime: timedelta, scopes: Sequence[str]) -> tuple[AuthToken, str]:
    if not scopes or set(scopes) - set(Scope.values):
        known = ", ".join(Scope.values)
        raise ValidationError({"scopes": f"Name at least one scope of: {known}."})
    row, token = AuthToken.objects.create(user=user, expiry=lifetime)
    TokenGrant.objects.create(
        token=row, scopes=sorted(set(scopes)), role=user.role, sites=_site_ids(user)
    )
    return row, token


def _site_ids(user: User) -> list[int]:
    return sorted(site.pk for site in user.sites.all())
