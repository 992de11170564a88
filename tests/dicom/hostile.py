"""Files that are made to hurt who reads them, small enough to send."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit

from tests.classifier.image_files import dicom_bytes
from tests.dicom.files import instance


def _jpeg(side: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (200, 160, 200)).save(out, "JPEG")
    return out.getvalue()


def bomb() -> bytes:
    """A JPEG of 15,000 x 15,000 pixels in 2 MB: 3 GB of memory where it is decoded."""
    dataset = instance(AccessionNumber="A1")
    dataset.Rows = dataset.Columns = 15_000
    return _encapsulated(dataset, _jpeg(15_000))


def lying_header() -> bytes:
    """The header says 48 x 48, the code stream is of 8,000 x 8,000."""
    return _encapsulated(instance(AccessionNumber="A1"), _jpeg(8_000))


def _encapsulated(dataset: Dataset, jpeg: bytes) -> bytes:
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PixelData = encapsulate([jpeg])
    dataset["PixelData"].is_undefined_length = True
    return dicom_bytes(dataset)


def deflate_bomb() -> bytes:
    """100 KB of a deflated data set that becomes 100 MB."""
    whole = dicom_bytes(instance(AccessionNumber="A1"))
    start = whole.index(b"\x08\x00", 140)
    plain, deflated = (
        ExplicitVRLittleEndian.encode() + b"\0",
        DeflatedExplicitVRLittleEndian.encode(),
    )
    head = struct.pack("<HH2s", 0x0002, 0x0010, b"UI")
    meta = whole[:start].replace(
        head + struct.pack("<H", len(plain)) + plain,
        head + struct.pack("<H", len(deflated)) + deflated,
    )
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = deflater.compress(whole[start:] + bytes(100 * 1024**2)) + deflater.flush()
    return meta + content


def nested() -> bytes:
    """Sequences, one in the other, 400 deep."""
    inner = b""
    for _ in range(400):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        inner = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, len(item)) + item
    whole = dicom_bytes(instance(AccessionNumber="A1"))
    # Behind the SOP Instance UID, which stands below the tag of the sequence.
    place = whole.index(struct.pack("<HH2s", 0x0008, 0x0050, b"SH"))
    return whole[:place] + inner + whole[place:]


def truncated() -> bytes:
    """The second half is missing."""
    whole = dicom_bytes(instance(AccessionNumber="A1"))
    return whole[: len(whole) // 2]


def garbage() -> bytes:
    """A preamble and a prefix, then noise."""
    noise = np.random.default_rng(5).integers(0, 256, 20_000, dtype=np.uint8).tobytes()
    return bytes(128) + b"DICM" + noise


def wrong_representation() -> bytes:
    """Rows coded as text."""
    whole = dicom_bytes(instance(AccessionNumber="A1"))
    rows = struct.pack("<HH2sH", 0x0028, 0x0010, b"US", 2)
    return whole.replace(rows, struct.pack("<HH2sH", 0x0028, 0x0010, b"LO", 2), 1)


def huge_private_tag() -> bytes:
    """A private attribute that claims 4 GB."""
    whole = dicom_bytes(instance(AccessionNumber="A1"))
    place = whole.index(struct.pack("<HH2s", 0x0008, 0x0050, b"SH"))
    claim = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 0xFFFFFFFE)
    return whole[:place] + claim + whole[place:]


HOSTILE: Final[dict[str, Callable[[], bytes]]] = {
    "bomb": bomb,
    "lying header": lying_header,
    "deflate bomb": deflate_bomb,
    "nesting": nested,
    "truncation": truncated,
    "garbage": garbage,
    "wrong representation": wrong_representation,
    "huge private tag": huge_private_tag,
}
