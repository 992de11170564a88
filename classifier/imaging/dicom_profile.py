"""ICC profiles of DICOM objects (PS3.3 section C.11.15): colours as they were meant, in sRGB."""

import io
from typing import TYPE_CHECKING

from classifier.imaging.dicom_header import ICC_PROFILE, DicomImage
from classifier.imaging.dicom_walk import bytes_of
from classifier.imaging.source import Source

if TYPE_CHECKING:
    from PIL import Image

MAX_PROFILE_BYTES = 4 * 1024**2

# ICC.1:2022 section 7.2: colour space at 16, "acsp" at 36.
_HEADER_LENGTH = 128


def read_profile(source: Source, image: DicomImage) -> bytes | None:
    """The profile, where there is one for RGB; anything else counts as none."""
    if ICC_PROFILE not in image.elements:
        return None
    element = image.elements[ICC_PROFILE]
    if not _HEADER_LENGTH < element.length <= MAX_PROFILE_BYTES:
        return None
    profile = bytes_of(source, element, MAX_PROFILE_BYTES)
    if profile[36:40] != b"acsp" or profile[16:20] != b"RGB ":
        return None
    return profile


def describe_profile(source: Source, image: DicomImage) -> str:
    """A note for people: which profile will be applied, or that one cannot be; empty: none."""
    if ICC_PROFILE not in image.elements:
        return ""
    profile = read_profile(source, image)
    if profile is None:
        return "not usable: colours are taken as sRGB"
    return f"applied: RGB profile of {len(profile)} bytes"


def to_srgb(picture: "Image.Image", profile: bytes) -> "Image.Image":
    """The picture in sRGB; unchanged where the profile cannot be used. Runs in decoder processes.

    A profile that cannot be read says nothing about the pixels; that it could not be used has been
    noted when the object came in.
    """
    from PIL import ImageCms

    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            "RGB",
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
        changed = ImageCms.applyTransform(picture, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return picture if changed is None else changed
