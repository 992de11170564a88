"""What proves a second factor: an authenticator app, or a recovery code on paper.

django-otp keeps keys and codes in clear. Here its tables hold nothing that opens a door by itself:
keys and stored codes follow from the column and from settings.SECOND_FACTOR_KEY together.
"""

from base64 import b32encode
from datetime import datetime
from typing import Any

from axes.helpers import get_cool_off
from django.conf import settings
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice


class BoundedThrottle:
    """django-otp doubles the pause with each wrong code; here it never exceeds the lock-out.

    Without a bound somebody who has the password could keep its owner out for ever.
    """

    throttling_failure_timestamp: datetime | None

    def verify_is_allowed(self) -> tuple[bool, dict[str, Any] | None]:
        """Return whether a code may be tried now; if not, with `locked_until`."""
        allowed, why = super().verify_is_allowed()  # type: ignore[misc]
        if allowed or self.throttling_failure_timestamp is None:
            return allowed, why
        longest = self.throttling_failure_timestamp + get_cool_off()
        if timezone.now() >= longest:
            return True, None
        return False, why | {"locked_until": min(why["locked_until"], longest)}


class Authenticator(BoundedThrottle, TOTPDevice):
    """An authenticator app (RFC 6238); `confirmed` once a code of it was shown."""

    class Meta:
        proxy = True

    @property
    def bin_key(self) -> bytes:
        """The 20 bytes shared with the app."""
        return _keyed("authenticator", self.key)[:20]


class RecoveryCodes(BoundedThrottle, StaticDevice):
    """The codes for who has lost the app; each is good once."""

    class Meta:
        proxy = True

    def verify_token(self, token: str) -> bool:
        """Use a code up; False where there is none such, or no more."""
        return bool(super().verify_token(stored_code(token)))


def stored_code(code: str) -> str:
    """Return what is kept of a recovery code: 80 bits of its keyed digest."""
    plain = code.replace("-", "").replace(" ", "").lower()
    return b32encode(_keyed("recovery", plain)[:10]).decode()


def _keyed(purpose: str, value: str) -> bytes:
    digest = salted_hmac(
        f"wbclab.{purpose}", value, secret=settings.SECOND_FACTOR_KEY, algorithm="sha256"
    )
    return bytes(digest.digest())
