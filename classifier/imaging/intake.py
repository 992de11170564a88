"""Header checks on an upload, cheap enough for a web process.

No pixel is decoded and no library is asked to open the file: the structure of each format is read
by a few bounded, positioned reads, so that a lying header, a bomb or a file of a million empty
blocks costs neither memory nor time. What passes may still prove damaged when it is decoded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Literal

from classifier.imaging import bmp, dicom_header, gif, jpeg, png, tiff
from classifier.imaging.refusal import MAX_BYTES, MAX_SIDE, MIN_SIDE, ImageRefused
from classifier.imaging.source import Source

ImageFormat = Literal["JPEG", "PNG", "BMP", "TIFF", "GIF", "DICOM"]


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header of an accepted file says.

    Attributes:
        format: name of the format, as Pillow spells it, or "DICOM".
        media_type: for the Content-Type of an answer.
        width: pixels, before an EXIF rotation.
        height: pixels, before an EXIF rotation.
        extension: file name extension without the dot, from the content.
    """

    format: ImageFormat
    media_type: str
    width: int
    height: int
    extension: str


@dataclass(frozen=True, slots=True)
class _Format:
    name: ImageFormat
    media_type: str
    extension: str
    matches: Callable[[Source], bool]
    read_size: Callable[[Source], tuple[int, int]]


def _starts_with(*magics: bytes) -> Callable[[Source], bool]:
    return lambda source: source.start(8).startswith(magics)


_FORMATS = (
    _Format("JPEG", "image/jpeg", "jpg", _starts_with(jpeg.MAGIC), jpeg.read_size),
    _Format("PNG", "image/png", "png", _starts_with(png.MAGIC), png.read_size),
    _Format("TIFF", "image/tiff", "tif", _starts_with(*tiff.MAGICS), tiff.read_size),
    _Format("GIF", "image/gif", "gif", _starts_with(*gif.MAGICS), gif.read_size),
    # Before BMP: a preamble may hold anything, also the two letters of a bitmap.
    _Format("DICOM", "application/dicom", "dcm", dicom_header.is_dicom, dicom_header.read_size),
    _Format("BMP", "image/bmp", "bmp", _starts_with(bmp.MAGIC), bmp.read_size),
)

# Files people send by mistake, to name them in the answer: offset, bytes, name.
_STRANGERS = (
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive or an office document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (8, b"WEBP", "a WebP image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyp", "a video"),
    (0, b"\x00\x00\x00\x0cjP", "a JPEG 2000 image outside DICOM"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image outside DICOM"),
    (0, b"<svg", "an SVG drawing"),
)


def inspect(stream: BinaryIO, filename: str) -> ImageHeader:
    """Check the header of an upload and leave the stream at its start.

    The content decides what the file is; its name appears in the answer only.

    Args:
        stream: seekable, of any size.
        filename: as the sender called it.

    Raises:
        ImageRefused: with a message for the sender.
    """
    source = Source(stream)
    try:
        return _inspect(source, filename)
    finally:
        stream.seek(0)


def _inspect(source: Source, filename: str) -> ImageHeader:
    if source.size == 0:
        raise ImageRefused("empty_file", "The file is empty.")
    if source.size > MAX_BYTES:
        raise ImageRefused("too_large", f"The file has {source.size / 1024**2:.1f} MB.")
    for known in _FORMATS:
        if known.matches(source):
            width, height = known.read_size(source)
            check_size(width, height)
            return ImageHeader(known.name, known.media_type, width, height, known.extension)
    raise ImageRefused("not_an_image", f"{_printable(filename)} is {_describe(source)}.")


def check_size(width: int, height: int) -> None:
    """Refuse images outside the limits.

    Raises:
        ImageRefused: too_small or too_many_pixels.
    """
    if min(width, height) < MIN_SIDE:
        raise ImageRefused("too_small", f"The image has {width}x{height} pixels.")
    if max(width, height) > MAX_SIDE:
        raise ImageRefused("too_many_pixels", f"The image has {width}x{height} pixels.")


def _printable(filename: str) -> str:
    """The name for the answer: of bounded length, without control and undecodable characters."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in filename[:100])
    return shown or "The file"


def _describe(source: Source) -> str:
    start = source.start(16)
    for offset, magic, name in _STRANGERS:
        if start[offset : offset + len(magic)] == magic:
            return name
    return "not an image"
