"""Decoding: the same picture out of every format, upright, and refusals for what is damaged."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier.imaging.decode import decode, prepare_file
from classifier.imaging.refusal import ImageRefused
from classifier.preprocessing import prepare
from tests.classifier import image_files as files

EXACT = {"png", "rgba png", "bmp", "tiff", "lzw tiff", "big tiff", "dicom"}


def write(folder: Path, data: bytes, name: str = "cell") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refusal_of(path: Path) -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        decode(path)
    return caught.value


@pytest.mark.parametrize("kind", files.accepted_files())
def test_every_accepted_kind_gives_the_picture(kind: str, tmp_path: Path) -> None:
    image = decode(write(tmp_path, files.accepted_files()[kind]))
    assert image.mode == "RGB"
    difference = np.abs(np.asarray(image, int) - np.asarray(files.draw_cell(), int))
    assert difference.max() == 0 if kind in EXACT else difference.mean() < 4


def test_transparency_becomes_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (40, 40), (200, 0, 0, 0))
    image.paste((84, 40, 130, 255), (0, 0, 20, 40))
    for data in (
        files.encode(image, "PNG"),
        files.encode(image.quantize(8), "PNG"),
        files.encode(image, "GIF"),
    ):
        decoded = np.asarray(decode(write(tmp_path, data)))
        assert np.abs(decoded[20, 30].astype(int) - 255).max() <= 3
        assert np.abs(decoded[20, 5].astype(int) - (84, 40, 130)).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = files.draw_cell()
    data = files.encode(stored, "PNG", exif=exif)
    upright = decode(write(tmp_path, data))
    assert upright.size == (stored.size if orientation < 5 else stored.size[::-1])
    # The nucleus lies at the upper left of what is stored; where EXIF says it is shown:
    row = {1: 0, 2: 0, 3: 1, 4: 1, 5: 0, 6: 0, 7: 1, 8: 1}[orientation]
    column = {1: 0, 2: 1, 3: 1, 4: 0, 5: 0, 6: 1, 7: 1, 8: 0}[orientation]
    x = upright.width * (0.35 if column == 0 else 0.65)
    y = upright.height * (0.35 if row == 0 else 0.65)
    assert upright.getpixel((int(x), int(y))) == (84, 40, 130)


def test_unreadable_exif_is_no_obstacle(tmp_path: Path) -> None:
    data = files.encode(files.draw_cell(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert decode(write(tmp_path, data)).size == (72, 64)


def test_the_checks_of_the_header_are_made_again(tmp_path: Path) -> None:
    assert refusal_of(write(tmp_path, b"")).code == "empty_file"
    assert refusal_of(write(tmp_path, b"text", "cell.jpg")).code == "not_an_image"
    assert refusal_of(write(tmp_path, files.png_bomb(5_000))).code == "too_many_pixels"
    assert refusal_of(tmp_path / "missing.jpg").code == "damaged"


def test_data_that_end_too_early(tmp_path: Path) -> None:
    # The structure is complete, but the compressed data hold less than the image.
    header = files.png_header(64, 64)
    png = header + files.png_chunk(b"IDAT", b"\x78\x9c") + files.png_chunk(b"IEND", b"")
    assert refusal_of(write(tmp_path, png)).code in ("truncated", "damaged")


def test_damaged_pixels(tmp_path: Path) -> None:
    data = bytearray(files.encode(files.draw_cell(), "PNG"))
    data[data.index(b"IDAT") + 10] ^= 0xFF
    assert refusal_of(write(tmp_path, bytes(data))).code == "damaged"


def test_a_lying_png_header_yields_no_more_than_it_claims(tmp_path: Path) -> None:
    path = write(tmp_path, files.lying_png(claimed=64, real=3_000))
    try:
        assert decode(path).size == (64, 64)
    except ImageRefused as refusal:
        assert refusal.code in ("damaged", "truncated")


def test_prepare_file_gives_the_models_input_and_a_thumbnail(tmp_path: Path) -> None:
    path = write(tmp_path, files.encode(files.draw_cell(640, 400), "PNG"))
    thumbnail = tmp_path / "thumbnails" / "cell.jpg"
    prepared = prepare_file(path, thumbnail)
    assert (prepared.width, prepared.height) == (640, 400)
    assert prepared.pixels.dtype == np.uint8
    np.testing.assert_array_equal(prepared.pixels, prepare(files.draw_cell(640, 400)))
    with Image.open(thumbnail) as small:
        assert (small.format, small.size) == ("JPEG", (160, 100))
    assert [entry.name for entry in thumbnail.parent.iterdir()] == ["cell.jpg"]


@pytest.mark.parametrize("side", [72, 640])
def test_a_thumbnail_says_nothing_that_the_original_says_beside_its_pixels(
    side: int, tmp_path: Path
) -> None:
    named = b"Jane Doe, 1970"
    exif = Image.Exif()
    exif[0x013B] = named.decode()  # Artist
    content = io.BytesIO()
    files.draw_cell(side, side).save(content, "JPEG", comment=named, exif=exif)
    assert content.getvalue().count(named) == 2
    prepare_file(write(tmp_path, content.getvalue()), tmp_path / "small.jpg")
    assert named not in (tmp_path / "small.jpg").read_bytes()


def test_a_thumbnail_that_cannot_be_written_does_not_cost_the_image(tmp_path: Path) -> None:
    path = write(tmp_path, files.encode(files.draw_cell(), "PNG"))
    prepared = prepare_file(path, path / "below a file" / "cell.jpg")
    assert prepared.pixels.shape == (128, 128, 3)
    assert prepared.thumbnail_error


def test_a_thumbnail_is_not_enlarged(tmp_path: Path) -> None:
    path = write(tmp_path, files.encode(files.draw_cell(), "PNG"))
    prepare_file(path, tmp_path / "small.jpg")
    with Image.open(io.BytesIO((tmp_path / "small.jpg").read_bytes())) as small:
        assert small.size == (72, 64)


def test_a_thumbnail_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, files.encode(files.draw_cell(), "PNG"))
    monkeypatch.chdir(tmp_path)
    assert not prepare_file(path, Path("small.jpg")).thumbnail_error
    assert {entry.name for entry in tmp_path.iterdir()} == {"cell", "small.jpg"}
