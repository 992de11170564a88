"""What a decoder process and the pool say to each other: length-prefixed frames of plain bytes.

A decoder may have been taken over by the image it was given, so its answers are checked bytes
of a known size and never pickles.
"""

import json
import struct
from pathlib import Path
from typing import get_args

import numpy as np

from classifier.imaging.decode import PreparedImage
from classifier.imaging.refusal import ImageRefused, RefusalCode
from classifier.preprocessing import INPUT_SIZE, Shown

LENGTH = struct.Struct(">I")
MAX_FRAME = 128 * 1024

READY = b"R"
_PREPARED = b"P"
_REFUSED = b"X"
_SIZE = struct.Struct(">II3f")  # width, height, and the square shown
_PIXEL_SHAPE = (INPUT_SIZE, INPUT_SIZE, 3)
_PIXEL_BYTES = INPUT_SIZE * INPUT_SIZE * 3


class ProtocolError(Exception):
    """The other side said something it never would."""


def frame(body: bytes) -> bytes:
    """A body with its length in front."""
    return LENGTH.pack(len(body)) + body


def encode_request(path: Path, thumbnail_path: Path | None, frame: int | None = None) -> bytes:
    """Body of a request. JSON in ASCII also carries file names that are not valid UTF-8."""
    thumbnail = None if thumbnail_path is None else str(thumbnail_path)
    return json.dumps([str(path), thumbnail, frame]).encode()


def decode_request(body: bytes) -> tuple[Path, Path | None, int | None]:
    path, thumbnail_path, frame = json.loads(body)
    return Path(path), None if thumbnail_path is None else Path(thumbnail_path), frame


def encode_answer(answer: PreparedImage | ImageRefused) -> bytes:
    """Body of an answer."""
    if isinstance(answer, ImageRefused):
        return _REFUSED + json.dumps([answer.code, answer.reason]).encode()
    return b"".join(
        (
            _PREPARED,
            _SIZE.pack(answer.width, answer.height, *answer.shown),
            answer.pixels.tobytes(),
            answer.thumbnail_error[:500].encode("utf-8", "replace"),
        )
    )


def decode_answer(body: bytes) -> PreparedImage | ImageRefused:
    """The answer in a body.

    Raises:
        ProtocolError: the body is not one that `encode_answer` makes.
    """
    start = len(_PREPARED) + _SIZE.size
    if body.startswith(_PREPARED) and len(body) >= start + _PIXEL_BYTES:
        width, height, *shown = _SIZE.unpack_from(body, len(_PREPARED))
        pixels = np.frombuffer(body, np.uint8, _PIXEL_BYTES, start).reshape(_PIXEL_SHAPE)
        note = body[start + _PIXEL_BYTES :].decode("utf-8", "replace")
        return PreparedImage(pixels, width, height, Shown(*shown), note)
    if body.startswith(_REFUSED):
        return _decode_refusal(body[len(_REFUSED) :])
    raise ProtocolError(f"A decoder sent {len(body)} bytes of an unknown kind")


def _decode_refusal(rest: bytes) -> ImageRefused:
    try:
        code, reason = json.loads(rest)
    except (TypeError, ValueError) as error:
        raise ProtocolError("A decoder sent a refusal that cannot be read") from error
    if code not in get_args(RefusalCode):
        raise ProtocolError(f"A decoder sent the unknown refusal code {str(code)[:50]!r}")
    return ImageRefused(code, str(reason)[:1000])
