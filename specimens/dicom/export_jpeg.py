"""JPEG streams that DICOM can hold as they are: baseline, three components, upright (T.81).

Read by their markers; the coded pixels are never touched.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

_BASELINE: Final = 0xC0
_SCAN, _END = 0xDA, 0xD9
_APP0, _APP1, _APP2, _APP14, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
# Without these the coded pixels mean nothing, or other colours.
_NEEDED: Final = frozenset({*range(0xC0, 0xE0), _APP14})
_RGB_IDS: Final = b"RGB"
_ICC: Final = b"ICC_PROFILE\0"
_EXIF: Final = b"Exif\0\0"


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """A baseline stream. `photometric` as PS3.5 section 8.2.1 names what is in it."""

    rows: int
    columns: int
    photometric: str
    profile: bytes
    data: bytes


def read_jpeg(file: BinaryIO, size: int) -> JpegFrame | None:
    """Read a stream that may be wrapped as it is; None where it is another, or must be turned.

    `size` is what is read of `file` at most.
    """
    file.seek(0)
    data = file.read(size)
    if data[:2] != b"\xff\xd8":
        return None
    segments = list(_segments(data))
    frames = [(marker, body) for marker, body, _, _ in segments if marker in _FRAMES]
    if len(frames) != 1 or frames[0][0] != _BASELINE or not segments or segments[-1][0] != _SCAN:
        return None
    body = frames[0][1]
    if len(body) < 15 or body[0] != 8 or body[5] != 3 or _is_turned(segments):
        return None
    end = data.rfind(b"\xff\xd9")
    if end < 0:
        return None
    return JpegFrame(
        rows=int.from_bytes(body[1:3]),
        columns=int.from_bytes(body[3:5]),
        photometric=_photometric(body, segments),
        profile=_profile(segments),
        data=data[: end + 2],  # what stands behind the end of the picture is no part of it
    )


def stripped(data: bytes) -> bytes:
    """Return the stream without comments and application segments, but Adobe's colour transform.

    The coded pixels are the same, bit for bit.
    """
    kept = [b"\xff\xd8"]
    for marker, body, _, end in _segments(data):
        if marker == _SCAN:
            kept.append(_segment(marker, body))
            kept.append(_scans(data[end:]))
            break
        if marker == _APP14 and body[:5] == b"Adobe":
            kept.append(_segment(marker, body[:12]))
        elif marker in _NEEDED and marker != _APP14:
            kept.append(_segment(marker, body))
    return b"".join(kept)


def _scans(rest: bytes) -> bytes:
    """The coded pixels up to the end of the picture, without segments for people in between."""
    out: list[bytes] = []
    position = 0
    while True:
        found = rest.find(b"\xff", position)
        if found < 0 or found + 1 >= len(rest):
            return b"".join([*out, rest[position:], b"\xff\xd9"])
        marker = rest[found + 1]
        if marker == _END:
            return b"".join([*out, rest[position : found + 2]])
        if marker >= _APP0 and marker != 0xFF:
            length = int.from_bytes(rest[found + 2 : found + 4])
            out.append(rest[position:found])
            position = found + 2 + max(2, length)
        else:
            out.append(rest[position : found + 2])
            position = found + 2


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2) + body


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int, int]]:
    """Marker, body, start and end of each segment, up to and with the first scan's header."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _STANDALONE:
            position += 2
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if end > len(data) or end < position + 4:
            return
        yield marker, data[position + 4 : end], position, end
        if marker == _SCAN:
            return
        position = end


def _photometric(frame: bytes, segments: list[tuple[int, bytes, int, int]]) -> str:
    """RGB, YBR_FULL or YBR_FULL_422, by Adobe's segment, JFIF's, or the names of the components."""
    adobe = [body for marker, body, _, _ in segments if marker == _APP14 and body[:5] == b"Adobe"]
    jfif = any(marker == _APP0 and body[:5] == b"JFIF\0" for marker, body, _, _ in segments)
    if adobe and len(adobe[0]) >= 12:
        is_rgb = adobe[0][11] == 0
    else:
        is_rgb = not jfif and bytes(frame[6:15:3]) == _RGB_IDS
    if is_rgb:
        return "RGB"
    samplings = {frame[7], frame[10], frame[13]}
    return "YBR_FULL" if len(samplings) == 1 else "YBR_FULL_422"


def _profile(segments: list[tuple[int, bytes, int, int]]) -> bytes:
    """The ICC profile of APP2, its parts in order (ICC.1 annex B.4)."""
    parts = [
        body[len(_ICC) :]
        for marker, body, _, _ in segments
        if marker == _APP2 and body.startswith(_ICC) and len(body) > len(_ICC) + 2
    ]
    return b"".join(part[2:] for part in sorted(parts, key=lambda part: part[0]))


def _is_turned(segments: list[tuple[int, bytes, int, int]]) -> bool:
    """Whether EXIF says that the picture must be turned: DICOM readers would not."""
    for marker, body, _, _ in segments:
        if marker == _APP1 and body.startswith(_EXIF):
            from PIL import Image

            exif = Image.Exif()
            try:
                exif.load(body)
                return exif.get(0x0112, 1) not in (0, 1)
            except Exception:
                return False  # unreadable EXIF says nothing about the pixels, as when decoding
    return False
