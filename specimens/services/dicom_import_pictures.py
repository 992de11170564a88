"""Small pictures of instances that wait: no worker has decoded them, as they are no cells yet."""

import threading
from typing import Final

from django.core.files.storage import default_storage

from classifier.imaging.refusal import ImageRefused
from specimens.models import DicomInstance
from specimens.services.image_files import keep_written, readable_path, writable_path

# A page asks for all its pictures at once; each decoder is a process of its own.
_ONE_AT_A_TIME = threading.Lock()
_DRAWN_TOGETHER: Final = 50
_MEMORY_BYTES: Final = 768 * 1024**2


def draw_thumbnail(*, instance: DicomInstance, frame: int) -> str:
    """Return the storage name of the picture of a frame, drawn now if it is not there.

    The frames behind it are drawn with it. Decoding happens in a process under limits, as always.
    Raises ImageRefused where the frame cannot be decoded.
    """
    name = instance.thumbnail_name(frame)
    if default_storage.exists(name):
        return name
    from classifier.imaging.pool import DecoderPool, DecoderPoolError  # NumPy and Pillow with it

    with _ONE_AT_A_TIME:
        if default_storage.exists(name):
            return name
        path = readable_path(str(instance.file.name))
        last = min(instance.number_of_frames, frame + _DRAWN_TOGETHER - 1)
        wanted = [
            (path, writable_path(instance.thumbnail_name(number)), number)
            for number in range(frame, last + 1)
        ]
        try:
            with DecoderPool(processes=1, memory_limit_bytes=_MEMORY_BYTES) as pool:
                first = pool.prepare(wanted)[0]
        except DecoderPoolError as error:
            text = "No picture can be drawn at the moment."
            raise ImageRefused("decode_memory", text) from error
    for number in range(frame, last + 1):
        keep_written(instance.thumbnail_name(number))
    if isinstance(first, ImageRefused):
        raise first
    return name
