"""A cell image as a DICOM object: VL Photographic Image, PS3.3 A.32.4."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    VLPhotographicImageStorage,
)

from specimens.dicom import written_values as written
from specimens.dicom.export_pixels import Picture
from specimens.dicom.stable_uids import specimen_key, specimen_uid, stable_uid
from specimens.dicom.structured_report import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from specimens.dicom.structured_report_content import MANUFACTURER
from specimens.interop.channels import SourceInstance

# Beside the series of the archive's own images and of the reports.
SERIES_NUMBER: Final = 9400


@dataclass(frozen=True, slots=True)
class CellFacts:
    """What is known of one cell image, apart from its pixels.

    Attributes:
        number: its place in the export, from 1.
        sha256: of the file it came in, and of the frame.
        taken_in_at: when it came in.
        container: label of the slide; empty: the accession number.
        source: the DICOM frame it is, where it came as one.
    """

    number: int
    sha256: str
    taken_in_at: datetime
    container: str
    source: SourceInstance | None


def cell_instance(
    picture: Picture, cell: CellFacts, content: dict[str, Any], study: str, software: str
) -> Dataset:
    """Return the data set of a cell image; `content` names laboratory, patient and specimen as
    Report.content does.

    Raises PermanentFailure where an identifier does not fit into DICOM.
    """
    dataset = Dataset()
    dataset.SOPClassUID = VLPhotographicImageStorage
    dataset.SOPInstanceUID = cell_uid(content, cell)
    _add_patient_and_study(dataset, content, study, cell)
    _add_series_and_equipment(dataset, content, study, software)
    _add_specimen(dataset, content, cell)
    _add_image(dataset, picture, cell)
    _add_pixels(dataset, picture)
    written.set_character_set(dataset)
    return dataset


def check_identifiers(content: dict[str, Any]) -> None:
    """Raise PermanentFailure where an identifier does not fit into DICOM, before a file is made."""
    patient = content["patient"]
    written.identifier(patient["identifier"], "The patient number")
    written.identifier(patient["issuer"], "The issuer")
    written.identifier(content["specimen"]["accession_number"], "The accession number")


def cell_uid(content: dict[str, Any], cell: CellFacts) -> str:
    """Return the SOP Instance UID of a cell: the same in each export."""
    return stable_uid("cell", *specimen_key(content), cell.sha256)


def write_instance(dataset: Dataset, out: Any) -> None:
    """Write the Part 10 file of a data set made here."""
    is_jpeg = dataset["PixelData"].is_undefined_length
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = JPEGBaseline8Bit if is_jpeg else ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    dataset.file_meta = meta
    dcmwrite(out, dataset, enforce_file_format=True)


def _add_patient_and_study(
    dataset: Dataset, content: dict[str, Any], study: str, cell: CellFacts
) -> None:
    """Patient (C.7.1.1) and General Study (C.7.2.1) modules."""
    patient, specimen = content["patient"], content["specimen"]
    dataset.PatientName = written.person_name(patient["family_name"], patient["given_name"])
    dataset.PatientID = written.identifier(patient["identifier"], "The patient number")
    if patient["issuer"]:
        dataset.IssuerOfPatientID = written.identifier(patient["issuer"], "The issuer")
    dataset.PatientBirthDate = written.day(patient["birth_date"])
    dataset.PatientSex = written.sex(patient)
    begun = datetime.fromisoformat(specimen["collected_at"] or specimen["received_at"])
    is_own = cell.source is None or cell.source.study_instance_uid != study
    dataset.StudyInstanceUID = study
    dataset.StudyDate = written.day(begun) if is_own else ""
    dataset.StudyTime = written.clock(begun) if is_own else ""
    dataset.StudyID = ""
    dataset.AccessionNumber = written.accession_number(specimen["accession_number"])
    dataset.ReferringPhysicianName = written.displayed_name(specimen["requester"])


def _add_series_and_equipment(
    dataset: Dataset, content: dict[str, Any], study: str, software: str
) -> None:
    """General Series (C.7.3.1) and General Equipment (C.7.5.1) modules."""
    dataset.Modality = "XC"
    dataset.SeriesInstanceUID = stable_uid("cells", study, *specimen_key(content))
    dataset.SeriesNumber = SERIES_NUMBER
    dataset.SeriesDescription = "Blood cells"
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MANUFACTURER
    dataset.SoftwareVersions = written.line(software)
    dataset.InstitutionName = written.line(content["laboratory"]["name"])


def _add_specimen(dataset: Dataset, content: dict[str, Any], cell: CellFacts) -> None:
    """Specimen module, C.7.6.22."""
    number = written.identifier(content["specimen"]["accession_number"], "The accession number")
    dataset.ContainerIdentifier = written.line(cell.container) or number
    dataset.IssuerOfTheContainerIdentifierSequence = []
    dataset.ContainerTypeCodeSequence = [_code("433466003", "SCT", "Microscope slide")]
    described = Dataset()
    described.SpecimenIdentifier = number
    described.IssuerOfTheSpecimenIdentifierSequence = []
    described.SpecimenTypeCodeSequence = [_code("119297000", "SCT", "Blood specimen")]
    described.SpecimenUID = specimen_uid(content)
    described.SpecimenPreparationSequence = []
    dataset.SpecimenDescriptionSequence = [described]


def _add_image(dataset: Dataset, picture: Picture, cell: CellFacts) -> None:
    """General Image (C.7.6.1), Acquisition Context (C.7.6.14) and VL Image (C.8.12.1) modules."""
    dataset.InstanceNumber = cell.number
    dataset.ImageType = ["DERIVED" if cell.source else "ORIGINAL", "PRIMARY"]
    dataset.ContentDate = written.day(cell.taken_in_at)
    dataset.ContentTime = written.clock(cell.taken_in_at)
    dataset.PatientOrientation = ""  # of a cell on a slide there is none
    dataset.AcquisitionContextSequence = []
    if picture.burned_in in ("YES", "NO"):
        dataset.BurnedInAnnotation = picture.burned_in
    if cell.source is not None:
        origin = Dataset()
        origin.ReferencedSOPClassUID = cell.source.sop_class_uid
        origin.ReferencedSOPInstanceUID = cell.source.sop_instance_uid
        if cell.source.frame is not None:
            origin.ReferencedFrameNumber = cell.source.frame
        purpose = _code("121322", "DCM", "Source image for image processing operation")
        origin.PurposeOfReferenceCodeSequence = [purpose]
        dataset.SourceImageSequence = [origin]
    dataset.LossyImageCompression = "01" if picture.lossy_method else "00"
    if picture.lossy_method and picture.lossy_ratio:
        dataset.LossyImageCompressionRatio = round(picture.lossy_ratio, 2)
        dataset.LossyImageCompressionMethod = picture.lossy_method


def _add_pixels(dataset: Dataset, picture: Picture) -> None:
    """Image Pixel (C.7.6.3) and ICC Profile (C.11.15) modules."""
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = picture.photometric
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = picture.rows, picture.columns
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    if picture.profile:
        dataset.ICCProfile = picture.profile
    if picture.is_jpeg:
        dataset.PixelData = encapsulate([picture.data])
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PixelData = picture.data + b"\0" * (len(picture.data) % 2)
    dataset["PixelData"].VR = "OB"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
