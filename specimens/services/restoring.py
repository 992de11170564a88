"""Bringing an installation back from a backup, so that it can be trusted and nothing goes twice."""

import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from specimens.audit_chain import verify_chain
from specimens.models import (
    CellImage,
    DelivererHeartbeat,
    Delivery,
    DeliveryAttempt,
    DicomInstance,
    Job,
    OperationRun,
    Report,
    Site,
    User,
    WorkerHeartbeat,
)
from specimens.selectors.audit import chain_lines
from specimens.services import audit
from specimens.services.backup import (
    FORMAT,
    MANIFEST,
    BackupError,
    file_digest,
    run_postgres_tool,
)
from specimens.services.backup_images import ImagePool, copy_file, listed
from specimens.services.operations import record_run

DUE, RUNNING = Delivery.State.DUE, Delivery.State.RUNNING
HELD_TEXT: Final = (
    "Restored from the backup of {made_at}. It may have arrived after that: ask the receiver for "
    "message {message_id}, then retry or cancel it."
)


@dataclass(frozen=True, slots=True)
class Restored:
    made_at: str
    images: int
    reports: int
    jobs_requeued: int
    deliveries: int
    audit_events: int


def restore_backup(*, source: Path, deliveries: Literal["hold", "send"]) -> Restored:
    """Restore the backup in `source` into an empty installation.

    What was being classified is queued again. Deliveries that had not arrived when the backup was
    made are held for a person, or with "send" go out again under the same message ids; either way
    that is on record. Raises BackupError, before anything was changed where that can be known.
    """
    manifest = _read_manifest(source)
    _refuse_unless_empty()
    _refuse_other_software(manifest)
    images = _restore_images(source.parent, manifest["images"])
    _restore_database(source / manifest["database"]["file"])
    call_command("migrate", interactive=False, verbosity=0)
    ContentType.objects.clear_cache()
    _verify(manifest, images)
    return _settle(source, manifest, deliveries, images)


