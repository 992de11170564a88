"""From a stored file to pixels. Runs only in decoder processes, under their limits.

The header checks are made again: the file on disk is not trusted because an earlier process
looked at it. What the decoders then report is mapped to the same refusals, so that whoever sent
the image gets one kind of answer.
"""

import errno
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
)

from classifier.imaging.intake import check_size, inspect
from classifier.imaging.refusal import MAX_BYTES, ImageRefused
from classifier.imaging.source import Source, damaged, unsupported_mode
from classifier.preprocessing import WHOLE, Reduced, Shown, prepare_input

# Named here, these are the only plugins loaded: Pillow would import all fifty for the first TIFF.
_PLUGINS = (BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin)

# The longer side of a thumbnail, at least, and less than twice that; the image's own where it is
# smaller. The largest tile of the gallery is as wide.
THUMBNAIL_SIDE = 160
THUMBNAIL_QUALITY = 85

_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MODE_NAMES = {
    "1": "black and white",
    "L": "greyscale",
    "LA": "greyscale with transparency",
    "La": "greyscale with transparency",
    "I": "32-bit greyscale",
    "F": "stored as floating-point numbers",
    "CMYK": "CMYK",
    "LAB": "CIE L*a*b*",
    "HSV": "HSV",
}


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage:
    """One image, ready for the model.

    Attributes:
        pixels: uint8 (128, 128, 3), RGB.
        width: pixels of the decoded image, upright.
        height: pixels of the decoded image, upright.
        shown: the square of the image that `pixels` shows.
        thumbnail_error: why the thumbnail is missing. A full disk is not the fault of the image,
            which can be classified all the same.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int
    shown: Shown = WHOLE
    thumbnail_error: str = ""


def prepare_file(
    path: Path, thumbnail_path: Path | None = None, frame: int | None = None
) -> PreparedImage:
    """Decode a file for the model, and write its thumbnail for the gallery where one is asked for.

    `frame` is the number, from 1, of a frame of a DICOM file; None where the file is one picture.

    Raises:
        ImageRefused: the file cannot be classified.
        MemoryError: the memory limit of the process is reached.
    """
    image = decode(path) if frame is None else decode_dicom_frame(path, frame)
    if thumbnail_path is None:
        pixels, shown = prepare_input(image)
        return PreparedImage(pixels, *image.size, shown)
    # Averages of whole pixels: a filter to an exact size takes as long as decoding the image.
    factor = max(1, max(image.size) // THUMBNAIL_SIDE)
    small = Reduced(image.reduce(factor), factor)
    try:
        _write_thumbnail(small.image, thumbnail_path)
        thumbnail_error = ""
    except OSError as error:
        thumbnail_error = str(error)
    pixels, shown = prepare_input(image, small)
    return PreparedImage(pixels, *image.size, shown, thumbnail_error)


def decode(path: Path) -> Image.Image:
    """The upright RGB image of a file.

    Raises:
        ImageRefused: the file cannot be classified.
        MemoryError: the memory limit of the process is reached.
    """
    data = _read(path)
    header = inspect(io.BytesIO(data), path.name)
    try:
        if header.format == "DICOM":
            from classifier.imaging.dicom_pixels import decode_dicom

            return decode_dicom(Source(io.BytesIO(data)))
        return _decode_with_pillow(data, header.format)
    except (ImageRefused, MemoryError):
        raise
    except Exception as error:
        # Decoders of hostile bytes raise anything from OSError to KeyError; the file is at fault.
        raise _refusal(error) from error


def decode_dicom_frame(path: Path, frame: int) -> Image.Image:
    """The RGB image of one frame of a DICOM file, of which only that frame is read.

    Raises:
        ImageRefused: the frame cannot be classified.
        MemoryError: the memory limit of the process is reached.
    """
    from classifier.imaging.dicom_pixels import decode_dicom

    try:
        with path.open("rb") as file:
            return decode_dicom(Source(file), frame)
    except (ImageRefused, MemoryError):
        raise
    except Exception as error:
        raise _refusal(error) from error


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # One byte more than allowed, so that the check of the size sees the excess.
            return os.read(descriptor, min(os.fstat(descriptor).st_size, MAX_BYTES) + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise damaged(f"it cannot be read ({error.strerror})") from error


def _decode_with_pillow(data: bytes, name: str) -> Image.Image:
    with warnings.catch_warnings():
        # Odd metadata is no reason to refuse an image whose pixels decode.
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=[name]) as image:
            check_size(*image.size)
            image.load()
            turn = _orientation(image)
            upright = _to_rgb(image)
            return upright if turn is None else upright.transpose(turn)


def _orientation(image: Image.Image) -> Image.Transpose | None:
    """How to turn the image upright. EXIF 2.32, tag 0112 (Orientation)."""
    try:
        return _TRANSPOSE.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        # Unreadable EXIF says nothing about the pixels.
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("RGB", "RGBA", "RGBX", "P", "PA", "YCbCr"):
        if image.mode in ("RGBA", "PA") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            white = Image.new("RGBA", rgba.size, "white")
            return Image.alpha_composite(white, rgba).convert("RGB")
        return image.convert("RGB")
    name = "16-bit greyscale" if image.mode.startswith("I;16") else image.mode
    raise unsupported_mode(_MODE_NAMES.get(image.mode, name))


def _refusal(error: Exception) -> ImageRefused:
    text = str(error).lower()
    if "out of memory" in text or "memory error" in text:
        return ImageRefused("decode_memory", "The image needs too much memory to decode.")
    if isinstance(error, EOFError) or "truncated" in text or "unexpected end" in text:
        return ImageRefused("truncated", "The image is cut off: its data end too early.")
    return damaged("its pixels cannot be decoded")


def _write_thumbnail(small: Image.Image, path: Path) -> None:
    """Write a small JPEG under a temporary name and rename it, so that no reader sees half."""
    content = io.BytesIO()
    # Left alone, Pillow hands the comment of the original on, whoever it may name.
    small.save(content, format="JPEG", quality=THUMBNAIL_QUALITY, comment=b"")
    # As text: `pathlib` takes as long to compose the two paths as the kernel to rename the file.
    folder, slash, name = str(path).rpartition("/")
    temporary = f"{folder}{slash}.{name}.{os.getpid()}"
    try:
        _write(temporary, content.getbuffer())
        os.replace(temporary, path)  # noqa: PTH105 - `Path.replace` composes a path again
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_thumbnail(small, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write(path: str, content: memoryview) -> None:
    """Like `Path.write_bytes`, in two thirds of its time."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    finally:
        os.close(descriptor)
