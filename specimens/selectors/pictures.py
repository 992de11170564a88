"""The stored pictures of a cell: the file as it was received, and the small one for lists."""

from dataclasses import dataclass

from django.core.files.storage import default_storage
from django.http import Http404

from specimens.models import CellImage
from specimens.selectors.cells import BROWSER_TYPES


@dataclass(frozen=True, slots=True)
class Picture:
    content: bytes
    media_type: str
    etag: str


def stored_picture(cell: CellImage, kind: str) -> Picture:
    """Return the "original" or the "thumbnail" of a cell; raises Http404 where there is none.

    Until the worker has drawn the thumbnail, the original stands in where browsers can draw it.
    """
    if kind == "thumbnail" and default_storage.exists(cell.thumbnail_name):
        return _picture(cell.thumbnail_name, "image/jpeg", f'"thumbnail-{cell.sha256}"')
    if kind == "thumbnail" and cell.media_type not in BROWSER_TYPES:
        raise Http404("There is no picture of this file yet.")
    return _picture(str(cell.file.name), cell.media_type, f'"original-{cell.sha256}"')


def _picture(name: str, media_type: str, etag: str) -> Picture:
    try:
        with default_storage.open(name) as file:
            return Picture(file.read(), media_type, etag)
    except FileNotFoundError as error:
        raise Http404("The picture is not in the image store.") from error
