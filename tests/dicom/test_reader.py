"""Hostile and broken files: a clear refusal each, without decoding a pixel, in bounded time."""

import io
import resource
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from classifier.imaging import dicom
from classifier.imaging.decode import decode_dicom_frame
from classifier.imaging.dicom_header import read_image
from classifier.imaging.pool import DecoderPool
from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source
from specimens.dicom.reader import read_instance
from specimens.dicom.refusals import DicomRefusal
from tests.classifier.image_files import dicom_bytes, dicom_jpeg, draw_cell, encode
from tests.dicom.files import frames_of, instance, plain_cell, saved

# What reading a hostile file may take: no decoding, no recursion, no allocation by a claim.
SECONDS = 20.0  # a tenth of it without the measuring of coverage, on an idle machine
MEMORY = 64 * 1024**2

DATA_SET = b"\x08\x00\x16\x00UI"  # SOP Class UID, the first attribute of the files made here


def refused(content: bytes, path: Path) -> DicomRefusal:
    """Read a file that has to be refused, under a clock and a limit of memory."""
    file = path / "hostile.dcm"
    file.write_bytes(content)
    read_memory()
    started, before = time.process_time(), read_memory()
    with pytest.raises(DicomRefusal) as caught:
        read_instance(file)
    assert time.process_time() - started < SECONDS
    assert read_memory() - before < MEMORY
    assert len(caught.value.text) < 1000
    assert caught.value.text.isprintable()
    assert caught.value.dicom_status in (0xA900, 0xC000, 0x0122)
    return caught.value


