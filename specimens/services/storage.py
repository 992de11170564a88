"""Where images lie: a folder, written so that a name that exists always has its whole content."""

import os
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, storages


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        descriptor, temporary = tempfile.mkstemp(prefix=".incoming-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as out:
                for chunk in content.chunks():
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _fsync_folder(target.parent)
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
