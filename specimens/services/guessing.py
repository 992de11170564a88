"""Passwords, codes and tokens that were wrong: counted, refused after too many, on record.

Two bounds. django-axes counts one account from one address, in the database: after
AXES_FAILURE_LIMIT that pair is locked out for AXES_COOLOFF_TIME. And one address may be wrong
WRONG_CREDENTIALS_LIMIT times a minute, whatever accounts or tokens it tries.
"""

import logging
import time
from datetime import timedelta
from typing import Final

from axes.handlers.proxy import AxesProxyHandler
from django.conf import settings
from django.contrib.auth import authenticate
from django.core.cache import cache
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from redis.exceptions import RedisError

from specimens.models import Authenticator, RecoveryCodes, User
from specimens.permissions import own_site
from specimens.services import audit
from specimens.services.errors import LockedOut

logger = logging.getLogger(__name__)

WINDOW_SECONDS: Final = 60
PASSWORDS: Final = "passwords"
TOKENS: Final = "tokens"
_KEPT: Final = ("REMOTE_ADDR", "HTTP_USER_AGENT", "PATH_INFO")


def client_address(request: HttpRequest) -> str | None:
    """Return the address the web server saw; it alone decides which proxy's word counts."""
    return request.META.get("REMOTE_ADDR")


def check_password(*, request: HttpRequest, username: str, password: str, step: str) -> User | None:
    """Return the account whose password this is, else None.

    `step` says in the audit trail what the password was asked for. Raises LockedOut once there
    were too many wrong ones, then for the right one, too.
    """
    refuse_guessing(request)
    attempt = _without_content(request)
    found = authenticate(attempt, username=username, password=password)
    if isinstance(found, User):
        return found
    _after_failure(attempt, username, step)
    return None


def confirm_password(*, request: HttpRequest, actor: User, password: str, step: str) -> bool:
    """Tell whether this is the password of who is signed in already; counted all the same.

    Call it outside a transaction that may be rolled back. Raises LockedOut.
    """
    right = check_password(
        request=request, username=actor.get_username(), password=password, step=step
    )
    if right is None:
        return False
    AxesProxyHandler.reset_attempts(
        username=actor.get_username(), ip_address=client_address(request)
    )
    return True


def refuse_locked_out(*, request: HttpRequest, user: User) -> None:
    """Raise LockedOut for an account that is locked from this address."""
    refuse_guessing(request)
    attempt = _without_content(request)
    if not AxesProxyHandler.is_allowed(attempt, _credentials(user.get_username())):
        raise LockedOut(_remaining(attempt, user.get_username()), account=True)


def count_wrong_code(*, request: HttpRequest, user: User) -> None:
    """Count a wrong code of the second factor as a wrong password; raises LockedOut likewise."""
    attempt = _without_content(request)
    username = user.get_username()
    AxesProxyHandler.user_login_failed(check_password, _credentials(username), attempt)
    _after_failure(attempt, username, "second factor")


@transaction.atomic
def unlock(*, actor: User | None, user: User) -> None:
    """Let an account try again at once, from every address."""
    AxesProxyHandler.reset_attempts(username=user.get_username())
    for devices in (Authenticator.objects, RecoveryCodes.objects):
        devices.filter(user=user).update(
            throttling_failure_count=0, throttling_failure_timestamp=None
        )
    audit.record(actor=actor, action="sign_in.unlocked", subject=user, site=own_site(user))


def count_wrong(request: HttpRequest, kind: str) -> None:
    """Count something wrong of an address; raise LockedOut beyond its limit.

    Each `kind` counts for itself: a machine with a token that has ended, behind the address of a
    whole hospital, keeps no person out.
    """
    try:
        key = _address_key(request, kind)
        cache.add(key, 0, timeout=2 * WINDOW_SECONDS)
        used = cache.incr(key)
    except (RedisError, OSError, ValueError) as error:  # ValueError: it expired in between
        logger.warning("wrong credentials are not counted: %s", error)
        return
    _refuse_beyond(used - 1)


def refuse_guessing(request: HttpRequest) -> None:
    """Raise LockedOut for an address with too many wrong passwords or codes within the minute."""
    try:
        used = cache.get(_address_key(request, PASSWORDS), 0)
    except (RedisError, OSError) as error:
        logger.warning("wrong credentials are not counted: %s", error)
        return
    _refuse_beyond(used)


def _refuse_beyond(used: int) -> None:
    if 0 < settings.WRONG_CREDENTIALS_LIMIT <= used:
        left = WINDOW_SECONDS - time.time() % WINDOW_SECONDS
        raise LockedOut(max(1, round(left)), account=False)


def _address_key(request: HttpRequest, kind: str) -> str:
    return f"wrong:{kind}:{client_address(request)}:{int(time.time() // WINDOW_SECONDS)}"


def _credentials(username: str) -> dict[str, str]:
    return {"username": username}


def _without_content(request: HttpRequest) -> HttpRequest:
    """Return the request as the library may keep it: forms hold patients' data and passwords."""
    bare = HttpRequest()
    bare.method = "POST"
    bare.META = {name: request.META[name] for name in _KEPT if name in request.META}
    return bare


def _after_failure(attempt: HttpRequest, username: str, step: str) -> None:
    """Record the failure of an account that exists; what else was typed may be a password."""
    locked = bool(getattr(attempt, "axes_locked_out", False))
    counted = getattr(attempt, "axes_failures_since_start", None)
    known = User.objects.filter(username=username).first()
    # Nothing is counted, or recorded again, while the pair is locked out already.
    if known and counted is not None:
        details = {"address": client_address(attempt), "step": step}
        with transaction.atomic():
            _record(known, "sign_in.failed", details)
            if locked:
                _record(known, "sign_in.locked_out", details)
    if locked:
        raise LockedOut(_remaining(attempt, username), account=True)
    count_wrong(attempt, PASSWORDS)


def _record(user: User, action: str, details: dict[str, str | None]) -> None:
    audit.record(actor=None, action=action, subject=user, site=own_site(user), details=details)


def _remaining(attempt: HttpRequest, username: str) -> int:
    """Return the seconds until the lock-out ends."""
    handler = AxesProxyHandler.get_implementation()
    rows = handler.filter_user_attempts(attempt, _credentials(username))[0]
    last = rows.order_by("-attempt_time").values_list("attempt_time", flat=True).first()
    whole: timedelta = settings.AXES_COOLOFF_TIME
    return max(1, round(((last or timezone.now()) + whole - timezone.now()).total_seconds()))
