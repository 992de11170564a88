"""Where images lie: a folder, written so that a name that exists always has its whole content."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, storages


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def written_together() -> Iterator[None]:
    """Let files that are saved within be on disk at its end, and have their names only then.

    Waiting for the disk once for all of them takes a fraction of the time. Nothing has its name
    where an exception is raised.
    """
    batch = _Batch()
    token = _batch.set(batch)
    try:
        yield
        batch.commit()
    finally:
        _batch.reset(token)
        batch.discard()


class _Batch:
    """Files under temporary names, still open."""

    def __init__(self) -> None:
        self._files: list[tuple[IO[bytes], Path]] = []

    def add(self, file: IO[bytes], target: Path) -> None:
        self._files.append((file, target))

    def commit(self) -> None:
        # The first takes the others' names and sizes with it into the journal of the file system.
        for file, _ in self._files:
            os.fsync(file.fileno())
        for file, target in self._files:
            Path(file.name).replace(target)
        for folder in {target.parent for _, target in self._files}:
            _fsync_folder(folder)

    def discard(self) -> None:
        """Close the files; what has not got its name is removed."""
        for file, _ in self._files:
            file.close()
            Path(file.name).unlink(missing_ok=True)


_batch: ContextVar[_Batch | None] = ContextVar("batch", default=None)


class DurableStorage(FileSystemStorage):
    """Temporary name, fsync, rename, fsync of the folder: a crash leaves all of a file or none.

    What has left the folder for the archive is opened there.
    """

    def open(self, name: str, mode: str = "rb") -> "File[Any]":
        """Open a file here or, where it has left for there, in the archive."""
        try:
            return super().open(name, mode)
        except FileNotFoundError:
            if "archive" not in settings.STORAGES or storages["archive"] is self:
                raise
            return storages["archive"].open(name, mode)

    def _save(self, name: str, content: "File[bytes]") -> str:
        target = Path(self.path(name))
        self._make_folder(target.parent)
        together = _batch.get()
        batch = together or _Batch()
        try:
            self._write(content, target, batch)
            if together is None:
                batch.commit()
        finally:
            if together is None:
                batch.discard()
        return name

    def _write(self, content: "File[bytes]", target: Path, batch: _Batch) -> None:
        out = tempfile.NamedTemporaryFile(  # noqa: SIM115 - the batch closes it
            prefix=".incoming-", dir=target.parent, delete=False
        )
        batch.add(out, target)
        for chunk in content.chunks():
            out.write(chunk)
        out.flush()

    def _make_folder(self, folder: Path) -> None:
        """Create `folder`; each new name is fsynced in the folder above it."""
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            _fsync_folder(new.parent)
