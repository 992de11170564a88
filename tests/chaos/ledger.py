"""What the platform promised its senders, and what it refused: held against the database later."""

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

import httpx

Kind = Literal["image", "instance", "message", "report"]

# What a client may be told while things break, beside success. The rest is a fault of the platform.
ALLOWED: Final = {
    409: {"still_running", "conflict"},
    422: {"gate_closed"},
    429: {"too_many_requests"},
    503: {"database_unavailable", "queue_full", "page"},
    507: {"storage_unavailable"},
}
# With these a client must be told when to come again.
RETRY_AFTER: Final = (429, 503)


@dataclass(frozen=True, slots=True)
class Promise:
    """Something a sender was told of success for; `at` and `asked_at` on the monotonic clock."""

    kind: Kind
    key: str
    asked_at: float
    at: float


@dataclass
class Ledger:
    """Promises by what they are known by (digest, UID, control id), and every answer counted."""

    promises: dict[tuple[Kind, str], Promise] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    offences: list[str] = field(default_factory=list)
    # From when to when the clock ran whose rows a restore without the log took away.
    lost_spans: list[tuple[float, float]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def promise(self, kind: Kind, keys: Iterable[str], asked_at: float) -> None:
        """Note that the platform said yes to something asked at `asked_at`."""
        now = time.monotonic()
        with self._lock:
            for key in keys:
                self.promises[kind, key] = Promise(kind, key, asked_at, now)

    def count(self, what: str) -> None:
        with self._lock:
            self.answers[what] += 1

    def offence(self, text: str) -> None:
        """Note an answer that nobody should ever get."""
        with self._lock:
            self.offences.append(text)

    def answer(self, what: str, response: httpx.Response) -> None:
        """Count an answer; a refusal must be one that says what is wrong and when to come again."""
        status = response.status_code
        if status < 400:
            self.count(f"{what} {status}")
            return
        code = code_of(response)
        self.count(f"{what} {status} {code}")
        if self.lost_spans and (
            status == 404
            or code == "not_in_this_state"
            or (code == "invalid" and "There is no such order" in response.text)
        ):
            return  # the restore took its case away, or back
        if code not in ALLOWED.get(status, ()):
            self.offence(f"{what}: {status} {code}: {' '.join(response.text.split())[:300]}")
        if status in RETRY_AFTER and "Retry-After" not in response.headers:
            self.offence(f"{what}: {status} {code} without Retry-After")

    def of(self, kind: Kind) -> list[Promise]:
        return [promise for promise in self.promises.values() if promise.kind == kind]

    def may_be_lost(self, promise: Promise) -> bool:
        """Was it given between a backup and the moment the backup was gone back to?"""
        return any(
            began <= promise.at and promise.asked_at <= ended for began, ended in self.lost_spans
        )


def code_of(response: httpx.Response) -> str:
    """The code an error carries for programs; for a page, what kind of page it is."""
    if "json" in response.headers.get("Content-Type", ""):
        body = response.json()
        return str(body.get("code", "")) if isinstance(body, dict) else "?"
    return "page" if "Try again" in response.text else "page without a reason"
