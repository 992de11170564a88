"""Damage to valid DICOM files: seeded, of every kind a sender could do by fault or on purpose.

`make fuzz` runs all of it (20,000 cases): python -m tests.dicom.fuzzing --cases 20000
Every case ends in acceptance or a refusal with a code. Cases that end otherwise are written to
build/fuzz, and `--only NUMBER` runs one of them again.
"""

import argparse
import io
import random
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    generate_uid,
)

from classifier.imaging import dicom
from classifier.imaging.dicom_walk import walk
from classifier.imaging.source import Source
from tests.classifier.image_files import dicom_bytes, dicom_of, draw_cell, encode

SEED: Final = 20261123
FOLDER: Final = Path(__file__).resolve().parents[2] / "build" / "fuzz"
_SYNTAXES: Final = [*dicom.TRANSFER_SYNTAXES, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
_LENGTHS: Final = (0, 1, 2, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFE, 0xFFFF, 1 << 20, 1 << 30, 0x7FFFFFFF,
                   0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF)  # fmt: skip
_VRS: Final = (b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM "
               b"UC UI UL UN UR US UT UV ?? \0\0 oB").split(b" ")  # fmt: skip
_ITEM: Final = b"\xfe\xff\x00\xe0"
_DELIMITERS: Final = (_ITEM, b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0")


@dataclass(frozen=True)
class Sample:
    """A valid file, and where in it things stand that are worth damaging.

    Attributes:
        start: where the data set begins behind the file meta information.
        elements: offset of the tag, of the length, its width, of the value, and its length.
        fragments: offset and length of the items of encapsulated pixel data.
    """

    name: str
    data: bytes
    start: int
    is_implicit: bool
    elements: list[tuple[int, int, int, int, int]]
    fragments: list[tuple[int, int]]


@dataclass(frozen=True)
class Case:
    """One mutated file; number and seed make it again."""

    number: int
    sample: str
    changes: tuple[str, ...]
    data: bytes


# --- valid files ----------------------------------------------------------------------------------
def _object(pixels: Any, syntax: UID, sop_class: str, **attributes: Any) -> Dataset:
    dataset = dicom_of(pixels, syntax)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    seed = [f"{syntax}{sop_class}{sorted(attributes.items())}"]
    uid = generate_uid(entropy_srcs=seed)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", *seed])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", *seed])
    dataset.Modality, dataset.AccessionNumber = "XC", "FUZZ-1"
    dataset.PatientID, dataset.IssuerOfPatientID = "P1", "HOSP"
    dataset.ContainerIdentifier = "C1"
    item = Dataset()
    item.SpecimenIdentifier, item.SpecimenUID = "FUZZ-1", generate_uid(entropy_srcs=["s"])
    inner = Dataset()
    inner.LocalNamespaceEntityID = "HOSP"
    item.IssuerOfTheSpecimenIdentifierSequence = [inner]
    dataset.SpecimenDescriptionSequence = [item]
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def _compressed(syntax: UID, **options: Any) -> bytes:
    dataset = _object(np.asarray(draw_cell(40, 36)), ExplicitVRLittleEndian, _sop(4))
    if syntax in (JPEG2000, JPEG2000Lossless):
        dataset.PhotometricInterpretation = "YBR_ICT" if syntax == JPEG2000 else "YBR_RCT"
    dataset.compress(syntax, generate_instance_uid=False, **options)
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(syntax)])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dicom_bytes(dataset)


def _sop(number: int) -> str:
    return list(dicom.SOP_CLASSES)[number]


def _jpeg(*, frames: int = 1) -> bytes:
    cell = np.asarray(draw_cell(40, 36))
    more: dict[str, Any] = {"NumberOfFrames": frames} if frames > 1 else {}
    dataset = _object(cell, JPEGBaseline8Bit, _sop(1 if frames > 1 else 0), **more)
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PixelData = encapsulate([encode(draw_cell(40, 36), "JPEG", quality=80)] * frames)
    dataset["PixelData"].is_undefined_length = True
    return dicom_bytes(dataset)


