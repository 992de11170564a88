"""An authenticator app, as the tests hold one in the hand."""

import time
from base64 import b32decode

from django_otp.oath import hotp

STEP_SECONDS = 30


class AuthenticatorApp:
    """An app with the key of one page; each code is later than the one before."""

    def __init__(self, key: str) -> None:
        self.key = b32decode(key.replace(" ", ""))
        self._last = 0

    def code(self) -> str:
        """The code of now, or where that was given already, of the next step.

        The platform takes one step before and after what it thinks the app's clock shows. That
        clock is taken to be a step behind where a turn fell between the first code and its check,
        so the later code counts from the first one, not from now.
        """
        now = _step()
        self._last = max(now, self._last + 1)
        assert self._last <= now + 1, "two codes in one step are all the platform takes"
        return self._at(self._last)

    def code_at(self, minutes: int) -> str:
        """The code of so many minutes from now."""
        return self._at(_step() + minutes * 60 // STEP_SECONDS)

    def wrong(self) -> str:
        return f"{(int(self._at(_step())) + 500_000) % 1_000_000:06}"

    def _at(self, step: int) -> str:
        return f"{hotp(self.key, step):06}"


def _step() -> int:
    return int(time.time() // STEP_SECONDS)
