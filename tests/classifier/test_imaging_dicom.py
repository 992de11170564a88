"""DICOM objects: every accepted transfer syntax, and everything that is refused."""

import io
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from classifier.imaging.decode import decode
from classifier.imaging.intake import inspect
from classifier.imaging.refusal import ImageRefused
from tests.classifier import image_files as files
from tests.counterparts import require

CELL = np.asarray(files.draw_cell())


def read(data: bytes, folder: Path) -> np.ndarray[Any, Any]:
    """Inspect and decode, as an upload is."""
    header = inspect(io.BytesIO(data), "cell.dcm")
    assert (header.format, header.width, header.height) == ("DICOM", 72, 64)
    path = folder / "cell.dcm"
    path.write_bytes(data)
    return np.asarray(decode(path), int)


def refused(data: bytes) -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        inspect(io.BytesIO(data), "cell.dcm")
    return caught.value


def refused_by_the_decoder(data: bytes, folder: Path) -> ImageRefused:
    path = folder / "cell.dcm"
    path.write_bytes(data)
    with pytest.raises(ImageRefused) as caught:
        decode(path)
    return caught.value


def compressed(syntax: str, **options: Any) -> bytes:
    dataset = files.dicom_of(CELL)
    if syntax in (JPEG2000, JPEG2000Lossless):
        dataset.PhotometricInterpretation = "YBR_ICT" if syntax == JPEG2000 else "YBR_RCT"
    dataset.compress(syntax, generate_instance_uid=False, **options)
    return files.dicom_bytes(dataset)


def changed(change: Callable[[pydicom.FileDataset], None]) -> bytes:
    dataset = files.dicom_of(CELL)
    change(dataset)
    return files.dicom_bytes(dataset)


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (files.dicom_bytes(files.dicom_of(CELL)), 0),
        (files.dicom_implicit(CELL), 0),
        (compressed(RLELossless), 0),
        (compressed(JPEGLSLossless), 0),
        (compressed(JPEGLSNearLossless, jls_error=2), 2),
        (compressed(JPEG2000Lossless), 0),
        (compressed(JPEG2000, j2k_cr=[4]), 6),
        (files.dicom_jpeg(files.encode(files.draw_cell(), "JPEG", quality=95), 72, 64), 6),
    ],
    ids=["explicit", "implicit", "rle", "jpeg-ls", "near", "j2k lossless", "j2k", "jpeg"],
)
def test_accepted_transfer_syntaxes(data: bytes, tolerance: int, tmp_path: Path) -> None:
    assert np.abs(read(data, tmp_path) - CELL).mean() <= tolerance


@pytest.mark.parametrize("photometric", ["YBR_FULL"])
def test_luminance_and_chrominance_become_rgb(photometric: str, tmp_path: Path) -> None:
    ybr = np.asarray(files.draw_cell().convert("YCbCr"))
    dataset = files.dicom_of(ybr)
    dataset.PhotometricInterpretation = photometric
    assert np.abs(read(files.dicom_bytes(dataset), tmp_path) - CELL).max() <= 2


def test_colour_by_plane(tmp_path: Path) -> None:
    dataset = files.dicom_of(CELL)
    dataset.PlanarConfiguration = 1
    dataset.PixelData = CELL.transpose(2, 0, 1).tobytes()
    np.testing.assert_array_equal(read(files.dicom_bytes(dataset), tmp_path), CELL)


def test_palette_colour(tmp_path: Path) -> None:
    image = files.palette_image()
    palette = np.array(image.getpalette()).reshape(-1, 3)
    data = files.dicom_palette(np.asarray(image), palette)
    np.testing.assert_array_equal(read(data, tmp_path), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("tool", "options"),
    [("dcmcjpeg", ["+eb"]), ("dcmcrle", []), ("dcmcjpls", [])],
)
def test_what_dcmtk_compresses(tool: str, options: list[str], tmp_path: Path) -> None:
    require(tool)
    source, target = tmp_path / "source.dcm", tmp_path / "target.dcm"
    source.write_bytes(files.dicom_bytes(files.dicom_of(CELL)))
    subprocess.run([tool, *options, source, target], check=True, timeout=30)
    assert np.abs(read(target.read_bytes(), tmp_path) - CELL).mean() < 6


def test_a_jpeg_wrapped_by_dcmtk(tmp_path: Path) -> None:
    require("img2dcm")
    picture, target = tmp_path / "cell.jpg", tmp_path / "target.dcm"
    picture.write_bytes(files.encode(files.draw_cell(), "JPEG", quality=95))
    subprocess.run(["img2dcm", "--vl-photo", picture, target], check=True, timeout=30)
    assert np.abs(read(target.read_bytes(), tmp_path) - CELL).mean() < 6


def test_whole_slide_images_are_refused_with_the_reason() -> None:
    refusal = refused(changed(lambda d: setattr(d, "SOPClassUID", files.WHOLE_SLIDE)))
    assert refusal.code == "unsupported_sop_class"
    assert "whole-slide" in refusal.message


def test_other_sop_classes_are_named() -> None:
    ct = "1.2.840.10008.5.1.4.1.1.2"
    refusal = refused(changed(lambda d: setattr(d, "SOPClassUID", ct)))
    assert refusal.code == "unsupported_sop_class"
    assert ct in refusal.message