def _palette() -> bytes:
    image = draw_cell(40, 36).quantize(16)
    dataset = _object(np.zeros((36, 40, 3), np.uint8), ExplicitVRLittleEndian, _sop(0))
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "PALETTE COLOR"
    del dataset.PlanarConfiguration
    entries_used = (image.getpalette() or [])[: 3 * 16]
    colours = np.array([*entries_used, *[0] * (3 * 16 - len(entries_used))]).reshape(-1, 3)
    for name, channel in zip(("Red", "Green", "Blue"), colours.T, strict=True):
        entries = (channel.astype(np.uint16) << 8).astype("<u2")
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [16, 0, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", entries.tobytes())
    dataset.PixelData = np.asarray(image).tobytes()
    return dicom_bytes(dataset)


def _native(
    syntax: UID = ExplicitVRLittleEndian, sop_class: int = 4, frames: int = 1, **attributes: Any
) -> bytes:
    cell = np.asarray(draw_cell(40, 36))
    if frames > 1:
        attributes["NumberOfFrames"] = frames
    dataset = _object(cell, syntax, _sop(sop_class), **attributes)
    dataset.PixelData = cell.tobytes() * frames
    if dataset.BitsAllocated == 16:
        dataset.PixelData = (cell.astype("<u2") << 4).tobytes()
        dataset["PixelData"].VR = "OW"
    elif dataset.PhotometricInterpretation == "YBR_FULL_422":
        dataset.PixelData = cell[:, :, :2].tobytes()
    elif dataset.PlanarConfiguration == 1:
        dataset.PixelData = cell.transpose(2, 0, 1).tobytes()
    return dicom_bytes(dataset)


@cache
def samples() -> tuple[Sample, ...]:
    """A valid file of every kind that is accepted."""
    files = {
        "explicit": _native(),
        "implicit": _native(ImplicitVRLittleEndian, 3),
        "by plane": _native(sop_class=2, PlanarConfiguration=1),
        "YBR_FULL": _native(sop_class=0, PhotometricInterpretation="YBR_FULL"),
        "YBR_FULL_422": _native(PhotometricInterpretation="YBR_FULL_422"),
        "12 bits": _native(BitsAllocated=16, BitsStored=12, HighBit=11),
        "frames": _native(sop_class=1, frames=3),
        "palette": _palette(),
        "RLE": _compressed(RLELossless),
        "JPEG": _jpeg(),
        "JPEG frames": _jpeg(frames=3),
        "JPEG-LS": _compressed(JPEGLSLossless),
        "near-lossless": _compressed(JPEGLSNearLossless, jls_error=2),
        "JPEG 2000 lossless": _compressed(JPEG2000Lossless),
        "JPEG 2000": _compressed(JPEG2000, j2k_cr=[4]),
    }
    return tuple(_sample(name, data) for name, data in files.items())


def _sample(name: str, data: bytes) -> Sample:
    group = struct.unpack_from("<I", data, 140)[0]
    start = 144 + group
    at = data.index(b"\x02\x00\x10\x00UI")
    length = struct.unpack_from("<H", data, at + 6)[0]
    syntax = data[at + 8 : at + 8 + length].rstrip(b"\0").decode()
    implicit = syntax == dicom.IMPLICIT_LITTLE_ENDIAN
    elements: list[tuple[int, int, int, int, int]] = []
    fragments: list[tuple[int, int]] = []
    for element in walk(Source(io.BytesIO(data)), start, syntax):
        width = 4 if implicit or element.representation in (
            b"OB", b"OW", b"UN", b"UT", b"OF", b"UC"
        ) else 2  # fmt: skip
        header = element.value - (8 if implicit else 12 if width == 4 else 8)
        known = element.length if element.length != 0xFFFFFFFF else 0
        elements.append((header, element.value - width, width, element.value, known))
        fragments += element.fragments
    return Sample(name, data, start, implicit, elements, fragments)


# --- damage ---------------------------------------------------------------------------------------
Damage = Callable[[Sample, bytearray, random.Random], None]


def _flip_bits(sample: Sample, data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 16)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _flip_in_header(sample: Sample, data: bytearray, chance: random.Random) -> None:
    end = min(len(data), sample.elements[-1][3])
    for _ in range(chance.randint(1, 6)):
        data[chance.randrange(min(128, end - 1), end)] ^= 1 << chance.randrange(8)


def _lie_about_length(sample: Sample, data: bytearray, chance: random.Random) -> None:
    _, at, width, _, _ = chance.choice(sample.elements)
    value = chance.choice(_LENGTHS) & (0xFFFF if width == 2 else 0xFFFFFFFF)
    data[at : at + width] = value.to_bytes(width, "little")


def _swap_tags(sample: Sample, data: bytearray, chance: random.Random) -> None:
    one, other = chance.choice(sample.elements)[0], chance.choice(sample.elements)[0]
    data[one : one + 4], data[other : other + 4] = data[other : other + 4], data[one : one + 4]


def _other_tag(sample: Sample, data: bytearray, chance: random.Random) -> None:
    at = chance.choice(sample.elements)[0]
    data[at : at + 4] = chance.choice((*_DELIMITERS, chance.randbytes(4), b"\xe0\x7f\x10\x00"))


def _truncate(sample: Sample, data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def _change_representation(sample: Sample, data: bytearray, chance: random.Random) -> None:
    if not sample.is_implicit:
        at = chance.choice(sample.elements)[0] + 4
        data[at : at + 2] = chance.choice(_VRS)


def _nest(sample: Sample, data: bytearray, chance: random.Random) -> None:
    depth = chance.choice((1, 3, 15, 16, 17, 100, 2_000))
    item = _ITEM + (
        b"\xff" * 4 if chance.random() < 0.7 else struct.pack("<I", chance.choice(_LENGTHS))
    )
    head = b"\x08\x00\x40\x11" + (b"" if sample.is_implicit else b"SQ\0\0") + b"\xff" * 4
    at = chance.choice(sample.elements)[0]
    closing = (b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0") * depth
    data[at:at] = (head + item) * depth + (closing if chance.random() < 0.6 else b"")


def _insert_huge(sample: Sample, data: bytearray, chance: random.Random) -> None:
    tag = struct.pack(
        "<HH", chance.choice((0x0009, 0x0011, 0x0010, 0x0028)), chance.randrange(1 << 16)
    )
    claimed = chance.choice(_LENGTHS)
    real = chance.choice((0, 2, 64, 70_000))
    length = struct.pack("<I", claimed)
    header = (
        tag + length
        if sample.is_implicit
        else tag + chance.choice((b"OB", b"UN", b"UT")) + b"\0\0" + length
    )
    at = chance.choice(sample.elements)[0]
    data[at:at] = header + b"A" * real


def _swap_syntax(sample: Sample, data: bytearray, chance: random.Random) -> None:
    _set_syntax(data, chance.choice([*_SYNTAXES, "1.2.3", "", "9" * 64]))


def _set_syntax(data: bytearray, uid: str) -> None:
    at = data.find(b"\x02\x00\x10\x00UI")
    if at < 0:
        return
    new = uid.encode() + b"\0" * (len(uid) % 2)
    old = struct.unpack_from("<H", data, at + 6)[0]
    data[at + 6 : at + 8 + old] = struct.pack("<H", len(new)) + new
    group = struct.unpack_from("<I", data, 140)[0] + len(new) - old
    data[140:144] = struct.pack("<I", group & 0xFFFFFFFF)


def _damage_items(sample: Sample, data: bytearray, chance: random.Random) -> None:
    if not sample.fragments:
        return _flip_bits(sample, data, chance)
    offset, length = chance.choice(sample.fragments)
    kind = chance.randrange(4)
    if kind == 0:
        data[offset - 4 : offset] = struct.pack("<I", chance.choice(_LENGTHS))
    elif kind == 1:
        data[offset - 8 : offset - 4] = chance.choice((*_DELIMITERS, chance.randbytes(4)))
    elif kind == 2:
        data[offset:offset] = _ITEM + struct.pack("<I", chance.choice(_LENGTHS))
    elif length:
        for _ in range(chance.randint(1, 12)):
            data[offset + chance.randrange(length)] = chance.randrange(256)
    return None


def _damage_code_stream(sample: Sample, data: bytearray, chance: random.Random) -> None:
    """Near the start of a code stream, where its sizes and tables are."""
    if not sample.fragments:
        return _lie_about_pixels(sample, data, chance)
    offset, length = chance.choice(sample.fragments[1:] or sample.fragments)
    if length:
        for _ in range(chance.randint(1, 4)):
            data[offset + chance.randrange(min(length, 200))] = chance.choice(
                (0, 1, 0x7F, 0x80, 0xFE, 0xFF, chance.randrange(256))
            )
    return None


def _deflate(sample: Sample, data: bytearray, chance: random.Random) -> None:
    body = bytes(data[sample.start :]) + b"\0" * chance.choice((0, 10_000_000))
    compressor = zlib.compressobj(1, wbits=-15)
    data[sample.start :] = compressor.compress(body) + compressor.flush()
    _set_syntax(data, DeflatedExplicitVRLittleEndian)


def _lie_about_pixels(sample: Sample, data: bytearray, chance: random.Random) -> None:
    """Another number in one of Rows, Columns, samples, bits and so on."""
    of_pixels = [e for e in sample.elements if data[e[0] : e[0] + 2] == b"\x28\x00" and e[4] == 2]
    if of_pixels:
        at = chance.choice(of_pixels)[3]
        data[at : at + 2] = struct.pack(
            "<H", chance.choice((0, 1, 3, 4, 31, 32, 255, 4096, 4097, 0xFFFF))
        )


def _garble_value(sample: Sample, data: bytearray, chance: random.Random) -> None:
    _, _, _, value, length = chance.choice(sample.elements)
    if length:
        size = chance.randint(1, min(length, 64))
        at = value + chance.randrange(length - size + 1)
        data[at : at + size] = chance.choice(
            (chance.randbytes(size), b"\xff" * size, b"\0" * size, b"9" * size)
        )


def _repeat_element(sample: Sample, data: bytearray, chance: random.Random) -> None:
    header, _, _, value, length = chance.choice(sample.elements)
    data[header:header] = bytes(data[header : value + length]) * chance.choice((1, 2, 300))


def _remove_element(sample: Sample, data: bytearray, chance: random.Random) -> None:
    header, _, _, value, length = chance.choice(sample.elements)
    del data[header : value + length]


def _splice(sample: Sample, data: bytearray, chance: random.Random) -> None:
    """The head of this file and the tail of another."""
    other = chance.choice(samples()).data
    data[chance.randrange(len(data)) :] = other[chance.randrange(len(other)) :]


def _insert_noise(sample: Sample, data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at:at] = chance.randbytes(chance.choice((1, 2, 3, 8, 512)))


DAMAGES: Final[tuple[Damage, ...]] = (
    _flip_bits, _flip_in_header, _lie_about_length, _swap_tags, _other_tag, _truncate,
    _change_representation, _nest, _insert_huge, _swap_syntax, _damage_items, _damage_code_stream,
    _deflate, _lie_about_pixels, _garble_value, _repeat_element, _remove_element, _splice,
    _insert_noise,
)  # fmt: skip


def case(number: int, seed: int = SEED) -> Case:
    """Make case `number`: always the same file."""
    chance = random.Random(f"{seed}-{number}")
    sample = samples()[number % len(samples())]
    data = bytearray(sample.data)
    damages = [DAMAGES[(number // len(samples())) % len(DAMAGES)]]
    damages += chance.sample(DAMAGES, chance.choice((0, 0, 0, 1, 2)))
    for damage in damages:
        # Offsets are those of the valid file: a second change may hit anything, which is fine.
        try:
            damage(sample, data, chance)
        except (IndexError, struct.error):
            continue
        if len(data) < 2:
            break
    names = tuple(damage.__name__.strip("_") for damage in damages)
    return Case(number, sample.name, names, bytes(data))


# --- what became of them --------------------------------------------------------------------------
@dataclass
class Tally:
    """Outcomes by name, the slowest case in seconds, and the cases that broke the promise."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    slowest_case: int = -1
    failures: list[tuple[Case, str]] = field(default_factory=list)

    def add(self, one: Case, outcome: str, seconds: float) -> None:
        self.outcomes[outcome] += 1
        if seconds > self.slowest:
            self.slowest, self.slowest_case = seconds, one.number

    def fail(self, one: Case, text: str) -> None:
        self.failures.append((one, text))

    def keep(self, folder: Path) -> None:
        """Write the failing inputs, to be looked at and run again."""
        folder.mkdir(parents=True, exist_ok=True)
        for one, text in self.failures:
            (folder / f"case-{one.number}.dcm").write_bytes(one.data)
            (folder / f"case-{one.number}.txt").write_text(f"{one.sample} {one.changes}\n{text}\n")


def main(arguments: list[str]) -> int:
    from tests.dicom import fuzz_targets

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", type=int, help="run this one case through the reader")
    parser.add_argument("--share", type=int, default=11, help="each n-th also over the network")
    parser.add_argument("--network-only", action="store_true", help="only that share")
    given = parser.parse_args(arguments)
    numbers = [given.only] if given.only is not None else range(given.cases)
    cases = (case(number, given.seed) for number in numbers)
    began = time.monotonic()
    failed = 0 if given.network_only else fuzz_targets.run_reader(cases, FOLDER)
    if given.only is None and given.share:
        shared = [case(number, given.seed) for number in range(0, given.cases, given.share)]
        failed += fuzz_targets.run_network(shared, FOLDER)
    print(f"{failed} failures, {time.monotonic() - began:.0f} s")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
