"""Files no laboratory wants to send, drawn here: each with the answer it must get."""

import io
import struct
import zlib
from typing import NamedTuple

from PIL import Image

from classifier.imaging.refusal import MAX_BYTES


class Hostile(NamedTuple):
    """A file with the status and the code of its answer."""

    name: str
    content: bytes
    status: int
    code: str


def image(mode: str = "RGB", size: tuple[int, int] = (64, 64), format: str = "PNG") -> bytes:
    """Return an image with a gradient, so that it does not compress to nothing."""
    picture = Image.linear_gradient("L").resize(size)
    picture = Image.merge("RGB", (picture, picture.rotate(90), picture.rotate(180)))
    out = io.BytesIO()
    picture.convert(mode).save(out, format)
    return out.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png_bomb(side: int = 20_000) -> bytes:
    """Return a PNG of `side` squared pixels whose data inflates far beyond its size."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(50_000_000), 9)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def damaged_png() -> bytes:
    """Return a PNG whose header is right and whose pixel data is not: only decoding shows it."""
    good = image(size=(64, 64))
    start = good.index(b"IDAT") - 4
    length = struct.unpack(">I", good[start : start + 4])[0]
    return good[:start] + _chunk(b"IDAT", b"\x99" * length) + good[start + 12 + length :]


def animated_gif() -> bytes:
    """Return a GIF of three different frames."""
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return out.getvalue()


def sixteen_bit_tiff() -> bytes:
    """Return a TIFF of 16 bits a pixel."""
    out = io.BytesIO()
    Image.new("I;16", (64, 64), 40_000).save(out, "TIFF")
    return out.getvalue()


def too_large() -> bytes:
    """Return a JPEG of one byte more than allowed; the rest stands behind its end."""
    good = image(format="JPEG")
    return good + bytes(MAX_BYTES + 1 - len(good))


HOSTILE = (
    Hostile("text.jpg", b"this is no picture\n" * 50, 415, "not_an_image"),
    Hostile("page.png", b"<!doctype html><title>x</title>", 415, "not_an_image"),
    Hostile("report.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", 415, "not_an_image"),
    Hostile("cell.webp", image(format="WEBP"), 415, "not_an_image"),
    Hostile("truncated.jpg", image(size=(256, 256), format="JPEG")[:1500], 422, "truncated"),
    Hostile("truncated.png", image(size=(256, 256))[:-40], 422, "truncated"),
    Hostile("bomb.png", png_bomb(), 422, "too_many_pixels"),
    Hostile("wide.jpg", image(size=(4097, 64), format="JPEG"), 422, "too_many_pixels"),
    Hostile("tiny.png", image(size=(31, 64)), 422, "too_small"),
    Hostile("16bit.tif", sixteen_bit_tiff(), 415, "unsupported_mode"),
    Hostile("cmyk.jpg", image("CMYK", format="JPEG"), 415, "unsupported_mode"),
    Hostile("grey.jpg", image("L", format="JPEG"), 415, "unsupported_mode"),
    Hostile("animated.gif", animated_gif(), 415, "animated"),
    Hostile("nothing.jpg", b"", 400, "empty_file"),
    Hostile("large.jpg", too_large(), 413, "too_large"),
)
