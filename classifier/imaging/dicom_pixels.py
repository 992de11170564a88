"""Pixels of a DICOM object. Runs only in decoder processes; the header was checked before."""

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from classifier.imaging import dicom
from classifier.imaging.intake import check_size
from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source, damaged

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

_SIZE_MARKER_JPEG2000 = b"\xff\x4f\xff\x51"
_JP2_CODE_STREAM_BOX = b"jp2c"
# T.81 and T.87 (JPEG-LS) keep the size at the same place of their frame headers.
_JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def decode_dicom(data: bytes) -> Image.Image:
    """The RGB image of a single-frame colour object.

    Args:
        data: the whole file.

    Raises:
        ImageRefused: not accepted, or its code stream contradicts its header.
        Exception: whatever the decoders raise over damaged pixel data.
    """
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(io.BytesIO(data))
        dicom.check_transfer_syntax(str(dataset.file_meta.TransferSyntaxUID))
        # Again, as this parser reads them: the header check could be told something else.
        dicom.check_object(_attributes(dataset))
        check_size(dataset.Columns, dataset.Rows)
        _check_code_stream(dataset)
        return Image.fromarray(_pixels(dataset))


def _attributes(dataset: "FileDataset") -> dicom.ImageAttributes:
    return dicom.ImageAttributes(
        sop_class_uid=str(dataset.SOPClassUID),
        photometric_interpretation=str(dataset.PhotometricInterpretation),
        samples_per_pixel=int(dataset.SamplesPerPixel),
        bits_allocated=int(dataset.BitsAllocated),
        number_of_frames=str(dataset.get("NumberOfFrames") or ""),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
    )


def _pixels(dataset: "FileDataset") -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    from pydicom.pixels.processing import apply_color_lut

    # pydicom turns every YBR photometric interpretation into RGB here.
    pixels = dataset.pixel_array
    if dataset.PhotometricInterpretation == dicom.PALETTE_PHOTOMETRIC:
        pixels = apply_color_lut(pixels, dataset)
        if pixels.dtype == np.uint16:
            pixels = (pixels >> 8).astype(np.uint8)
    if pixels.shape != (dataset.Rows, dataset.Columns, 3) or pixels.dtype != np.uint8:
        raise damaged("its pixel data do not match its DICOM header")
    return np.ascontiguousarray(pixels)


def _check_code_stream(dataset: "FileDataset") -> None:
    """Compare the size inside a compressed frame with Rows and Columns.

    A decoder allocates what the code stream says, whatever the DICOM header says: a frame of
    2 MB under a header of 64x64 cost 3.2 GB.

    Raises:
        ImageRefused: damaged, when they differ.
    """
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax in dicom.NATIVE_SYNTAXES:
        return
    frame = _first_frame(dataset)
    if syntax.startswith("1.2.840.10008.1.2.4.9"):
        size = _jpeg2000_size(frame)
    elif syntax.startswith("1.2.840.10008.1.2.4."):
        size = _jpeg_size(frame)
    else:
        # RLE has no size of its own: its decoder allocates Rows x Columns and stops there.
        return
    if size != (dataset.Columns, dataset.Rows):
        raise damaged(
            f"its header says {dataset.Columns}x{dataset.Rows} pixels, its code stream "
            f"{size[0]}x{size[1]}"
        )


def _first_frame(dataset: "FileDataset") -> bytes:
    from pydicom.encaps import get_frame

    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def _jpeg_size(frame: bytes) -> tuple[int, int]:
    """Columns and rows of a JPEG or JPEG-LS code stream (T.81 B.2.2, T.87 C.2.2)."""
    source = Source(io.BytesIO(frame))
    offset = 2
    while True:
        prefix, marker = source.at(offset, 2)
        if prefix != 0xFF:
            raise damaged("a JPEG marker is missing in its pixel data")
        if marker == 0xFF:
            offset += 1
            continue
        header = source.at(offset + 2, 2)
        if marker in _JPEG_FRAMES:
            values = source.at(offset + 5, 4)
            return int.from_bytes(values[2:]), int.from_bytes(values[:2])
        offset += 2 + max(2, int.from_bytes(header))


def _jpeg2000_size(frame: bytes) -> tuple[int, int]:
    """Columns and rows from the SIZ segment (T.800 A.5.1): extent less offset of the grid."""
    start = frame.find(_SIZE_MARKER_JPEG2000)
    if start < 0 or (start > 0 and _JP2_CODE_STREAM_BOX not in frame[:start]):
        raise damaged("its JPEG 2000 code stream has no header")
    values = Source(io.BytesIO(frame)).at(start + 8, 16)
    width, height, left, top = (int.from_bytes(values[i : i + 4]) for i in range(0, 16, 4))
    if width <= left or height <= top:
        raise ImageRefused("damaged", "The JPEG 2000 code stream has no area.")
    return width - left, height - top
