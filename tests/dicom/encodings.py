"""One drawn cell in every coding that is accepted: by dcmtk where dcmtk can write it.

dcmtk 3.6 does not encode JPEG 2000, more than 8 bits from a picture, subsampled pixels outside of
JPEG, or segmented palettes: those are written with pydicom (OpenJPEG for JPEG 2000) or by hand.
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.uid import JPEG2000, JPEG2000Lossless

from tests.counterparts import require
from tests.dicom.files import Pixels, drawn_cell, instance, saved

LOSSLESS: Final = 0.0
LOSSY: Final = 2.0  # of 255, mean absolute difference


@dataclass(frozen=True)
class Coding:
    """How a file is made, what it must say of itself, and how far its colours may be off.

    Attributes:
        make: writes the file into a folder and returns its path.
        syntax, photometric: what the header says then.
        tolerance: mean absolute difference from the drawn cell, of 255.
        by_dcmtk: whether the pixel data were encoded by dcmtk.
    """

    make: Callable[[Path], Path]
    syntax: str
    photometric: str
    tolerance: float = LOSSLESS
    by_dcmtk: bool = True


def dcmtk(tool: str, *arguments: str | Path, folder: Path) -> None:
    require(tool)
    subprocess.run(
        [tool, *map(str, arguments)], check=True, capture_output=True, cwd=folder, timeout=60
    )


def base(folder: Path) -> Path:
    """VL Photographic, Explicit VR Little Endian, RGB: img2dcm from a bitmap."""
    path = folder / "base.dcm"
    if not path.exists():
        Image.fromarray(drawn_cell()).save(folder / "cell.bmp")
        dcmtk("img2dcm", "-vlp", "-i", "BMP", "cell.bmp", path, folder=folder)
    return path


def recode(tool: str, *options: str, of: Callable[[Path], Path] = base) -> Callable[[Path], Path]:
    """Run `tool` over what `of` makes."""

    def make(folder: Path) -> Path:
        source = of(folder)
        name = "-".join([source.stem, tool, *(option.strip("+-") for option in options)])
        target = folder / f"{name}.dcm"
        if not target.exists():
            dcmtk(tool, *options, source, target, folder=folder)
        return target

    return make


def _jpeg_file(folder: Path) -> Path:
    Image.fromarray(drawn_cell()).save(folder / "cell.jpg", quality=95, subsampling=0)
    target = folder / "jpeg.dcm"
    dcmtk("img2dcm", "-sc", "cell.jpg", target, folder=folder)
    return target


def _by_hand(name: str, change: Callable[[FileDataset, Pixels], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        cell = drawn_cell()
        dataset = instance(cell)
        change(dataset, cell)
        return saved(dataset, folder / f"{name}.dcm")

    return make


def deep(bits: int, allocated: int = 16) -> Callable[[FileDataset, Pixels], None]:
    """Full scale of 8 bits on full scale of more."""

    def change(dataset: FileDataset, cell: Pixels) -> None:
        values = np.rint(cell.astype(float) * (2**bits - 1) / 255).astype("<u2")
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
        dataset.PixelData = values.tobytes()

    return change


def _subsampled(dataset: FileDataset, cell: Pixels) -> None:
    """YBR_FULL_422 without compression (PS3.3 section C.7.6.3.1.2)."""
    ybr = np.asarray(Image.fromarray(cell).convert("YCbCr"))
    pairs = ybr.reshape(ybr.shape[0], -1, 2, 3)
    quads = np.empty((*pairs.shape[:2], 4), np.uint8)
    quads[:, :, :2] = pairs[:, :, :, 0]
    quads[:, :, 2:] = np.rint(pairs[:, :, :, 1:].mean(axis=2))
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PixelData = quads.tobytes()


def by_plane(dataset: FileDataset, cell: Pixels) -> None:
    dataset.PlanarConfiguration = 1
    dataset.PixelData = cell.transpose(2, 0, 1).tobytes()


def _jpeg_2000(syntax: str, photometric: str, **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        dataset = instance(drawn_cell())
        if "bits" in options:
            deep(options.pop("bits"))(dataset, drawn_cell())
        dataset.PhotometricInterpretation = photometric
        dataset.compress(syntax, generate_instance_uid=False, **options)
        return saved(dataset, folder / f"j2k-{photometric}-{syntax[-2:]}.dcm")

    return make


def _segmented(dataset: FileDataset, cell: Pixels) -> None:
    """A palette in linear segments (PS3.3 section C.7.9.2): index i is (i, 255 - i, 128)."""
    del dataset.PlanarConfiguration
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    ramps = {"Red": (0, 255), "Green": (255, 0), "Blue": (128, 128)}
    for name, (first, last) in ramps.items():
        words = [0, 1, first << 8, 1, 255, last << 8]
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        data = np.array(words, "<u2").tobytes()
        setattr(dataset, f"Segmented{name}PaletteColorLookupTableData", data)
    dataset.PixelData = cell[:, :, 0].tobytes()


segmented_palette: Final = _by_hand("segmented", _segmented)
_jpeg_ybr: Final = recode("dcmcjpeg", "+eb", "+q", "95", "+s4")
native_ybr: Final = recode("dcmdjpeg", "+cn", "+px", of=_jpeg_ybr)
twelve_bits: Final = _by_hand("twelve", deep(12))
sixteen_bits: Final = _by_hand("sixteen", deep(16))

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
RLE, BASELINE = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"
LS, NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K, J2K_LOSSY = str(JPEG2000Lossless), str(JPEG2000)

CODINGS: Final = {
    "explicit": Coding(base, EXPLICIT, "RGB"),
    "implicit": Coding(recode("dcmconv", "+ti"), IMPLICIT, "RGB"),
    "rle": Coding(recode("dcmcrle"), RLE, "RGB"),
    "rle 12 bits": Coding(recode("dcmcrle", of=twelve_bits), RLE, "RGB"),
    "rle 16 bits": Coding(recode("dcmcrle", of=sixteen_bits), RLE, "RGB"),
    "rle ybr": Coding(recode("dcmcrle", of=native_ybr), RLE, "YBR_FULL", LOSSY),
    "jpeg 4:4:4": Coding(_jpeg_ybr, BASELINE, "YBR_FULL", LOSSY),
    "jpeg 4:2:2": Coding(recode("dcmcjpeg", "+eb", "+q", "95"), BASELINE, "YBR_FULL_422", LOSSY),
    "jpeg rgb": Coding(recode("dcmcjpeg", "+eb", "+q", "95", "+cr"), BASELINE, "RGB", LOSSY),
    "jpeg in fragments": Coding(
        recode("dcmcjpeg", "+eb", "+q", "95", "+fs", "1"), BASELINE, "YBR_FULL_422", LOSSY
    ),
    "jpeg file": Coding(_jpeg_file, BASELINE, "YBR_FULL_422", LOSSY),
    "jpeg-ls by line": Coding(recode("dcmcjpls"), LS, "RGB"),
    "jpeg-ls by pixel": Coding(recode("dcmcjpls", "+is"), LS, "RGB"),
    "jpeg-ls by plane": Coding(recode("dcmcjpls", "+in"), LS, "RGB"),
    "jpeg-ls 12 bits": Coding(recode("dcmcjpls", of=twelve_bits), LS, "RGB"),
    "jpeg-ls 16 bits": Coding(recode("dcmcjpls", of=sixteen_bits), LS, "RGB"),
    "jpeg-ls ybr": Coding(recode("dcmcjpls", of=native_ybr), LS, "YBR_FULL", LOSSY),
    "jpeg-ls near": Coding(recode("dcmcjpls", "+en"), NEAR, "RGB", LOSSY),
    "palette 8 bits": Coding(recode("dcmquant"), EXPLICIT, "PALETTE COLOR", LOSSY),
    "palette 8 bits rle": Coding(
        recode("dcmcrle", of=recode("dcmquant")), RLE, "PALETTE COLOR", LOSSY
    ),
    "palette 16 bits": Coding(
        recode("dcmquant", "+pc", "1000"), EXPLICIT, "PALETTE COLOR", LOSSY
    ),
    "ybr": Coding(native_ybr, EXPLICIT, "YBR_FULL", LOSSY),
    "ybr by plane": Coding(
        recode("dcmdjpeg", "+cn", "+pl", of=_jpeg_ybr),
        EXPLICIT, "YBR_FULL", LOSSY,
    ),
    "rgb by plane": Coding(_by_hand("plane", by_plane), EXPLICIT, "RGB", by_dcmtk=False),
    "12 bits": Coding(twelve_bits, EXPLICIT, "RGB", by_dcmtk=False),
    "16 bits": Coding(sixteen_bits, EXPLICIT, "RGB", by_dcmtk=False),
    "ybr 4:2:2": Coding(
        _by_hand("subsampled", _subsampled), EXPLICIT, "YBR_FULL_422", LOSSY, by_dcmtk=False
    ),
    "jpeg 2000 rct": Coding(_jpeg_2000(J2K, "YBR_RCT"), J2K, "YBR_RCT", by_dcmtk=False),
    "jpeg 2000 rgb": Coding(_jpeg_2000(J2K, "RGB"), J2K, "RGB", by_dcmtk=False),
    "jpeg 2000 12 bits": Coding(
        _jpeg_2000(J2K, "YBR_RCT", bits=12), J2K, "YBR_RCT", by_dcmtk=False
    ),
    "jpeg 2000 ict": Coding(
        _jpeg_2000(J2K_LOSSY, "YBR_ICT", j2k_cr=[8]), J2K_LOSSY, "YBR_ICT", LOSSY, by_dcmtk=False
    ),
}  # fmt: skip
