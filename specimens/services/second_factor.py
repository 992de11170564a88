"""The second factor of an account: enrolled, proved, replaced, removed; each step is on record."""

import secrets
from typing import Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django_otp import verify_token
from django_otp.plugins.otp_static.models import StaticToken

from specimens.models import Authenticator, RecoveryCodes, User
from specimens.models.second_factor import stored_code
from specimens.permissions import own_site
from specimens.services import audit
from specimens.services.errors import Conflict
from specimens.services.guessing import count_wrong_code, refuse_locked_out

CODES: Final = 10
# Neither 0 nor 1: somebody will read them from paper. 31^10 is 49 bits.
_LETTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"
NOT_RIGHT: Final = (
    "This code is not right, or was used already. Wait for the next one in the app, "
    "and see that the clock of the phone is right."
)

Device = Authenticator | RecoveryCodes


def authenticator_of(user: User) -> Authenticator | None:
    """Return the app of the account."""
    found: Authenticator | None = Authenticator.objects.filter(user=user, confirmed=True).first()
    return found


def is_enrolled(user: User) -> bool:
    """Tell whether the account has an authenticator app."""
    return authenticator_of(user) is not None


def codes_left(user: User) -> int:
    """Return how many recovery codes are unused."""
    return int(StaticToken.objects.filter(device__user=user).count())


def new_authenticator(*, actor: User) -> Authenticator:
    """Return the app that waits for its first code; the same one until it has shown it."""
    found: Authenticator = Authenticator.objects.filter(
        user=actor, confirmed=False
    ).first() or Authenticator.objects.create(user=actor, name="Authenticator app", confirmed=False)
    return found


def confirm_authenticator(*, request: HttpRequest, actor: User, code: str) -> list[str]:
    """Take the waiting app into use in place of any other; return new recovery codes.

    They are shown this once. Raises Conflict where none waits, ValidationError for a wrong code.
    """
    waiting = Authenticator.objects.filter(user=actor, confirmed=False).first()
    if waiting is None:
        raise Conflict("No authenticator app waits for its first code. Begin again.")
    _require_code(request, actor, waiting, code)
    with transaction.atomic():
        Authenticator.objects.filter(user=actor).exclude(pk=waiting.pk).delete()
        Authenticator.objects.filter(pk=waiting.pk).update(confirmed=True)
        codes = _replace_codes(actor)
        _record(actor, "second_factor.enrolled", actor)
    return codes


def prove(*, request: HttpRequest, user: User, code: str) -> Device:
    """Return the device whose code this is: the app's, or a recovery code, which is used up.

    Raises ValidationError for a wrong, used or too early one, LockedOut after too many.
    """
    device = _device_for(user, code)
    if device is None:
        raise ValidationError({"code": NOT_RIGHT})
    _require_code(request, user, device, code)
    if isinstance(device, RecoveryCodes):
        with transaction.atomic():
            _record(user, "second_factor.recovery_code_used", user, left=codes_left(user))
    return device


@transaction.atomic
def renew_codes(*, actor: User) -> list[str]:
    """Replace all recovery codes; return the new ones, which are shown this once."""
    if not is_enrolled(actor):
        raise Conflict("Set up an authenticator app first.")
    codes = _replace_codes(actor)
    _record(actor, "second_factor.recovery_codes_renewed", actor)
    return codes


@transaction.atomic
def remove_second_factor(*, actor: User | None, user: User) -> bool:
    """Take app and recovery codes of an account away; False where it had none."""
    removed, _ = Authenticator.objects.filter(user=user).delete()
    RecoveryCodes.objects.filter(user=user).delete()
    if removed:
        _record(user, "second_factor.removed", actor)
    return bool(removed)


def _device_for(user: User, code: str) -> Device | None:
    if code.strip().replace(" ", "").isdigit():
        return authenticator_of(user)
    codes: RecoveryCodes | None = RecoveryCodes.objects.filter(user=user).first()
    return codes


def _require_code(request: HttpRequest, user: User, device: Device, code: str) -> None:
    refuse_locked_out(request=request, user=user)
    device.refresh_from_db()
    allowed, why = device.verify_is_allowed()
    if not allowed and why:
        wait = (why["locked_until"] - timezone.now()).total_seconds()
        text = (
            f"After a wrong code the next is looked at in {int(wait) + 1} s. Wait, then try again."
        )
        raise ValidationError({"code": text})
    if verify_token(user, device.persistent_id, code.strip().replace(" ", "")) is None:
        count_wrong_code(request=request, user=user)
        raise ValidationError({"code": NOT_RIGHT})


def _replace_codes(user: User) -> list[str]:
    RecoveryCodes.objects.filter(user=user).delete()
    device = RecoveryCodes.objects.create(user=user, name="Recovery codes")
    codes = ["".join(secrets.choice(_LETTERS) for _ in range(10)) for _ in range(CODES)]
    StaticToken.objects.bulk_create(
        StaticToken(device_id=device.pk, token=stored_code(code)) for code in codes
    )
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def _record(user: User, action: str, actor: User | None, **details: int) -> None:
    audit.record(
        actor=actor, action=action, subject=user, site=own_site(user), details=dict(details)
    )
