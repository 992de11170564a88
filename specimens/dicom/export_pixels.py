"""Pictures as they go into an exported instance: the JPEG as it is, or decoded without loss.

Runs in a process of its own under limits of memory and time (export_process.py starts it), as
`python -m specimens.dicom.export_pixels`: a request a line on standard input, answers on standard
output. No Django and no database.
"""

import io
import json
import os
import resource
import signal
import sys
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from PIL import Image

from classifier.imaging import dicom, dicom_frames
from classifier.imaging.decode import decode
from classifier.imaging.dicom_codecs import decode_frame
from classifier.imaging.dicom_header import DicomImage, read_image
from classifier.imaging.dicom_pixels import to_rgb
from classifier.imaging.dicom_profile import read_profile
from classifier.imaging.dicom_walk import bytes_of, read_meta_information, walk
from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import Source
from specimens.dicom.export_jpeg import JpegFrame, read_jpeg, stripped

LARGEST_PROFILE: Final = 4 * 1024**2
# PS3.3 section C.7.6.1.1.5.
METHODS: Final = {
    dicom.JPEG_BASELINE: "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
}
_BURNED_IN, _LOSSY, _LOSSY_METHOD = 0x00280301, 0x00282110, 0x00282114


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Attributes:
        rows, columns: of the picture.
        photometric: Photometric Interpretation of `data`.
        is_jpeg: whether `data` is a baseline JPEG stream; else RGB, pixel by pixel.
        data: the pixels.
        profile: ICC profile of the colours, where the file had one.
        lossy_method: how it was compressed with loss once; empty: not that it is known.
        lossy_ratio: of that compression, 0 where it is not known.
        burned_in: BurnedInAnnotation of a DICOM file; empty: not said.
    """

    rows: int
    columns: int
    photometric: str
    is_jpeg: bool
    data: bytes
    profile: bytes = b""
    lossy_method: str = ""
    lossy_ratio: float = 0.0
    burned_in: str = ""


def read_picture(path: Path, frame: int | None, *, bare: bool) -> Picture:
    """Read a cell image; `bare` leaves out what a stream carries beside its pixels.

    Comments, EXIF, thumbnails and profiles of a JPEG may name people and devices.

    Raises:
        ImageRefused: the file cannot be read as a picture.
    """
    with path.open("rb") as file:
        source = Source(file)
        if source.start(132)[128:] == b"DICM":
            picture = _of_dicom(source, frame)
        elif (jpeg := read_jpeg(file, source.size)) is not None:
            picture = _of_jpeg(jpeg)
        else:
            picture = _of_other(path)
    if not bare:
        return picture
    data = stripped(picture.data) if picture.is_jpeg else picture.data
    return replace(picture, data=data, profile=b"")


def _of_jpeg(jpeg: JpegFrame) -> Picture:
    return Picture(
        rows=jpeg.rows,
        columns=jpeg.columns,
        photometric=jpeg.photometric,
        is_jpeg=True,
        data=jpeg.data,
        profile=_usable(jpeg.profile),
        lossy_method=METHODS[dicom.JPEG_BASELINE],
        lossy_ratio=jpeg.rows * jpeg.columns * 3 / len(jpeg.data),
    )


def _of_other(path: Path) -> Picture:
    """Decoded by Pillow, upright, in the colours of its own profile."""
    picture = decode(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            profile = image.info.get("icc_profile", b"")
            lossy = image.format == "JPEG" or image.info.get("compression") == "jpeg"
    return _native(
        picture,
        profile=_usable(profile if isinstance(profile, bytes) else b""),
        lossy_method=METHODS[dicom.JPEG_BASELINE] if lossy else "",
    )


def _of_dicom(source: Source, frame: int | None) -> Picture:
    image = read_image(source, single=frame is None)
    number = frame or 1
    if number > len(image.frames):
        raise ImageRefused("truncated", f"The DICOM file has no frame {number}.")
    data = dicom_frames.read(source, image.frames[number - 1])
    said = _said(source)
    profile = read_profile(source, image) or b""
    burned_in = said.get(_BURNED_IN, "")
    if image.syntax == dicom.JPEG_BASELINE:
        jpeg = read_jpeg(io.BytesIO(data), len(data))
        if jpeg is not None:
            found = replace(_of_jpeg(jpeg), photometric=image.pixels.photometric)
            return replace(found, profile=profile or found.profile, burned_in=burned_in)
    picture = to_rgb(source, image, decode_frame(data, image.pixels, image.syntax))
    method = METHODS.get(image.syntax, "")
    if said.get(_LOSSY) == "01":
        method = method or said.get(_LOSSY_METHOD, "") or METHODS[dicom.JPEG_BASELINE]
    ratio = _ratio(image, data) if image.syntax in METHODS else 0.0
    return _native(
        picture, profile=profile, lossy_method=method, lossy_ratio=ratio, burned_in=burned_in
    )


def _ratio(image: DicomImage, data: bytes) -> float:
    return image.pixels.rows * image.pixels.columns * image.pixels.samples / max(1, len(data))


def _said(source: Source) -> dict[int, str]:
    """What the data set says of annotations and of losses."""
    syntax, start = read_meta_information(source)
    found = {}
    for element in walk(source, start, syntax):
        if not element.path and element.tag in (_BURNED_IN, _LOSSY, _LOSSY_METHOD):
            value = bytes_of(source, element, 64).decode("ascii", "replace")
            found[element.tag] = value.strip("\0 ").split("\\")[0].upper()
    return found


def _native(picture: Image.Image, **more: Any) -> Picture:
    return Picture(
        rows=picture.height,
        columns=picture.width,
        photometric="RGB",
        is_jpeg=False,
        data=picture.tobytes(),
        **more,
    )


def _usable(profile: bytes) -> bytes:
    """The profile, where it is one for RGB of bearable size; else none."""
    rgb = profile[36:40] == b"acsp" and profile[16:20] == b"RGB "
    return profile if rgb and len(profile) <= LARGEST_PROFILE else b""


def serve(requests: BinaryIO, answers: BinaryIO, seconds: float) -> None:
    """Answer until the requests end. A header line, then the data and the profile."""
    for line in iter(requests.readline, b""):
        wanted = json.loads(line)
        _limit_cpu(seconds)
        data = profile = b""
        try:
            picture = read_picture(Path(wanted["path"]), wanted["frame"], bare=wanted["bare"])
            data, profile = picture.data, picture.profile
            header = asdict(replace(picture, data=b"", profile=b"")) | {"refused": ""}
        except ImageRefused as refused:
            header = {"refused": refused.reason}
        except MemoryError:
            header = {"refused": "The image needs too much memory to decode."}
        except Exception as error:
            header = {"refused": f"The image cannot be decoded ({type(error).__name__})."}
        header |= {"data": len(data), "profile": len(profile)}
        answers.write(json.dumps(header).encode() + b"\n" + data + profile)
        answers.flush()


def _limit(memory_bytes: int) -> None:
    """Allow so much memory beyond what is mapped already; no core files, nothing written."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    statm = Path("/proc/self/statm")
    if statm.exists():
        mapped = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, mapped + memory_bytes))


def _limit_cpu(seconds: float) -> None:
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 2, hard))


if __name__ == "__main__":
    _limit(int(sys.argv[1]))
    serve(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[2]))
