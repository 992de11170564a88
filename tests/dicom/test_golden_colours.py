"""One drawn cell through every photometric interpretation and transfer syntax: the same colours.

At most 2 of 255 off on average where the coding loses something, not at all where it does not; and
the engine that is shipped says the same of each.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from django.conf import settings
from PIL import Image, ImageCms

from classifier.artifact import ModelArtifact
from classifier.decision import CellPrediction
from classifier.engines import Engine, create_engine
from classifier.imaging import dicom
from classifier.imaging.decode import PreparedImage, decode_dicom_frame
from classifier.imaging.pool import DecoderPool
from classifier.preprocessing import prepare
from specimens.dicom.reader import read_instance
from specimens.dicom.refusals import DicomRefusal
from tests.classifier.image_files import dicom_jpeg, encode
from tests.dicom.encodings import (
    CODINGS,
    base,
    dcmtk,
    native_ybr,
    recode,
    segmented_palette,
)
from tests.dicom.files import drawn_cell, frames_of, instance, plain_cell, saved

KINDS = ("Neutrophil", "Eosinophil", "Lymphocyte")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


@pytest.fixture(scope="module")
def engine() -> Engine:
    found = create_engine("onnxruntime", threads=2)
    found.load(ModelArtifact.load(settings.MODEL_DIR))
    return found


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(processes=1) as decoders:
        yield decoders


@pytest.fixture(scope="module")
def expected(engine: Engine) -> CellPrediction:
    (prediction,) = engine.classify(prepare(Image.fromarray(drawn_cell()))[np.newaxis])
    assert prediction.predicted_class == "Neutrophil"
    return prediction


def difference(path: Path, frame: int = 1, cell: Any = None) -> float:
    found = np.asarray(decode_dicom_frame(path, frame), int)
    return float(np.abs(found - (drawn_cell() if cell is None else cell)).mean())


@pytest.mark.parametrize("name", CODINGS)
def test_colours_and_class_are_the_same(
    name: str, folder: Path, pool: DecoderPool, engine: Engine, expected: CellPrediction
) -> None:
    coding = CODINGS[name]
    path = coding.make(folder)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    assert header.file_meta.TransferSyntaxUID == coding.syntax
    assert header.PhotometricInterpretation == coding.photometric
    assert difference(path) <= coding.tolerance
    (prepared,) = pool.prepare([(path, None, 1)])
    assert isinstance(prepared, PreparedImage), prepared
    (found,) = engine.classify(prepared.pixels[np.newaxis])
    assert (found.predicted_class, found.decision) == (
        expected.predicted_class,
        expected.decision,
    )


def test_every_accepted_coding_is_proven() -> None:
    """Each transfer syntax has a file, by dcmtk wherever dcmtk encodes it; each colour as well."""
    by_dcmtk = {coding.syntax for coding in CODINGS.values() if coding.by_dcmtk}
    assert set(dicom.TRANSFER_SYNTAXES) - by_dcmtk == dicom.JPEG_2000
    assert {coding.syntax for coding in CODINGS.values()} == set(dicom.TRANSFER_SYNTAXES)
    assert {coding.photometric for coding in CODINGS.values()} == dicom.COLOUR_PHOTOMETRICS


def test_a_lossless_coding_of_ybr_loses_nothing_more(folder: Path) -> None:
    plain = np.asarray(decode_dicom_frame(native_ybr(folder), 1))
    for name in ("rle ybr", "jpeg-ls ybr", "ybr by plane"):
        np.testing.assert_array_equal(decode_dicom_frame(CODINGS[name].make(folder), 1), plain)


def test_a_segmented_palette(folder: Path) -> None:
    index = drawn_cell()[:, :, 0]
    wanted = np.stack([index, 255 - index, np.full_like(index, 128)], axis=-1)
    assert difference(segmented_palette(folder), cell=wanted) < 0.6  # ramps in equal steps


@pytest.mark.parametrize(
    ("tool", "options", "tolerance"),
    [
        ("dcmconv", ["+ti"], 0),
        ("dcmcrle", [], 0),
        ("dcmcjpls", [], 0),
        ("dcmcjpeg", ["+eb", "+q", "95"], 2),
        # Several fragments a frame, told apart by the offset table.
        ("dcmcjpeg", ["+eb", "+q", "95", "+fs", "1"], 2),
    ],
)
def test_each_frame_of_several(
    tool: str, options: list[str], tolerance: float, tmp_path: Path
) -> None:
    cells = [drawn_cell(kind, seed) for seed, kind in enumerate(KINDS, start=3)]
    source, target = saved(frames_of(cells), tmp_path / "frames.dcm"), tmp_path / "coded.dcm"
    dcmtk(tool, *options, source, target, folder=tmp_path)
    for number, cell in enumerate(cells, start=1):
        assert difference(target, number, cell) <= tolerance


def swapped_profile() -> bytes:
    """The sRGB profile with the primaries of red and blue exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = int.from_bytes(profile[128:132])
    table = profile[132 : 132 + 12 * count]
    entries = {table[i : i + 4]: table[i + 4 : i + 12] for i in range(0, len(table), 12)}
    entries[b"rXYZ"], entries[b"bXYZ"] = entries[b"bXYZ"], entries[b"rXYZ"]
    changed = b"".join(tag + place for tag, place in entries.items())
    return profile[:132] + changed + profile[132 + len(table) :]


