"""The header checks: what is accepted, what is refused, in which words, and at what cost."""

import io
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from classifier.imaging.intake import ImageHeader, inspect
from classifier.imaging.refusal import ACCEPTED, ImageRefused
from tests.classifier import image_files as files


def look(data: bytes, name: str = "cell.jpg") -> ImageHeader:
    return inspect(io.BytesIO(data), name)


def refused(data: bytes, name: str = "cell.jpg") -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        look(data, name)
    assert caught.value.message.endswith(ACCEPTED)
    return caught.value


@contextmanager
def cheap(seconds: float = 1.0, mebibytes: int = 24) -> Iterator[None]:
    """The block takes neither long nor much memory, whatever the file claims."""
    tracemalloc.start()
    started = time.perf_counter()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Tracing slows everything down several times; the limit is meant for a busy machine.
    assert time.perf_counter() - started < 10 * seconds
    assert peak < mebibytes * 1024**2


@pytest.mark.parametrize("kind", files.accepted_files())
def test_every_accepted_kind_passes_under_any_name(kind: str) -> None:
    stream = io.BytesIO(files.accepted_files()[kind])
    header = inspect(stream, "notes.txt")
    assert (header.width, header.height) == (72, 64)
    assert header.format.lower() in kind
    assert stream.tell() == 0


@pytest.mark.parametrize(
    ("kind", "media_type", "extension"),
    [
        ("jpeg", "image/jpeg", "jpg"),
        ("png", "image/png", "png"),
        ("bmp", "image/bmp", "bmp"),
        ("tiff", "image/tiff", "tif"),
        ("gif", "image/gif", "gif"),
        ("dicom", "application/dicom", "dcm"),
    ],
)
def test_media_type_and_extension_come_from_the_content(
    kind: str, media_type: str, extension: str
) -> None:
    header = look(files.accepted_files()[kind])
    assert (header.media_type, header.extension) == (media_type, extension)


def test_empty_file() -> None:
    assert refused(b"").code == "empty_file"


def test_eleven_megabytes() -> None:
    refusal = refused(files.encode(files.draw_cell(), "JPEG") + b"\x00" * 11 * 1024**2)
    assert refusal.code == "too_large"
    assert "11.0 MB" in refusal.message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Dear colleague,\nplease find attached", "letter.jpg is not an image"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "letter.jpg is a PDF document"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "letter.jpg is a WebP image"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00", "letter.jpg is a HEIC image"),
        (b"BM", "ends too early"),
        (b"\xff\xd8\xff", "ends too early"),
    ],
)
def test_other_files_are_named(data: bytes, words: str) -> None:
    refusal = refused(data, "letter.jpg")
    assert refusal.code in ("not_an_image", "truncated")
    assert words in refusal.message


def test_the_name_in_the_answer_is_short_and_printable() -> None:
    message = refused(b"Dear colleague", "a\x1b[31m\udce9\n" + "x" * 500).message
    assert message.startswith("a\ufffd[31m\ufffd\ufffdxxx")
    assert "x" * 101 not in message


@pytest.mark.parametrize("kind", files.accepted_files())
def test_a_file_cut_in_half_is_truncated(kind: str) -> None:
    data = files.accepted_files()[kind]
    assert refused(data[: len(data) // 2]).code == "truncated"


@pytest.mark.parametrize("kind", ["jpeg", "progressive jpeg", "png", "gif", "tiff", "bmp"])
def test_padding_behind_the_image_is_tolerated(kind: str) -> None:
    assert look(files.accepted_files()[kind] + b"\x00" * 1000).width == 72


@pytest.mark.parametrize("size", [(31, 31), (31, 200), (200, 31)])
def test_too_small(size: tuple[int, int]) -> None:
    refusal = refused(files.encode(files.draw_cell(*size), "PNG"))
    assert refusal.code == "too_small"
    assert f"{size[0]}x{size[1]}" in refusal.message


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "TIFF"])
def test_the_limits_of_the_size_are_inclusive(format: str) -> None:
    assert look(files.encode(files.draw_cell(32, 32), format)).width == 32
    assert look(files.encode(Image.new("RGB", (4096, 40)), format)).width == 4096
    refusal = refused(files.encode(Image.new("RGB", (4097, 40)), format))
    assert (refusal.code, "4097x40" in refusal.message) == ("too_many_pixels", True)


def test_a_png_bomb_costs_nothing() -> None:
    bomb = files.png_bomb()
    assert len(bomb) < 2 * 1024**2
    with cheap():
        assert refused(bomb).code == "too_many_pixels"


