"""The picture in a frame of a DICOM object. Runs only in decoder processes, under their limits."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from classifier.imaging import dicom_frames
from classifier.imaging.dicom import PALETTE_PHOTOMETRIC
from classifier.imaging.dicom_codecs import Samples, decode_frame
from classifier.imaging.dicom_header import DicomImage, read_image
from classifier.imaging.dicom_palette import apply_palette
from classifier.imaging.dicom_profile import read_profile, to_srgb
from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source, damaged

# Rows scaled at a time, so that a large picture is not held in 32 bits at once.
_BLOCK_ROWS = 256


def decode_dicom(source: Source, frame: int | None = None) -> Image.Image:
    """The RGB picture of a frame.

    Args:
        source: the file.
        frame: number from 1; None for the only one.

    Raises:
        ImageRefused: not accepted, or its pixel data contradict its header.
        Exception: whatever the decoders raise over damaged pixel data.
    """
    image = read_image(source, single=frame is None)
    number = frame or 1
    if number > len(image.frames):
        raise ImageRefused("truncated", f"The DICOM file has no frame {number}.")
    data = dicom_frames.read(source, image.frames[number - 1])
    samples = decode_frame(data, image.pixels, image.syntax)
    picture = to_rgb(source, image, samples)
    profile = read_profile(source, image)
    return picture if profile is None else to_srgb(picture, profile)


def to_rgb(source: Source, image: DicomImage, samples: Samples) -> Image.Image:
    """The picture in RGB of 8 bits, in the colours of its own profile.

    Raises:
        ImageRefused: its pixel data contradict its header.
    """
    if image.pixels.photometric == PALETTE_PHOTOMETRIC:
        indices = samples.values[:, :, 0]
        return Image.fromarray(apply_palette(source, image, indices), "RGB")
    values = _to_eight_bits(samples.values, samples.bits)
    if not samples.is_ybr:
        return Image.fromarray(values, "RGB")
    # PS3.3 section C.7.6.3.1.2, YBR_FULL: the equations of JFIF, which Pillow has.
    return Image.fromarray(values, "YCbCr").convert("RGB")


def _to_eight_bits(values: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    """Full scale to full scale: 4,095 of 12 bits is 255."""
    if bits == 8 and values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    highest = 2**bits - 1
    out = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _BLOCK_ROWS):
        block = values[start : start + _BLOCK_ROWS].astype(np.uint32)
        if block.max(initial=0) > highest:
            raise damaged(f"its pixel data have more than the {bits} bits of its header")
        out[start : start + _BLOCK_ROWS] = (block * 255 + highest // 2) // highest
    return out
