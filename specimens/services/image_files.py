"""Image files as decoders want them: paths of this machine, wherever the images are kept.

What lies in a bucket, or in the archive, is fetched into a folder of bounded size and read there.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, default_storage, storages

# Not removed from the cache: somebody is about to open it.
_IN_USE_SECONDS: Final = 120
_LOOK_EVERY: Final = 50
_fetched = 0


def archive() -> Storage | None:
    """Return where old images go; None where no archive is set up."""
    return storages["archive"] if "archive" in settings.STORAGES else None


def readable_path(name: str) -> Path:
    """Return a path to read the image at; of one that is nowhere, a path where nothing is.

    Raises OSError where bucket or archive cannot be reached.
    """
    if isinstance(default_storage, FileSystemStorage):
        path = Path(default_storage.path(name))
        if archive() is None or path.exists():
            return path
    try:
        return _fetch(name)
    except FileNotFoundError:
        return _cache() / name


def writable_path(name: str) -> Path:
    """Return where a decoder may write the picture `name`; then call `keep_written`."""
    if isinstance(default_storage, FileSystemStorage):
        return Path(default_storage.path(name))
    path = _cache() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def keep_written(name: str) -> None:
    """Bring what was written at `writable_path` into the image store, where it is not already."""
    if isinstance(default_storage, FileSystemStorage):
        return
    path = _cache() / name
    if path.exists():
        with path.open("rb") as file:
            default_storage.save(name, File(file))


def _cache() -> Path:
    return Path(settings.IMAGE_CACHE_DIR)


def _fetch(name: str) -> Path:
    global _fetched
    path = _cache() / name
    if path.exists():
        os.utime(path)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with default_storage.open(name) as stored:
        descriptor, temporary = tempfile.mkstemp(prefix=".incoming-", dir=path.parent)
        with os.fdopen(descriptor, "wb") as out:
            shutil.copyfileobj(stored, out)
    Path(temporary).replace(path)
    _fetched += 1
    if _fetched % _LOOK_EVERY == 1:
        shrink_cache()
    return path


def shrink_cache() -> int:
    """Remove the files not used longest until the cache is within its bound; return how many."""
    found = []
    for parent, _, files in os.walk(_cache()):
        for file in files:
            path = Path(parent) / file
            try:
                facts = path.stat()
            except FileNotFoundError:  # another worker shrinks it as well
                continue
            found.append((facts.st_mtime, facts.st_size, path))
    total, removed = sum(size for _, size, _ in found), 0
    for used, size, path in sorted(found, key=lambda one: one[0]):
        if total <= settings.IMAGE_CACHE_MB * 1024**2 or time.time() - used < _IN_USE_SECONDS:
            break
        path.unlink(missing_ok=True)
        total, removed = total - size, removed + 1
    return removed
