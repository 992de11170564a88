"""A backup: a snapshot of the database, every image it names, and what it takes to trust both.

    TARGET/images/...            the images of all backups, each once, under its own name
    TARGET/images.sha256         their digests, only ever added to (sha256sum reads it)
    TARGET/models/DIGEST/        the model in use
    TARGET/20260102T030405.678901Z/   one backup: the database and manifest.json

The snapshot is taken first and the images are copied after it. An image is written before its row
is, and never changed, so the copy holds whatever the snapshot names.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from classifier.artifact import ModelArtifact, ModelArtifactError
from specimens.models import AuditEvent, CellImage, DicomInstance, OperationRun
from specimens.services.backup_images import ImagePool
from specimens.services.operations import record_run

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"


class BackupError(Exception):
    """It could not be made, or cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Backup:
    folder: Path
    images_copied: int
    images: int


def make_backup(*, target: Path) -> Backup:
    """Write a backup below `target`; it is there under its final name once it is complete.

    Raises BackupError; then nothing of it is left that could be taken for a backup.
    """
    target.mkdir(parents=True, exist_ok=True)
    with _only_one(target):
        now = timezone.now()
        folder = target / f"{now:%Y%m%dT%H%M%S.%f}Z"
        unfinished = target / f".{folder.name}.unfinished"
        unfinished.mkdir()
        try:
            pool = ImagePool(target)
            manifest, copied = _fill(unfinished, target, pool, now)
            _write(unfinished / MANIFEST, json.dumps(manifest, indent=1).encode())
            unfinished.rename(folder)
            _fsync_folder(target)
        except OSError as error:
            raise BackupError(f"{target} cannot be written: {error}.") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    details = {"folder": str(folder), "images": manifest["images"]["files"]}
    record_run(operation=OperationRun.Operation.BACKUP, ok=True, details=details)
    return Backup(folder, copied, manifest["images"]["files"])


def _fill(folder: Path, target: Path, pool: ImagePool, now: datetime) -> tuple[dict[str, Any], int]:
    # All of these are older than the snapshot, so that it has them as well.
    head = AuditEvent.objects.order_by("-sequence").values_list("sequence", "hash").first()
    last = {model: _last(model) for model in (CellImage, DicomInstance)}
    applied = MigrationRecorder(connection).applied_migrations()
    database = dump_database(folder)
    copied = pool.take(Path(default_storage.path(""))) if _is_folder() else 0
    if _is_folder() and (missing := next(pool.missing(last), None)):
        raise BackupError(
            f"The image {missing} is named in the database and is not in the image store: restore "
            "it from an older backup, then run this again."
        )
    digest, length = pool.seal()
    manifest = {
        "format": FORMAT,
        "made_at": now.isoformat(),
        "version": settings.SOFTWARE_VERSION,
        "migrations": sorted(".".join(key) for key in applied),
        "database": {
            "vendor": connection.vendor,
            "file": database.name,
            "bytes": database.stat().st_size,
            "sha256": file_digest(database),
        },
        "images": {
            "store": "folder" if _is_folder() else "bucket: it has a backup of its own",
            "files": pool.count,
            "list_bytes": length,
            "list_sha256": digest,
        },
        "audit": {"sequence": head[0], "hash": head[1]} if head else None,
        "model": _keep_model(target),
        "not_included": "WBCLAB_SECRET_KEY, .env, secrets of destinations: keep them apart",
    }
    return manifest, copied


def _is_folder() -> bool:
    return isinstance(default_storage, FileSystemStorage)


def _last(model: Any) -> int:
    return int(model.objects.order_by("-pk").values_list("pk", flat=True).first() or 0)


def dump_database(folder: Path) -> Path:
    """Write a consistent snapshot of the database into `folder`; the platform goes on working."""
    if connection.vendor == "sqlite":
        path = folder / "database.sqlite3"
        source = str(connection.settings_dict["NAME"])
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(path)) as copy:
            live.backup(copy)
        _fsync(path)
        return path
    path = folder / "database.dump"
    run_postgres_tool("pg_dump", "--format=custom", "--no-owner", "--file", str(path))
    _fsync(path)
    return path


def run_postgres_tool(tool: str, *arguments: str) -> None:
    """Run a tool of PostgreSQL against our database; the password never is an argument."""
    binary = shutil.which(tool)
    if binary is None:
        raise BackupError(f"{tool} is not installed: install postgresql-client.")
    known = connection.settings_dict
    values = {
        "PGHOST": known["HOST"],
        "PGPORT": str(known["PORT"] or ""),
        "PGUSER": known["USER"],
        "PGPASSWORD": known["PASSWORD"],
        "PGDATABASE": known["NAME"],
        "PGSSLMODE": known["OPTIONS"].get("sslmode", ""),
        "PGSSLROOTCERT": known["OPTIONS"].get("sslrootcert", ""),
    }
    environment = os.environ | {name: value for name, value in values.items() if value}
    done = subprocess.run([binary, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise BackupError(f"{tool} failed: {done.stderr.strip()[-500:]}")


def _keep_model(target: Path) -> dict[str, str]:
    """Copy the model in use beside the backups, once; return what it is."""
    try:
        artifact = ModelArtifact.load(settings.MODEL_DIR)
    except ModelArtifactError as error:
        raise BackupError(f"The model cannot be read: {error}") from error
    folder = target / "models" / artifact.digest
    if not folder.exists():
        unfinished = folder.with_name(f".{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(settings.MODEL_DIR, unfinished)
        unfinished.rename(folder)
    return {"digest": artifact.digest, "folder": f"models/{artifact.digest}"}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _only_one(target: Path) -> Iterator[None]:
    with (target / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BackupError(f"Another backup into {target} is under way.") from error
        yield


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _fsync(path)


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
