"""How many requests a token may send in a minute.

Counted in windows of one minute, in Redis where there is one (all processes together), else in the
process. A counter that cannot be reached lets the request pass: it protects the platform, and is
no reason to turn a laboratory away.
"""

import logging
import time
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.core.cache import cache
from knox.models import AuthToken
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from specimens.models import User
from specimens.services.broker import counter

logger = logging.getLogger(__name__)

WINDOW_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of the window after this request; `reset` in seconds from now."""

    limit: int
    used: int
    reset: int

    def headers(self) -> dict[str, str]:
        """Return the RateLimit fields (draft-ietf-httpapi-ratelimit-headers, version 3)."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(max(0, self.limit - self.used)),
            "RateLimit-Reset": str(self.reset),
        }


class TokenThrottle(BaseThrottle):
    """One counter for each token, one for each account that comes with a session."""

    def __init__(self) -> None:
        self.allowance: Allowance | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count the request; False when the window is full."""
        whose, limit = _whose(request), settings.RATE_LIMIT
        if whose is None or limit <= 0:
            return True
        now = time.time()
        window = int(now // WINDOW_SECONDS)
        used = _count(f"rate:{whose}:{window}")
        if used is None:
            return True
        reset = max(1, round((window + 1) * WINDOW_SECONDS - now))
        self.allowance = Allowance(limit, used, reset)
        request._request.rate_allowance = self.allowance  # type: ignore[attr-defined]
        return bool(used <= limit)

    def wait(self) -> float | None:
        """Return the seconds until the next window."""
        return float(self.allowance.reset) if self.allowance else None


def allowance_of(request: Request) -> Allowance | None:
    """Return what was counted for this request, if anything was."""
    found: Allowance | None = getattr(request._request, "rate_allowance", None)
    return found


def _whose(request: Request) -> str | None:
    if isinstance(request.auth, AuthToken):
        return f"token-{request.auth.pk[:32]}"
    return f"account-{request.user.pk}" if isinstance(request.user, User) else None


def _count(key: str) -> int | None:
    try:
        return _count_together(key) if settings.REDIS_URL else _count_here(key)
    except (RedisError, OSError, ValueError) as error:  # ValueError: gone from the cache meanwhile
        logger.warning("requests are not counted: %s", error)
        return None


def _count_together(key: str) -> int:
    """Count in one round trip; Django's cache takes two, and a new client for each."""
    name = f"wbclab.{key}"
    together = counter().pipeline(transaction=False)
    used, _ = together.incr(name).expire(name, 2 * WINDOW_SECONDS).execute()
    return int(used)


def _count_here(key: str) -> int:
    try:
        return cache.incr(key)
    except ValueError:  # the first of the window
        cache.add(key, 0, timeout=2 * WINDOW_SECONDS)
        return cache.incr(key)
