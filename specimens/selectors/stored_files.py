"""Rows against files: does each row have its file, and which files belong to no row?

A process that dies between writing a file and committing its row leaves a file without one; so does
a database that went back to a backup. A row without its file is a loss.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Final

from django.core.files.storage import default_storage

from specimens.models import CellImage, DicomInstance

FOLDERS: Final = ("cells", "dicom")
_AT_ONCE: Final = 500
# Of an image, or of a frame of a DICOM object: CellImage.thumbnail_name.
_THUMBNAIL: Final = re.compile(r"(\.\d+)?\.thumb\.jpg$")


def rows_without_their_file() -> Iterator[tuple[str, str]]:
    """Walk all rows; yield each file that is not there, or not whole, and what is wrong."""
    # The frames of an instance lie in its file.
    images = CellImage.objects.exclude(source=CellImage.Source.DICOM)
    for rows in (images, DicomInstance.objects.all()):
        sizes = rows.order_by("pk").values_list("file", "size")
        for name, size in sizes.iterator(chunk_size=_AT_ONCE):
            if not default_storage.exists(name):
                yield name, "is not there"
            elif default_storage.size(name) != size:
                yield name, f"has {default_storage.size(name)} bytes instead of {size}"


def files_without_a_row(*, before: datetime) -> Iterator[str]:
    """Walk all files written before a moment; yield the names of those that no row points to.

    Younger ones may be on their way. A thumbnail belongs to its image.
    """
    for folder in FOLDERS:
        names = _files_below(folder)
        while chunk := list(islice(names, _AT_ONCE)):
            known = _known({_THUMBNAIL.sub("", name) for name in chunk})
            for name in chunk:
                if _THUMBNAIL.sub("", name) not in known and _is_older(name, before):
                    yield name


def _files_below(folder: str) -> Iterator[str]:
    if not default_storage.exists(folder):
        return
    folders, files = default_storage.listdir(folder)
    for file in sorted(files):
        yield f"{folder}/{file}"
    for inner in sorted(folders):
        yield from _files_below(f"{folder}/{inner}")


def _known(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for model in (CellImage, DicomInstance):
        found.update(model.objects.filter(file__in=names).values_list("file", flat=True))
    return found


def _is_older(name: str, moment: datetime) -> bool:
    try:
        return default_storage.get_modified_time(name) < moment
    except FileNotFoundError:  # its transaction was given up meanwhile
        return False
