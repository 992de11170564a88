"""The images of all backups: each copied once, under its own name, its digest in one list."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from specimens.models import ImageCustody

_TOGETHER: Final = 500
_BLOCK: Final = 1024 * 1024
_UNFINISHED: Final = ".incoming-"  # of the image store (storage.py), and ours


class ImagePool:
    """`TARGET/images` and `TARGET/images.sha256`.

    A file is there under its name only after its digest is in the list on disk: what exists is
    known, and need not be read again.
    """

    def __init__(self, target: Path) -> None:
        self.folder = target / "images"
        self.list = target / "images.sha256"
        self.folder.mkdir(exist_ok=True)
        self.list.touch()
        self.count = 0

    def take(self, source: Path) -> int:
        """Copy what is not here yet; return how many files that were."""
        copied, waiting = 0, list[tuple[Path, Path, str]]()
        for name in _names(source):
            goal = self.folder / name
            if not goal.exists():
                waiting.append(self._copy(source / name, goal, name))
            if len(waiting) >= _TOGETHER:
                copied += self._settle(waiting)
        return copied + self._settle(waiting)

    def _copy(self, original: Path, goal: Path, name: str) -> tuple[Path, Path, str]:
        goal.parent.mkdir(parents=True, exist_ok=True)
        temporary = goal.with_name(f"{_UNFINISHED}{goal.name}")
        return temporary, goal, f"{copy_file(original, temporary)}  {name}\n"

    def _settle(self, waiting: list[tuple[Path, Path, str]]) -> int:
        """Put digests on disk, then the files under their names."""
        with self.list.open("a") as lines:
            lines.writelines(line for _, _, line in waiting)
            lines.flush()
            os.fsync(lines.fileno())
        for temporary, goal, _ in waiting:
            temporary.rename(goal)
        settled = len(waiting)
        waiting.clear()
        return settled

    def missing(self, last: Mapping[Any, int]) -> Iterator[str]:
        """Yield what the database names and is not here, of rows up to the `last` of each model.

        Images that were archived or removed lie elsewhere, and on purpose.
        """
        elsewhere = ImageCustody.objects.exclude(archived_at=None, removed_at=None)
        for model, newest in last.items():
            rows = model.objects.filter(pk__lte=newest).exclude(
                specimen__in=elsewhere.values("specimen")
            )
            for name in rows.order_by().values_list("file", flat=True).iterator(chunk_size=5000):
                if not (self.folder / name).exists():
                    yield name

    def seal(self) -> tuple[str, int]:
        """Return digest and length of the list as it is now: what a backup vouches for."""
        digest, length = hashlib.sha256(), 0
        with self.list.open("rb") as lines:
            for line in lines:
                digest.update(line)
                length += len(line)
                self.count += 1
        return digest.hexdigest(), length


def listed(path: Path, length: int) -> Iterator[tuple[str, str]]:
    """Yield digest and name of what stood in the first `length` bytes of a list."""
    read = 0
    with path.open("rb") as lines:
        for line in lines:
            read += len(line)
            if read > length:
                return
            digest, _, name = line.decode().rstrip("\n").partition("  ")
            yield digest, name


def copy_file(original: Path, goal: Path) -> str:
    """Copy a file, on disk when it returns; return the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    with original.open("rb") as source, goal.open("wb") as out:
        while block := source.read(_BLOCK):
            digest.update(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    shutil.copystat(original, goal)
    return digest.hexdigest()


def _names(folder: Path) -> Iterator[str]:
    """Yield the names of all finished files below a folder, folder by folder."""
    for parent, _, files in os.walk(folder):
        for file in files:
            if not file.startswith("."):
                yield os.path.relpath(Path(parent) / file, folder)
