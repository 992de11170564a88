"""DICOM files for the tests: one drawn cell, identifiers as a PACS or a microscope sends them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from classifier.synthetic import draw_cells
from tests.classifier.image_files import dicom_bytes, dicom_of

VL_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
VL_MICROSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
TRUE_COLOUR = "1.2.840.10008.5.1.4.1.1.7.4"

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def drawn_cell(kind: str = "Neutrophil", seed: int = 7) -> Pixels:
    """One stained cell, drawn: uint8 (rows, columns, 3), RGB."""
    ((_, image),) = draw_cells(seed, {kind: 1})
    return np.asarray(image.convert("RGB"))


def plain_cell(colour: int = 0, side: int = 48) -> Pixels:
    """A small picture of one colour; another `colour` is another content."""
    rgb = (colour >> 16 & 255, colour >> 8 & 255, colour & 255)
    return np.full((side, side, 3), rgb, np.uint8)


def instance(
    pixels: Pixels | None = None,
    *,
    uid: str = "",
    sop_class: str = VL_PHOTOGRAPHIC,
    syntax: UID = ExplicitVRLittleEndian,
    **attributes: Any,
) -> FileDataset:
    """An uncompressed object; `attributes` by keyword (AccessionNumber="A1")."""
    dataset = dicom_of(plain_cell() if pixels is None else pixels, syntax)
    del dataset.PatientName
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(
        uid or generate_uid()
    )
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality = "XC"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def issuer(name: str) -> list[Dataset]:
    """A sequence that names who assigned a number (PS3.3 table 10-17)."""
    item = Dataset()
    item.LocalNamespaceEntityID = name
    return [item]


def specimen_description(identifier: str, assigned_by: str = "") -> list[Dataset]:
    """A Specimen Description Sequence of one item (PS3.3 section C.7.6.22)."""
    item = Dataset()
    item.SpecimenIdentifier = identifier
    item.SpecimenUID = generate_uid()
    item.IssuerOfTheSpecimenIdentifierSequence = issuer(assigned_by) if assigned_by else []
    return [item]


def frames_of(cells: list[Pixels], **attributes: Any) -> FileDataset:
    """A multi-frame true colour object."""
    dataset = instance(cells[0], sop_class=TRUE_COLOUR, **attributes)
    dataset.NumberOfFrames = len(cells)
    dataset.PixelData = b"".join(cell.tobytes() for cell in cells)
    return dataset


def saved(dataset: Dataset, path: Path) -> Path:
    """Write it as a Part 10 file."""
    path.write_bytes(dicom_bytes(dataset))
    return path


def as_upload(dataset: Dataset, name: str = "cell.dcm") -> io.BytesIO:
    """The file as a form would carry it."""
    content = io.BytesIO(dicom_bytes(dataset))
    content.name = name
    return content