def _read_manifest(source: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((source / MANIFEST).read_text())
        database = source / manifest["database"]["file"]
        if manifest["format"] != FORMAT:
            raise BackupError(f"{source} has another format than this version reads.")
        if file_digest(database) != manifest["database"]["sha256"]:
            raise BackupError(f"{database} was changed or damaged: its digest differs.")
        digest, left = hashlib.sha256(), manifest["images"]["list_bytes"]
        with (source.parent / "images.sha256").open("rb") as lines:
            while left and (block := lines.read(min(left, 1024 * 1024))):
                digest.update(block)
                left -= len(block)
        if left or digest.hexdigest() != manifest["images"]["list_sha256"]:
            raise BackupError("The list of images was changed or damaged: its digest differs.")
    except (OSError, ValueError, KeyError) as error:
        raise BackupError(f"{source} is no backup that can be read: {error}.") from error
    return manifest


def _refuse_unless_empty() -> None:
    tables = connection.introspection.table_names()
    if User._meta.db_table in tables and (User.objects.exists() or Site.objects.exists()):
        raise BackupError(
            "This installation is in use. Restore into an empty one: another database, another "
            "folder of images."
        )


def _refuse_other_software(manifest: dict[str, Any]) -> None:
    vendor = manifest["database"]["vendor"]
    if vendor != connection.vendor:
        raise BackupError(f"The backup is of {vendor}, this installation uses {connection.vendor}.")
    known = {".".join(key) for key in MigrationLoader(None).disk_migrations}
    if unknown := set(manifest["migrations"]) - known:
        raise BackupError(
            f"The backup was made by a newer version ({manifest['version']}; {min(unknown)}): "
            "install that one first."
        )


def _restore_images(pool: Path, expected: dict[str, Any]) -> int:
    """Copy the images back, each held against its digest. What is there and right stays."""
    count = 0
    for digest, name in listed(pool / "images.sha256", expected["list_bytes"]):
        goal = Path(default_storage.path(name))
        if not goal.exists():
            goal.parent.mkdir(parents=True, exist_ok=True)
            temporary = goal.with_name(f".incoming-{goal.name}")
            found = copy_file(pool / "images" / name, temporary)
            temporary.rename(goal)
        else:
            found = file_digest(goal)
        if found != digest:
            goal.unlink()
            raise BackupError(f"The image {name} is damaged in the backup: its digest differs.")
        count += 1
    return count


def _restore_database(dump: Path) -> None:
    connections.close_all()
    if connection.vendor == "sqlite":
        live = str(connection.settings_dict["NAME"])
        with closing(sqlite3.connect(dump)) as copy, closing(sqlite3.connect(live)) as target:
            copy.backup(target)
        return
    name = connection.settings_dict["NAME"]
    run_postgres_tool(
        "pg_restore", "--clean", "--if-exists", "--no-owner", "--exit-on-error",
        "--single-transaction", "--dbname", name, str(dump),
    )  # fmt: skip


def _verify(manifest: dict[str, Any], images: int) -> None:
    """Hold what came back against what was noted; the database stays, to be looked at."""
    noted = manifest["audit"]
    verdict = verify_chain(
        chain_lines(), head=(noted["sequence"], noted["hash"]) if noted else None
    )
    details = {"events": verdict.events, "last_sequence": verdict.last_sequence}
    operation = OperationRun.Operation.AUDIT_VERIFICATION
    record_run(operation=operation, ok=verdict.fault is None, details=details)
    if verdict.fault is not None:
        text = f"Event {verdict.fault.sequence}: {verdict.fault.text}."
        raise BackupError(f"The database is restored, but its audit chain is not sound. {text}")
    if manifest["images"]["store"] == "folder":
        pool = _Store()
        if missing := next(pool.missing({CellImage: 2**62, DicomInstance: 2**62}), None):
            raise BackupError(f"The database is restored, but the image {missing} is not there.")


class _Store(ImagePool):
    """The image store itself, asked the same question."""

    def __init__(self) -> None:
        self.folder = Path(default_storage.path(""))


@transaction.atomic
def _settle(
    source: Path, manifest: dict[str, Any], deliveries: Literal["hold", "send"], images: int
) -> Restored:
    """Let go of what the processes of that time had in hand, and write down what was done."""
    WorkerHeartbeat.objects.all().delete()
    DelivererHeartbeat.objects.all().delete()
    Session.objects.all().delete()  # some of them were ended since
    jobs = Job.objects.filter(state=Job.State.RUNNING).update(
        state=Job.State.QUEUED, lease_token=None, lease_until=None
    )
    result = Restored(
        made_at=manifest["made_at"],
        images=images,
        reports=Report.objects.count(),
        jobs_requeued=jobs,
        deliveries=_settle_deliveries(manifest["made_at"], deliveries),
        audit_events=manifest["audit"]["sequence"] if manifest["audit"] else 0,
    )
    details = {"backup": source.name, "made_at": manifest["made_at"], "images": images,
               "jobs_requeued": jobs, "deliveries": result.deliveries,
               "deliveries_were": "held" if deliveries == "hold" else "left to go out"}  # fmt: skip
    run = record_run(operation=OperationRun.Operation.RESTORE, ok=True, details=details)
    audit.record(actor=None, action="installation.restored", subject=run, details=details)
    return result


def _settle_deliveries(made_at: str, what: Literal["hold", "send"]) -> int:
    """Hold each delivery that was open, or leave it due; what was being sent is marked as lost."""
    now = timezone.now()
    rows = Delivery.objects.select_for_update().filter(state__in=[DUE, RUNNING])
    open_ones = list(rows.order_by("pk"))
    day = datetime.fromisoformat(made_at)
    for delivery in open_ones:
        if delivery.state == RUNNING:
            text = "The installation was restored from a backup made while this was being sent."
            DeliveryAttempt.objects.filter(delivery=delivery, number=delivery.attempts).update(
                finished_at=now, outcome=DeliveryAttempt.Outcome.LOST, text=text
            )
        delivery.lease_token = delivery.lease_until = None
        delivery.state = Delivery.State.HELD if what == "hold" else DUE
        if what == "hold":
            delivery.last_error = HELD_TEXT.format(
                made_at=f"{day:%Y-%m-%d %H:%M} UTC", message_id=delivery.message_id
            )
        delivery.save()
    return len(open_ones)