GREY = files.draw_cell().convert("L")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (files.encode(GREY, "JPEG"), "greyscale"),
        (files.encode(GREY, "PNG"), "8-bit greyscale"),
        (files.encode(GREY, "GIF"), "greyscale"),
        (files.encode(GREY, "BMP"), "greyscale"),
        (files.encode(GREY, "TIFF"), "8-bit greyscale"),
        (files.encode(GREY.convert("LA"), "PNG"), "greyscale with transparency"),
        (files.encode(GREY.convert("1"), "PNG"), "black and white"),
        (files.encode(GREY.convert("1"), "BMP"), "black and white"),
        (files.encode(GREY.convert("1"), "TIFF"), "black and white"),
        (files.encode(GREY.convert("I;16"), "PNG"), "16-bit greyscale"),
        (files.encode(GREY.convert("I;16"), "TIFF"), "16-bit greyscale"),
        (files.encode(GREY.convert("F"), "TIFF"), "floating-point"),
        (files.tiff_16_bit_rgb(), "16-bit RGB"),
        (files.encode(files.draw_cell().convert("CMYK"), "JPEG"), "CMYK"),
        (files.encode(files.draw_cell().convert("CMYK"), "TIFF"), "CMYK"),
        (files.encode(files.draw_cell().convert("LAB"), "TIFF"), "CIE L*a*b*"),
        (
            files.png_header(40, 40, depth=16) + files.png_chunk(b"IEND", b""),
            "16-bit RGB",
        ),
    ],
)
def test_other_pixels_are_refused_by_name(data: bytes, words: str) -> None:
    refusal = refused(data)
    assert refusal.code == "unsupported_mode"
    assert words in refusal.message


@pytest.mark.parametrize("format", ["GIF", "PNG", "TIFF"])
def test_several_images_in_a_file_are_counted(format: str) -> None:
    frames = [files.draw_cell(), files.draw_cell().rotate(90), files.draw_cell().rotate(180)]
    data = files.encode(frames[0], format, save_all=True, append_images=frames[1:])
    refusal = refused(data)
    assert refusal.code == "animated"
    assert "3" in refusal.reason


def test_an_animated_png_of_one_frame_is_an_image() -> None:
    data = files.encode(files.draw_cell(), "PNG", save_all=True, append_images=[])
    assert look(data).width == 72


def test_an_interrupted_upload_of_a_jpeg_with_an_embedded_thumbnail_is_truncated() -> None:
    # The end marker of the thumbnail inside the metadata is not the end of the image.
    thumbnail = files.encode(files.draw_cell(40, 40), "JPEG")
    segment = b"Exif\x00\x00" + thumbnail
    data = files.encode(files.draw_cell(), "JPEG")
    length = (len(segment) + 2).to_bytes(2)
    with_thumbnail = data[:2] + b"\xff\xe1" + length + segment + data[2:]
    assert look(with_thumbnail).width == 72
    assert refused(with_thumbnail[:-20]).code == "truncated"


HOSTILE = {
    "jpeg of empty segments": b"\xff\xd8" + b"\xff\xe0\x00\x02" * 2_500_000,
    "jpeg of fill bytes": b"\xff\xd8" + b"\xff" * 10_000_000,
    "png of empty chunks": files.png_header(64, 64) + files.png_chunk(b"tEXt", b"") * 800_000,
    "png of a huge text": files.png_header(64, 64) + files.png_chunk(b"zTXt", b"x" * 9_000_000),
    "png without data": files.png_header(64, 64) + files.png_chunk(b"IEND", b""),
    "gif of empty blocks": b"GIF89a\x40\x00\x40\x00\x00\x00\x00" + b"\x21\xfe\x00" * 3_000_000,
    "gif of tiny blocks": b"GIF89a\x40\x00\x40\x00\x00\x00\x00\x21\xfe" + b"\x01x" * 5_000_000,
    "tiff of 65,535 fields": b"II*\x00\x08\x00\x00\x00\xff\xff" + b"\x00" * 900_000,
    "tiff pointing at itself": b"II*\x00\x08\x00\x00\x00\x01\x00" + b"\x00" * 12 + b"\x08\0\0\0",
    "tiff pointing behind its end": b"II*\x00\xff\xff\xff\x7f",
    "big tiff pointing far": b"II+\x00\x08\x00\x00\x00" + b"\xff" * 8,
    "bmp of two thousand million rows": b"BM" + b"\x00" * 12 + b"\x28\x00\x00\x00" + b"\x7f" * 8
    + b"\x01\x00\x18\x00" + b"\x00" * 24,
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_structures_are_answered_fast_and_in_little_memory(kind: str) -> None:
    with cheap():
        refused(HOSTILE[kind])


def test_a_refusal_survives_pickling() -> None:
    import pickle

    refusal = ImageRefused("damaged", "It is broken.")
    again = pickle.loads(pickle.dumps(refusal))  # noqa: S301
    assert (again.code, again.message) == (refusal.code, refusal.message)


def test_a_bmp_whose_header_promises_more_than_the_file_holds() -> None:
    data = bytearray(files.encode(files.draw_cell(), "BMP"))
    data[18:22] = np.uint32(4000).tobytes()
    assert refused(bytes(data)).code == "truncated"
