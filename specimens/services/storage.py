"""Where images lie: a folder, written so that a name that exists always has its whole content."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

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
        self._files: list[tuple[BinaryIO, Path, Path]] = []

    def write(self, content: "File[bytes]", target: Path) -> None:
        descriptor, temporary = tempfile.mkstemp(prefix=".incoming-", dir=target.parent)
        out = os.fdopen(descriptor, "wb")
        self._files.append((out, Path(temporary), target))
        for chunk in content.chunks():
            out.write(chunk)
        out.flush()

    def commit(self) -> None:
        for file, _, _ in self._files:
            _begin_to_write(file.fileno())
        # The first takes the others' names and sizes with it into the journal of the file system.
        for file, _, _ in self._files:
            os.fsync(file.fileno())
        for file, temporary, target in self._files:
            file.close()
            temporary.replace(target)
        for folder in {target.parent for _, _, target in self._files}:
            _fsync_folder(folder)
        self._files.clear()

    def discard(self) -> None:
        """Close and remove what has not got its name."""
        for file, temporary, _ in self._files:
            file.close()
            temporary.unlink(missing_ok=True)


def _begin_to_write(descriptor: int) -> None:
    """Let a file be on its way to the disk while others are: they are waited for one by one.

    Linux begins to write what it is told to forget, and forgets nothing that is not written yet.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


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
            batch.write(content, target)
            if together is None:
                batch.commit()
        finally:
            if together is None:
                batch.discard()
        return name

    def _make_folder(self, folder: Path) -> None:
        """Create `folder`; each new name is fsynced in the folder above it."""
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            _fsync_folder(new.parent)