def with_profile(profile: bytes, *, in_optical_path: bool = False) -> pydicom.FileDataset:
    dataset = instance(plain_cell(0xC04020))
    holder = pydicom.Dataset() if in_optical_path else dataset
    holder.ICCProfile = profile + b"\0" * (len(profile) % 2)
    if in_optical_path:
        dataset.OpticalPathSequence = [holder]
    return dataset


@pytest.mark.parametrize("in_optical_path", [False, True])
def test_an_embedded_profile_is_honoured(in_optical_path: bool, tmp_path: Path) -> None:
    dataset = with_profile(swapped_profile(), in_optical_path=in_optical_path)
    picture = decode_dicom_frame(saved(dataset, tmp_path / "icc.dcm"), 1)
    red, green, blue = (int(value) for value in np.asarray(picture)[20, 20])
    assert abs(red - 0x20) <= 3 and abs(green - 0x40) <= 3 and abs(blue - 0xC0) <= 3


@pytest.mark.parametrize("profile", [b"no profile" * 20, b"\0" * 36 + b"acsp" + b"\xff" * 400])
def test_a_profile_that_cannot_be_used_changes_nothing(profile: bytes, tmp_path: Path) -> None:
    path = saved(with_profile(profile), tmp_path / "icc.dcm")
    assert decode_dicom_frame(path, 1).getpixel((20, 20)) == (0xC0, 0x40, 0x20)


@pytest.mark.parametrize(("subsampling", "with_marker"), [(0, True), (2, True), (2, False)])
def test_a_header_that_calls_a_ybr_stream_rgb_is_not_believed(
    subsampling: int, with_marker: bool, tmp_path: Path
) -> None:
    """Common in the field, and green or purple cells where it is believed.

    The JFIF marker says YCbCr; without one, as img2dcm writes it, the subsampling does.
    """
    content = encode(Image.fromarray(drawn_cell()), "JPEG", quality=95, subsampling=subsampling)
    path = tmp_path / "jpeg.dcm"
    if with_marker:
        dataset = pydicom.dcmread(io.BytesIO(dicom_jpeg(content, 360, 360)))
    else:
        (tmp_path / "cell.jpg").write_bytes(content)
        dcmtk("img2dcm", "-vlp", "cell.jpg", path, folder=tmp_path)
        dataset = pydicom.dcmread(path)
    dataset.PhotometricInterpretation = "RGB"
    assert difference(saved(dataset, path)) <= 2


def test_big_endian_and_deflated_are_refused_as_dcmtk_writes_them(folder: Path) -> None:
    for option, words in (("+tb", "Big Endian"), ("+td", "deflated")):
        path = recode("dcmconv", option, of=base)(folder)
        with pytest.raises(DicomRefusal, match=words):
            read_instance(path)
