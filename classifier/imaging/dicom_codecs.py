"""From the bytes of one frame to its samples. Runs only in decoder processes.

The libraries are called directly, so that the colour space of what comes out is known: a decoder
that turns YBR into RGB by itself is told apart from one that does not.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from classifier.imaging import dicom
from classifier.imaging.dicom import PixelDescription
from classifier.imaging.dicom_frames import jpeg2000_start
from classifier.imaging.source import damaged, unsupported_mode

_COMPONENTS_AS_RGB = (ord("R"), ord("G"), ord("B"))
_CODING_STYLE = b"\xff\x52"


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What a decoder made of a frame.

    Attributes:
        values: unsigned, (rows, columns, samples).
        bits: of each value.
        is_ybr: luminance and chrominance, still to be turned into RGB.
    """

    values: npt.NDArray[Any]
    bits: int
    is_ybr: bool


def decode_frame(frame: bytes, pixels: PixelDescription, syntax: str) -> Samples:
    """Decode one frame.

    Raises:
        ImageRefused: what came out is not what the header describes.
        Exception: whatever the decoders raise over damaged data.
    """
    if syntax in dicom.NATIVE_SYNTAXES:
        samples = _native(frame, pixels)
    elif syntax == dicom.RLE:
        samples = _rle(frame, pixels)
    elif syntax == dicom.JPEG_BASELINE:
        samples = _jpeg(frame, pixels)
    elif syntax in dicom.JPEG_LS:
        samples = _jpeg_ls(frame, pixels)
    else:
        samples = _jpeg_2000(frame, pixels)
    if samples.values.shape != (pixels.rows, pixels.columns, pixels.samples):
        raise damaged("its pixel data do not match its DICOM header")
    return samples


def _dtype(pixels: PixelDescription) -> str:
    return "<u2" if pixels.bits_allocated == 16 else "u1"


def _is_ybr(pixels: PixelDescription) -> bool:
    return pixels.photometric.startswith("YBR")


def _arranged(data: bytes, pixels: PixelDescription, dtype: str, *, by_plane: bool) -> Any:
    values = np.frombuffer(data, dtype)
    rows, columns, samples = pixels.rows, pixels.columns, pixels.samples
    if by_plane:
        return values.reshape(samples, rows, columns).transpose(1, 2, 0)
    return values.reshape(rows, columns, samples)


def _native(frame: bytes, pixels: PixelDescription) -> Samples:
    if pixels.photometric == dicom.SUBSAMPLED_PHOTOMETRIC:
        # PS3.3 section C.7.6.3.1.2: two luminance values, then the chrominance of the first.
        quads = np.frombuffer(frame, _dtype(pixels)).reshape(pixels.rows, pixels.columns // 2, 4)
        values = np.empty((pixels.rows, pixels.columns, 3), quads.dtype)
        values[:, 0::2, 0], values[:, 1::2, 0] = quads[:, :, 0], quads[:, :, 1]
        values[:, 0::2, 1:] = values[:, 1::2, 1:] = quads[:, :, 2:]
    else:
        values = _arranged(frame, pixels, _dtype(pixels), by_plane=pixels.planar == 1)
    return Samples(values, pixels.bits_stored, _is_ybr(pixels))


def _rle(frame: bytes, pixels: PixelDescription) -> Samples:
    """PS3.5 annex G: one segment for each byte of each sample, by plane whatever is announced."""
    from rle.utils import decode_pixel_data

    data = decode_pixel_data(
        frame,
        version=2,
        rows=pixels.rows,
        columns=pixels.columns,
        samples_per_pixel=pixels.samples,
        bits_allocated=pixels.bits_allocated,
    )
    values = _arranged(bytes(data), pixels, _dtype(pixels), by_plane=True)
    return Samples(values, pixels.bits_stored, _is_ybr(pixels))


def _jpeg(frame: bytes, pixels: PixelDescription) -> Samples:
    """T.81. Where the code stream tells its colour space (JFIF, Adobe), it is believed.

    Headers that say RGB over a YCbCr stream are common, and the other way round; libjpeg looks at
    the stream. Only where that tells nothing does the header decide: subsampled components are
    never RGB.
    """
    with Image.open(io.BytesIO(frame), formats=["JPEG"]) as image:
        if image.mode not in ("RGB", "L"):
            raise unsupported_mode(f"a JPEG of mode {image.mode}")
        layers: list[tuple[int, int, int, int]] = image.layer  # type: ignore[attr-defined]
        told = {"jfif", "adobe_transform"} & image.info.keys()
        told_by_name = tuple(name for name, *_ in layers) == _COMPONENTS_AS_RGB
        subsampled = len({(across, down) for _, across, down, _ in layers}) > 1
        if pixels.photometric == "RGB" and not (told or told_by_name or subsampled):
            # libjpeg takes it for YCbCr; asked for just that, it converts nothing.
            image.draft("YCbCr", image.size)
        values = np.asarray(image)
    return Samples(values.reshape(*values.shape[:2], -1), 8, is_ybr=False)


def _jpeg_ls(frame: bytes, pixels: PixelDescription) -> Samples:
    from jpeg_ls import decode_pixel_data

    data, info = decode_pixel_data(frame)
    bits = int(info["bits_per_sample"])
    by_plane = info["components"] > 1 and info["interleave_mode"] == 0
    dtype = "u1" if bits <= 8 else "<u2"
    values = _arranged(bytes(data), pixels, dtype, by_plane=by_plane)
    return Samples(values, _stored(bits, pixels), _is_ybr(pixels))


def _jpeg_2000(frame: bytes, pixels: PixelDescription) -> Samples:
    """T.800. OpenJPEG undoes the multiple component transformation: what it leaves is RGB.

    Without one the components are what the header says, except that YBR_ICT and YBR_RCT mean
    nothing then but RGB.
    """
    from openjpeg.utils import decode

    start = jpeg2000_start(frame)
    is_signed = frame[start + 42] & 0x80
    if is_signed:
        raise unsupported_mode("of signed numbers")
    bits = (frame[start + 42] & 0x7F) + 1
    values = decode(frame[start:], j2k_format=0)
    if values.ndim == 2:
        values = values[:, :, np.newaxis]
    transformed = _has_component_transformation(frame[start:])
    is_ybr = _is_ybr(pixels) and not transformed
    is_ybr = is_ybr and pixels.photometric not in dicom.JPEG_2000_PHOTOMETRICS
    return Samples(values, _stored(bits, pixels), is_ybr)


def _has_component_transformation(stream: bytes) -> bool:
    """T.800 A.6.1: the COD segment, behind SIZ, holds it behind Scod, progression and layers."""
    offset = 2
    while offset + 4 <= len(stream):
        marker = stream[offset : offset + 2]
        if marker == _CODING_STYLE:
            return stream[offset + 8] == 1
        offset += 2 + int.from_bytes(stream[offset + 2 : offset + 4])
    raise damaged("its JPEG 2000 code stream has no coding style")


def _stored(bits: int, pixels: PixelDescription) -> int:
    """How many bits make full scale: the header's count, unless the code stream has fewer.

    Encoders write the precision of what was allocated as well as of what was stored.
    """
    if bits < pixels.bits_stored or bits > pixels.bits_allocated:
        raise damaged(f"its code stream has {bits} bits, its header {pixels.bits_stored}")
    return pixels.bits_stored
