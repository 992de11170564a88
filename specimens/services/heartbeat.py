"""The sign of life of a worker."""

import threading
import uuid
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from specimens.models import WorkerHeartbeat
from specimens.selectors import clock
from specimens.services.counters import WorkerCounters
from specimens.services.queue import extend_leases

logger = structlog.get_logger(__name__)


class Heart:
    """A thread that says the worker lives and prolongs the leases it holds.

    In Celery's solo pool neither pings nor time limits work: this is what health rests on.
    """

    def __init__(
        self, *, worker: str, engine: str, model_digest: str, counters: WorkerCounters
    ) -> None:
        self._worker = worker
        self._counters = counters
        self._about = {"engine": engine, "model_digest": model_digest}
        self._tokens: set[uuid.UUID] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)
        self._interval = max(0.5, min(3.0, settings.LEASE_SECONDS / 3))

    def hold(self, token: uuid.UUID) -> None:
        """Prolong this lease from now on."""
        self._tokens.add(token)

    def let_go(self, token: uuid.UUID) -> None:
        """Let this lease run out, if it has not ended."""
        self._tokens.discard(token)

    def let_go_of_all(self) -> None:
        """Let all leases run out."""
        self._tokens.clear()

    def start(self) -> None:
        """Say for the first time that the worker lives, then every few seconds."""
        self._beat(started=True)
        self._thread.start()

    def stop(self) -> None:
        """Fall silent, and take the sign of life back."""
        self._stop.set()
        self._thread.join()
        WorkerHeartbeat.objects.filter(worker=self._worker).delete()

    def _beat_on(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._beat()
            except DatabaseError as error:
                logger.warning("heartbeat: the database cannot be reached", error=error)
                connection.close()
        connection.close()

    def _beat(self, *, started: bool = False) -> None:
        now = clock.now()
        if started:
            day_ago = now - timedelta(days=1)
            WorkerHeartbeat.objects.filter(seen_at__lt=day_ago).delete()
        WorkerHeartbeat.objects.update_or_create(
            worker=self._worker,
            defaults={"seen_at": now, "counters": self._counters.snapshot()},
            create_defaults={
                "seen_at": now,
                "started_at": now,
                **self._about,
            },
        )
        if tokens := list(self._tokens):
            extend_leases(tokens=tokens)