def read_memory() -> int:
    """The most this process has ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def plain(**attributes: Any) -> bytes:
    return dicom_bytes(instance(**attributes))


def with_elements(elements: bytes, syntax: str = "explicit") -> bytes:
    """A valid file with these bytes in front of its pixel data."""
    uid = ImplicitVRLittleEndian if syntax == "implicit" else ExplicitVRLittleEndian
    content = dicom_bytes(instance(syntax=uid))
    at = content.index(b"\xe0\x7f\x10\x00")
    return content[:at] + elements + content[at:]


def long_element(group: int, number: int, vr: bytes, length: int, value: bytes = b"") -> bytes:
    return struct.pack("<HH2sHI", group, number, vr, 0, length) + value


def test_a_bomb_in_a_jpeg(tmp_path: Path) -> None:
    """2 MB that take 3.2 GB to decode, under a header of 64 x 64."""
    bomb = encode(draw_cell(64, 64).resize((9000, 9000)), "JPEG", quality=5)
    text = refused(dicom_jpeg(bomb, 64, 64), tmp_path).text
    assert "code stream" in text or "more than its pixels" in text
    tiny = encode(draw_cell(64, 64).resize((4000, 4000)).point(lambda _: 128), "JPEG", quality=5)
    assert "code stream" in refused(dicom_jpeg(tiny, 64, 64), tmp_path).text


def test_a_bomb_in_one_frame_of_many(tmp_path: Path) -> None:
    small = encode(draw_cell(64, 64), "JPEG")
    dataset = pydicom.dcmread(io.BytesIO(dicom_jpeg(small, 64, 64)))
    dataset.NumberOfFrames = 3
    big = encode(draw_cell(4000, 4000), "JPEG", quality=5)
    dataset.PixelData = pydicom.encaps.encapsulate([small, small, big])
    assert "code stream" in refused(dicom_bytes(dataset), tmp_path).text


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"Rows": 60_000, "Columns": 60_000}, "60000x60000"),
        ({"Rows": 4000, "Columns": 4000}, "too few pixel data"),
        ({"Rows": 0}, "48x0"),
        ({"NumberOfFrames": 2_000}, "too few pixel data"),
        ({"NumberOfFrames": 100_000}, "100000 frames"),
        ({"NumberOfFrames": "-1"}, "'-1' frames"),
        ({"SamplesPerPixel": 4}, "4 samples"),
        ({"BitsAllocated": 32}, "32-bit"),
        ({"BitsStored": 12}, "12 bits stored in 8"),
        ({"HighBit": 3}, "highest at 3"),
        ({"PixelRepresentation": 1}, "signed"),
        ({"PlanarConfiguration": 7}, "planar configuration 7"),
        ({"PhotometricInterpretation": "MONOCHROME2"}, "greyscale"),
        ({"PhotometricInterpretation": "YBR_RCT"}, "JPEG 2000"),
        ({"PhotometricInterpretation": "YBR_PARTIAL_422"}, "YBR_PARTIAL_422"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.6"}, "whole-slide"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "1.2.840.10008.5.1.4.1.1.2"),
    ],
)
def test_a_header_that_lies_or_asks_too_much(
    attributes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    refusal = refused(plain(**attributes), tmp_path)
    assert words in refusal.text


def test_an_object_without_a_uid(tmp_path: Path) -> None:
    dataset = instance()
    content = dicom_bytes(dataset)
    uid = str(dataset.SOPInstanceUID).encode()
    at = content.rindex(uid)
    assert (
        "UID" in refused(content[:at] + b"x" * len(uid) + content[at + len(uid) :], tmp_path).text
    )
    del dataset.SOPInstanceUID
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=False)
    assert "no sop instance UID" in refused(buffer.getvalue(), tmp_path).text


def test_deflated_data_are_not_inflated(tmp_path: Path) -> None:
    """183 KB that make 183 MB."""
    dataset = instance(syntax=DeflatedExplicitVRLittleEndian)
    content = dicom_bytes(dataset)
    assert "deflated" in refused(content, tmp_path).text
    deflater = zlib.compressobj(9, wbits=-15)
    bomb = deflater.compress(b"\0" * 183_000_000) + deflater.flush()
    meta = content[: content.index(DeflatedExplicitVRLittleEndian.encode()) + 22]
    assert "deflated" in refused(meta + bomb, tmp_path).text


SEQUENCE = b"\x08\x00\x40\x11SQ\x00\x00"
ITEM = b"\xfe\xff\x00\xe0"


def nested(depth: int, *, explicit: bool, of_known_length: bool) -> bytes:
    """A sequence in a sequence, `depth` times."""
    inner = b""
    for _ in range(depth):
        if of_known_length:
            item = ITEM + struct.pack("<I", len(inner)) + inner
            length = struct.pack("<I", len(item))
        else:
            item = ITEM + b"\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0\0\0\0\0"
            item += b"\xfe\xff\xdd\xe0\0\0\0\0"
            length = b"\xff\xff\xff\xff"
        head = SEQUENCE if explicit else SEQUENCE[:4]
        inner = head + length + item
    return inner


@pytest.mark.parametrize("depth", [17, 200, 5_000])
@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("of_known_length", [True, False])
def test_sequences_nested_too_deep(
    depth: int, explicit: bool, of_known_length: bool, tmp_path: Path
) -> None:
    elements = nested(depth, explicit=explicit, of_known_length=of_known_length)
    content = with_elements(elements, "explicit" if explicit else "implicit")
    assert "nested more than 16" in refused(content, tmp_path).text


@pytest.mark.parametrize("of_known_length", [True, False])
def test_sequences_nested_as_real_ones_are(of_known_length: bool, tmp_path: Path) -> None:
    elements = nested(12, explicit=True, of_known_length=of_known_length)
    path = tmp_path / "deep.dcm"
    path.write_bytes(with_elements(elements))
    assert read_instance(path).image.pixels.rows == 48


def test_a_sequence_hidden_as_unknown(tmp_path: Path) -> None:
    """Readers that know the attribute would follow it as deep as it goes."""
    inner = nested(200, explicit=False, of_known_length=True)
    item = ITEM + struct.pack("<I", len(inner)) + inner
    content = with_elements(long_element(0x0008, 0x1140, b"UN", len(item), item))
    assert "nested" in refused(content, tmp_path).text


@pytest.mark.parametrize(
    ("element", "words"),
    [
        (long_element(0x0011, 0x1001, b"OB", 0xFFFFFFF0), "claims 4294967280 bytes"),
        (long_element(0x0011, 0x1001, b"UT", 200_000_000), "claims 200000000 bytes"),
        (long_element(0x0011, 0x1001, b"OB", 17 * 1024**2, b"\0" * 17 * 1024**2), "17825792 bytes"),
        (struct.pack("<HH2sH", 0x0011, 0x0010, b"ZZ", 0), "'ZZ'"),
        (struct.pack("<HH2sH", 0x0028, 0x0030, b"\xff\xfe", 0), "value representation"),
        (b"\xfe\xff\x0d\xe0" + b"\0" * 4, "FFFE,E00D"),
        (long_element(0x0008, 0x1140, b"SQ", 16, ITEM + b"\x40\0\0\0" + b"\0" * 8), "runs over"),
        (long_element(0x0008, 0x1140, b"SQ", 8, b"\x08\x00\x05\x00CS\0\0"), "no sequence needs"),
    ],
    ids=[
        "4 GB private", "200 MB private", "17 MB private", "vr", "vr bytes", "stray delimiter",
        "item beyond", "no item",
    ],
)  # fmt: skip
def test_impossible_elements(element: bytes, words: str, tmp_path: Path) -> None:
    assert words in refused(with_elements(element), tmp_path).text


@pytest.mark.parametrize(
    ("tag", "vr"),
    [(b"\x28\x00\x10\x00", b"LO"), (b"\x28\x00\x02\x00", b"SS"), (b"\x08\x00\x18\x00", b"FD")],
)
def test_a_wrong_representation(tag: bytes, vr: bytes, tmp_path: Path) -> None:
    content = plain()
    at = content.rindex(tag) + 4
    refusal = refused(content[:at] + vr + content[at + 2 :], tmp_path)
    assert refusal.code == "damaged"


def test_an_attribute_that_stands_there_twice(tmp_path: Path) -> None:
    again = struct.pack("<HH2sHH", 0x0028, 0x0010, b"US", 2, 64)
    assert "twice" in refused(with_elements(again), tmp_path).text


def test_thousands_of_elements(tmp_path: Path) -> None:
    many = struct.pack("<HH2sH", 0x0011, 0x0010, b"LO", 0) * 120_000
    assert "more than 100000 elements" in refused(with_elements(many), tmp_path).text


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_cut_off_anywhere(syntax: Any, tmp_path: Path) -> None:
    content = dicom_bytes(instance(syntax=syntax))
    places = {*range(0, 700, 1), *range(700, len(content), 211), len(content) - 1}
    for place in sorted(places):
        refused(content[:place], tmp_path)


def test_compressed_cut_off_anywhere(tmp_path: Path) -> None:
    dataset = frames_of([plain_cell(1), plain_cell(2)])
    dataset.compress(RLELossless, generate_instance_uid=False)
    content = dicom_bytes(dataset)
    at = content.index(b"\xe0\x7f\x10\x00")
    for place in range(at, len(content), 3):
        refused(content[:place], tmp_path)


@pytest.mark.parametrize("length", [0, 1, 131, 132, 4_000])
def test_garbage(length: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(length).bytes(length)
    refused(noise, tmp_path)
    refused(b"\0" * 128 + b"DICM" + noise, tmp_path)


def encapsulated(fragments: list[bytes], frames: int, table: bytes = b"") -> bytes:
    """RLE of frames in fragments as given, with an offset table as given."""
    dataset = frames_of([plain_cell(number) for number in range(frames)])
    dataset.compress(RLELossless, generate_instance_uid=False)
    content = dicom_bytes(dataset)
    at = content.index(b"\xe0\x7f\x10\x00")
    items = [table, *fragments]
    data = b"".join(ITEM + struct.pack("<I", len(one)) + one for one in items)
    head = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
    return content[:at] + head + data + b"\xfe\xff\xdd\xe0\0\0\0\0"


@pytest.mark.parametrize(
    ("fragments", "frames", "table", "words"),
    [
        ([b"ab"] * 5, 2, b"", "nothing says how"),
        ([b"ab"], 2, b"", "nothing says how"),
        ([b"ab"] * 3, 2, b"\0\0\0\0", "does not fit"),
        ([b"ab"] * 3, 2, struct.pack("<II", 0, 7), "between its fragments"),
        ([b"ab"] * 3, 2, struct.pack("<II", 10, 0), "not in order"),
        ([], 1, b"", "nothing says how"),
        ([b"\0" * 3_000_000], 1, b"", "more than its pixels"),
    ],
)
def test_fragments_that_make_no_frames(
    fragments: list[bytes], frames: int, table: bytes, words: str, tmp_path: Path
) -> None:
    assert words in refused(encapsulated(fragments, frames, table), tmp_path).text


def test_an_rle_frame_that_runs_on_is_stopped_in_its_process(tmp_path: Path) -> None:
    """Each two bytes make 128: the decoder stops where the rows do."""
    header = struct.pack("<16I", 3, 64, 64 + 400_000, 64 + 800_000, *[0] * 12)
    bomb = header + b"\x81\x00" * 600_000
    path = tmp_path / "rle.dcm"
    path.write_bytes(encapsulated([bomb], 1))
    with DecoderPool(processes=1, timeout_s=20) as pool:
        (answer,) = pool.prepare([(path, None, 1)])
    assert isinstance(answer, ImageRefused)


def test_a_frame_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageRefused, match="no frame 2"):
        decode_dicom_frame(saved(instance(), tmp_path / "x.dcm"), 2)


def test_the_size_of_a_file_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "MAX_FILE_BYTES", 5_000)
    refusal = refused(plain(), tmp_path)
    assert refusal.code == "too_large"


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("PixelSpacing", ["0.0001", "0.0001"], 0.1),
        ("ImagerPixelSpacing", ["0.00025", "0.00035"], 0.3),
        ("NominalScannedPixelSpacing", ["0.001", "0.001"], 1.0),
        ("PixelSpacing", ["0", "0"], None),
    ],
)
def test_the_physical_scale(
    attribute: str, value: Any, expected: float | None, tmp_path: Path
) -> None:
    read = read_instance(saved(instance(**{attribute: value}), tmp_path / "x.dcm"))
    found = read.image.micrometres_per_pixel
    assert found == (pytest.approx(expected) if expected else None)


def test_the_scale_of_a_multi_frame_object(tmp_path: Path) -> None:
    measures = pydicom.Dataset()
    measures.PixelSpacing = [0.0002, 0.0002]
    groups = pydicom.Dataset()
    groups.PixelMeasuresSequence = [measures]
    dataset = frames_of([plain_cell(1), plain_cell(2)], SharedFunctionalGroupsSequence=[groups])
    read = read_instance(saved(dataset, tmp_path / "x.dcm"))
    assert read.image.micrometres_per_pixel == pytest.approx(0.2)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.integers(32, 70),
    columns=st.integers(32, 70),
    frames=st.integers(1, 4),
    bits=st.sampled_from([8, 10, 12, 16]),
    planar=st.sampled_from([0, 1]),
    syntax=st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless]),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_goes_in_comes_out(
    rows: int, columns: int, frames: int, bits: int, planar: int, syntax: UID, seed: int,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Any picture, of any depth, in any order of its samples, in any number of frames."""
    cells = np.random.default_rng(seed).integers(0, 256, (frames, rows, columns, 3), np.uint8)
    dataset = frames_of(list(cells))
    planar = 0 if syntax == RLELossless else planar  # RLE is by plane whatever is announced
    dataset.PlanarConfiguration = planar
    deep = np.rint(cells.astype(float) * (2**bits - 1) / 255)
    dataset.BitsAllocated = 8 if bits == 8 else 16
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    arranged = deep.transpose(0, 3, 1, 2) if planar else deep
    raw = arranged.astype("u1" if bits == 8 else "<u2").tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    path = saved(dataset, tmp_path / "any.dcm")
    with path.open("rb") as file:
        assert len(read_image(Source(file)).frames) == frames
    for number, cell in enumerate(cells, start=1):
        np.testing.assert_array_equal(decode_dicom_frame(path, number), cell)
