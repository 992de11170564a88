"""Draws image files for the tests: good ones of every accepted kind, and hostile ones."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    generate_uid,
)

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MICROSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.2"
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def draw_cell(width: int = 72, height: int = 64) -> Image.Image:
    """A violet disc with a darker nucleus off centre on a pale ground, so that a turn shows."""
    image = Image.new("RGB", (width, height), (236, 228, 230))
    pen = ImageDraw.Draw(image)
    pen.ellipse((width * 0.1, height * 0.1, width * 0.9, height * 0.9), fill=(176, 150, 200))
    pen.ellipse((width * 0.2, height * 0.2, width * 0.5, height * 0.5), fill=(84, 40, 130))
    return image


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def palette_image() -> Image.Image:
    return draw_cell().quantize(16)


def accepted_files() -> dict[str, bytes]:
    """One small valid file of each kind that is accepted, by a speaking name."""
    cell = draw_cell()
    return {
        "jpeg": encode(cell, "JPEG", quality=95),
        "progressive jpeg": encode(cell, "JPEG", quality=95, progressive=True),
        "png": encode(cell, "PNG"),
        "palette png": encode(palette_image(), "PNG"),
        "rgba png": encode(cell.convert("RGBA"), "PNG"),
        "bmp": encode(cell, "BMP"),
        "palette bmp": encode(palette_image(), "BMP"),
        "tiff": encode(cell, "TIFF"),
        "lzw tiff": encode(cell, "TIFF", compression="tiff_lzw"),
        "jpeg tiff": encode(cell, "TIFF", compression="jpeg"),
        "palette tiff": encode(palette_image(), "TIFF"),
        "big tiff": encode(cell, "TIFF", big_tiff=True),
        "gif": encode(palette_image(), "GIF"),
        "dicom": dicom_bytes(dicom_of(np.asarray(cell))),
    }


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, depth: int = 8, colour_type: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)


def png_bomb(side: int = 20_000) -> bytes:
    """A valid PNG of side x side white pixels; 20,000 of them are 1.2 GB in 1.2 MB.

    One block of rows is compressed once and repeated: a full flush ends every block on a byte, and
    no block refers to another.
    """
    blocks, rows = side // 100, (b"\x00" + b"\xff" * (3 * side)) * 100
    compressor = zlib.compressobj(9, wbits=-15)
    block = compressor.compress(rows) + compressor.flush(zlib.Z_FULL_FLUSH)
    checksum = 1
    for _ in range(blocks):
        checksum = zlib.adler32(rows, checksum)
    data = b"\x78\xda" + block * blocks + b"\x03\x00" + checksum.to_bytes(4)
    return png_header(side, side) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def lying_png(claimed: int = 64, real: int = 3_000) -> bytes:
    """A PNG whose header claims a small image in front of the data of a large one."""
    data = zlib.compress((b"\x00" + b"\xff" * (3 * real)) * real, 9)
    return png_header(claimed, claimed) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def tiff_16_bit_rgb() -> bytes:
    """A 16-bit RGB TIFF, which Pillow does not write: one strip, little endian."""
    width, height = 40, 40
    pixels = b"\x00\x80" * (width * height * 3)
    fields = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 14),
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, len(pixels)),
    ]
    head = b"II*\x00" + struct.pack("<I", 14 + len(pixels)) + struct.pack("<HHH", 16, 16, 16)
    directory = b"".join(struct.pack("<HHII", *field) for field in fields)
    return head + pixels + struct.pack("<H", len(fields)) + directory + b"\x00" * 4


def dicom_of(pixels: np.ndarray[Any, Any], syntax: UID = ExplicitVRLittleEndian) -> FileDataset:
    """An uncompressed Secondary Capture object of RGB pixels (rows, columns, 3)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["wbclab tests"])
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\x00" * 128)
    dataset.SOPClassUID = SECONDARY_CAPTURE
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.PatientName = "Muster^Erika"
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    return dataset


def dicom_bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom_implicit(pixels: np.ndarray[Any, Any]) -> bytes:
    return dicom_bytes(dicom_of(pixels, ImplicitVRLittleEndian))


def dicom_jpeg(frame: bytes, width: int, height: int) -> bytes:
    """A JPEG Baseline object around a JPEG file, whatever size the header is told."""
    dataset = dicom_of(np.zeros((height, width, 3), np.uint8), JPEGBaseline8Bit)
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    return dicom_bytes(dataset)


def dicom_palette(pixels: np.ndarray[Any, Any], palette: np.ndarray[Any, Any]) -> bytes:
    """A PALETTE COLOR object: indices (rows, columns) into a palette (n, 3), 16 bits an entry."""
    dataset = dicom_of(np.zeros((*pixels.shape, 3), np.uint8))
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    del dataset.PlanarConfiguration
    for name, channel in zip(("Red", "Green", "Blue"), palette.T, strict=True):
        entries = (channel.astype(np.uint16) << 8).astype("<u2")
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [len(palette), 0, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", entries.tobytes())
    dataset.PixelData = pixels.astype(np.uint8).tobytes()
    return dicom_bytes(dataset)