def with_syntax(uid: str) -> bytes:
    """A file whose meta information claims a transfer syntax, whatever its data set is in."""
    data = files.dicom_bytes(files.dicom_of(CELL))
    old = b"1.2.840.10008.1.2.1\x00"
    new = uid.encode() + b"\x00" * (len(uid) % 2)
    length = data.index(old) - 2
    start = data.index(b"\x02\x00\x00\x00UL\x04\x00") + 8
    group = int.from_bytes(data[start : start + 4], "little") + len(new) - len(old)
    head = data[:start] + group.to_bytes(4, "little") + data[start + 4 : length]
    return head + len(new).to_bytes(2, "little") + new + data[length + 2 + len(old) :]


@pytest.mark.parametrize(
    "uid",
    [
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        JPEGExtended12Bit,
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.100",
        "1.2.3",
    ],
)
def test_other_transfer_syntaxes_are_refused_from_the_meta_information(uid: str) -> None:
    refusal = refused(with_syntax(uid))
    assert refusal.code == "unsupported_transfer_syntax"
    assert "deflated" in refusal.message or uid in refusal.message
    assert "RLE Lossless" in refusal.message


def test_a_deflated_bomb_is_not_inflated(tmp_path: Path) -> None:
    bomb = zlib.compress(b"\x00" * 100_000_000, 9)[2:-4]
    data = with_syntax(DeflatedExplicitVRLittleEndian)
    meta = data[: data.index(DeflatedExplicitVRLittleEndian.encode()) + 22]
    assert refused(meta + bomb).code == "unsupported_transfer_syntax"
    assert refused_by_the_decoder(meta + bomb, tmp_path).code == "unsupported_transfer_syntax"


def monochrome(dataset: pydicom.FileDataset) -> None:
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SamplesPerPixel = 1
    dataset.PixelData = CELL[:, :, 0].tobytes()


def thirty_two_bits(dataset: pydicom.FileDataset) -> None:
    dataset.BitsAllocated = dataset.BitsStored = 32
    dataset.HighBit = 31
    dataset.PixelData = CELL.astype("<u4").tobytes()


def signed(dataset: pydicom.FileDataset) -> None:
    dataset.PixelRepresentation = 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (monochrome, "greyscale (MONOCHROME2)"),
        (thirty_two_bits, "32-bit"),
        (signed, "signed numbers"),
    ],
)
def test_other_pixels_are_refused(
    change: Callable[[pydicom.FileDataset], None], words: str
) -> None:
    refusal = refused(changed(change))
    assert refusal.code == "unsupported_mode"
    assert words in refusal.message


def test_several_frames_are_refused() -> None:
    refusal = refused(changed(lambda d: setattr(d, "NumberOfFrames", 12)))
    assert (refusal.code, "12 frames" in refusal.message) == ("animated", True)


def test_the_size_is_checked() -> None:
    assert refused(changed(lambda d: setattr(d, "Rows", 16))).code == "too_small"
    data = files.dicom_jpeg(files.encode(files.draw_cell(), "JPEG"), 5000, 64)
    assert refused(data).code == "too_many_pixels"


def test_too_few_pixel_data_are_seen_in_the_header() -> None:
    assert refused(changed(lambda d: setattr(d, "Rows", 1000))).code == "truncated"


@pytest.mark.parametrize("size", [(3000, 3000), (40, 40)])
def test_a_code_stream_of_another_size_than_the_header_says(
    size: tuple[int, int], tmp_path: Path
) -> None:
    frame = files.encode(files.draw_cell(*size), "JPEG")
    refusal = refused_by_the_decoder(files.dicom_jpeg(frame, 72, 64), tmp_path)
    assert refusal.code == "damaged"
    assert f"{size[0]}x{size[1]}" in refusal.message


def test_a_jpeg_2000_code_stream_of_another_size(tmp_path: Path) -> None:
    data = compressed(JPEG2000Lossless)
    size = data.index(b"\xff\x4f\xff\x51") + 8
    lying = data[:size] + (4000).to_bytes(4) + data[size + 4 :]
    assert refused_by_the_decoder(lying, tmp_path).code == "damaged"


def test_a_preamble_without_anything_behind_it() -> None:
    assert refused(b"\x00" * 128 + b"DICM").code == "truncated"
    assert refused(b"\x00" * 128 + b"DICM" + b"\xff" * 400).code == "unsupported_transfer_syntax"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined_length", [True, False])
def test_sequences_in_front_of_the_pixels_are_stepped_over(
    syntax: UID, undefined_length: bool, tmp_path: Path
) -> None:
    inner = pydicom.Dataset()
    inner.Rows, inner.SOPClassUID = 7, "1.2.3"
    inner.is_undefined_length_sequence_item = undefined_length
    middle = pydicom.Dataset()
    middle.SpecimenPreparationSequence = [inner, inner]
    middle["SpecimenPreparationSequence"].is_undefined_length = undefined_length
    dataset = files.dicom_of(CELL, syntax)
    dataset.ReferencedImageSequence = [middle, middle]
    dataset["ReferencedImageSequence"].is_undefined_length = undefined_length
    np.testing.assert_array_equal(read(files.dicom_bytes(dataset), tmp_path), CELL)


def test_deeply_nested_sequences_are_refused(tmp_path: Path) -> None:
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    nested = (b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + item) * 5_000
    data = files.dicom_bytes(files.dicom_of(CELL))
    start = data.index(b"\x08\x00\x16\x00UI")
    assert refused(data[:start] + nested).code in ("damaged", "truncated")
    assert refused_by_the_decoder(data[:start] + nested, tmp_path).code in ("damaged", "truncated")


def test_a_raw_data_set_without_preamble_is_not_guessed_at() -> None:
    data = files.dicom_bytes(files.dicom_of(CELL))
    assert refused(data[132:]).code == "not_an_image"
