"""Where images lie: a folder, written so that a name on record always has its whole content."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
def written_together(on_named: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Let files that are saved within be on disk at its end, and have their names only then.

    Waiting for the disk once for all of them takes a fraction of the time. Nothing has its name
    where an exception is raised. For names that are new, and on record only behind this: a machine
    that dies within may leave a name with a part of its content. `on_named` is called before
    the disk is waited for, when they have their names and can be read on this machine.
    """
    batch = _Batch(named_first=True, on_named=on_named)
    token = _batch.set(batch)
    try:
        yield
        batch.commit()
    finally:
        _batch.reset(token)
        batch.discard()


class _Batch:
    """Files under temporary names, still open.

    Args:
        named_first: give them their names before they are waited for. Then the wait for the first
            takes all names along into the journal of the file system, and that for the folder
            finds little left to do.
        on_named: called in between.
    """

    def __init__(self, *, named_first: bool, on_named: Callable[[], object] = lambda: None) -> None:
        self._files: list[tuple[BinaryIO, Path, Path]] = []
        self._named_first = named_first
        self._on_named = on_named

    def write(self, content: "File[bytes]", target: Path) -> None:
        temporary = target.with_name(f".incoming-{uuid.uuid4().hex}")
        out = os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._files.append((out, temporary, target))
        for chunk in content.chunks():
            out.write(chunk)
        out.flush()

    def commit(self) -> None:
        if len(self._files) > 1:
            for file, _, _ in self._files:
                _begin_to_write(file.fileno())
        if self._named_first and self._files:
            self._name()
            self._on_named()
        # The first takes the others' names and sizes with it into the journal of the file system.
        for file, _, _ in self._files:
            os.fsync(file.fileno())
            file.close()
        if not self._named_first:
            self._name()
        for folder in {target.parent for _, _, target in self._files}:
            _fsync_folder(folder)
        self._files.clear()

    def _name(self) -> None:
        for _, temporary, target in self._files:
            temporary.replace(target)

    def discard(self) -> None:
        """Close and remove what is not on disk for certain."""
        for file, temporary, target in self._files:
            with suppress(OSError):  # of a full disk once more: what is left in its buffer
                file.close()
            temporary.unlink(missing_ok=True)
            if self._named_first:
                target.unlink(missing_ok=True)


def _begin_to_write(descriptor: int) -> None:
    """Let a file be on its way to the disk while others are: they are waited for one by one.

    Linux begins to write what it is told to forget, and forgets nothing that is not written yet.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


_batch: ContextVar[_Batch | None] = ContextVar("batch", default=None)


class DurableStorage(FileSystemStorage):
    """Temporary name, fsync, rename, fsync of the folder: a crash leaves all of a file or none.

    Within `written_together` that is true of names on record only.
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
        batch = together or _Batch(named_first=False)
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
