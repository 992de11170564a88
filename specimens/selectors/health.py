"""Would a predict call succeed now? Each part looked at by itself, cheaply, never raising."""

import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import redis
from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import Error, connection
from django.db.models import Count, Min, Q

from classifier.models import ModelVersion
from specimens.models import Job, WorkerHeartbeat
from specimens.selectors import clock

logger = logging.getLogger(__name__)

BROKER_TIMEOUT_SECONDS: Final = 0.5
LEAST_FREE_BYTES: Final = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """The state of one part; `message` says what to do where it is not well."""

    ok: bool
    message: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def service_health() -> dict[str, Part]:
    """Return each part by name; the service is well when all are."""
    checks: dict[str, Callable[[], Part]] = {
        "database": _database,
        "storage": _storage,
        "queue": _queue,
        "model": _model,
        "worker": _worker,
    }
    if settings.REDIS_URL:
        checks["broker"] = _broker
    parts: dict[str, Part] = {}
    for name, check in checks.items():
        if name in ("queue", "model", "worker") and not parts["database"].ok:
            parts[name] = Part(False, "Not known: the database cannot be reached.")
            continue
        try:
            parts[name] = check()
        except (Error, OSError, redis.RedisError) as error:
            logger.warning("health: %s: %s", name, error)
            parts[name] = Part(False, _WHAT_TO_DO[name])
    return parts


_WHAT_TO_DO: Final = {
    "database": "The database cannot be reached.",
    "storage": "The image store cannot be written.",
    "queue": "The queue cannot be read.",
    "model": "The model version cannot be read.",
    "worker": "The heartbeats of the workers cannot be read.",
    "broker": "The broker cannot be reached, so no worker is rung.",
}


def _database() -> Part:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return Part(True, details={"vendor": connection.vendor})


def _storage() -> Part:
    """Write a byte where images go; a bucket is asked for an object."""
    if not isinstance(default_storage, FileSystemStorage):
        default_storage.exists("health")
        return Part(True)
    folder = Path(default_storage.path(""))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(b"!")
        probe.flush()
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        return Part(False, "The disk of the image store is full.")
    return Part(True)


def _queue() -> Part:
    """Look at what waits, the most urgent first, and no further than the limit.

    Full for a predict call is where more than that waits for an answer. A bulk import of as many
    is no reason to call the service ill (services/queue_entry.py).
    """
    limit = settings.QUEUE_LIMIT
    fresh = Job.objects.filter(state=Job.State.QUEUED, attempts=0)
    found = fresh.order_by("priority", "turn", "id")[: limit + 1].aggregate(
        depth=Count("pk"),
        clients=Count("pk", filter=Q(priority=Job.Urgency.WAITING_CLIENT)),
        oldest=Min("created_at"),
    )
    age = round((clock.now() - found["oldest"]).total_seconds(), 1) if found["oldest"] else 0.0
    details = {"depth": found["depth"], "limit": limit, "oldest_seconds": age}
    if found["clients"] > limit:
        return Part(False, "The queue is full; images are refused for now.", details)
    return Part(True, details=details)


def _model() -> Part:
    version = ModelVersion.objects.filter(is_active=True).only("name", "version", "digest").first()
    if version is None:
        return Part(False, "No model is active: no worker has started here yet.")
    return Part(True, details={"version": str(version), "digest": version.digest})


def silence_limit() -> timedelta:
    """Return how long a worker may be silent: three of its heartbeats."""
    return timedelta(seconds=3 * max(0.5, min(3.0, settings.LEASE_SECONDS / 3)))


def _worker() -> Part:
    """Look for a worker that lives and has the active model."""
    since = clock.now() - silence_limit()
    living = list(WorkerHeartbeat.objects.filter(seen_at__gte=since).order_by("-seen_at"))
    digests = ModelVersion.objects.filter(is_active=True).values_list("digest", flat=True)
    fit = [beat for beat in living if beat.model_digest in digests]
    if not fit:
        if living:
            return Part(False, "The workers that live have another model than the active one.")
        return Part(False, "No worker is alive: images would wait.")
    engines = sorted({beat.engine for beat in fit})
    return Part(True, details={"alive": len(fit), "engines": engines})


def _broker() -> Part:
    client = redis.Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=BROKER_TIMEOUT_SECONDS,
        socket_timeout=BROKER_TIMEOUT_SECONDS,
    )
    try:
        client.ping()
    finally:
        client.close()
    return Part(True)
