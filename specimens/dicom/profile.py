"""What becomes of each attribute when a data set is de-identified (PS3.15 annex E).

The Basic Application Level Confidentiality Profile with the Retain Longitudinal Temporal
Information With Modified Dates Option, stated the safe way round: this table names what stays and
how. Whatever it does not name (free text, private attributes, curves, overlays, whatever a later
edition adds) is removed at every level.
"""

from enum import Enum, auto
from typing import Final


class Action(Enum):
    """What is done with an attribute; the letters are those of PS3.15 table E.1-1."""

    KEEP = auto()  # K: says nothing of a person, a place or a device
    EMPTY = auto()  # Z: must be there, may be empty
    PSEUDONYM = auto()  # D: the patient's pseudonym
    DUMMY = auto()  # D: a fixed value, where the attribute may not be empty
    UID = auto()  # U: another UID, the same wherever it stood
    SHIFT = auto()  # C, modified dates: moved by the patient's own number of days
    MIDNIGHT = auto()  # D: the time of the day is not kept
    SEQUENCE = auto()  # its items, by this same table


# The dummy of each attribute that may not be empty (type 1).
DUMMIES: Final = {"ContainerIdentifier": "REMOVED", "SpecimenIdentifier": "REMOVED"}

PROFILE: Final[dict[str, Action]] = {
    # SOP Common; the character set is written anew.
    "SOPClassUID": Action.KEEP,
    "SOPInstanceUID": Action.UID,
    # Patient, Study
    "PatientName": Action.PSEUDONYM,
    "PatientID": Action.PSEUDONYM,
    "PatientBirthDate": Action.EMPTY,
    "PatientSex": Action.EMPTY,
    "StudyInstanceUID": Action.UID,
    "StudyDate": Action.SHIFT,
    "StudyTime": Action.MIDNIGHT,
    "StudyID": Action.EMPTY,
    "AccessionNumber": Action.EMPTY,
    "ReferringPhysicianName": Action.EMPTY,
    # Series, Equipment
    "Modality": Action.KEEP,
    "SeriesInstanceUID": Action.UID,
    "SeriesNumber": Action.KEEP,
    "Manufacturer": Action.EMPTY,
    # Specimen
    "ContainerIdentifier": Action.DUMMY,
    "IssuerOfTheContainerIdentifierSequence": Action.EMPTY,
    "ContainerTypeCodeSequence": Action.SEQUENCE,
    "SpecimenDescriptionSequence": Action.SEQUENCE,
    "SpecimenIdentifier": Action.DUMMY,
    "IssuerOfTheSpecimenIdentifierSequence": Action.EMPTY,
    "SpecimenTypeCodeSequence": Action.SEQUENCE,
    "SpecimenUID": Action.UID,
    "SpecimenPreparationSequence": Action.EMPTY,
    # General Image, VL Image
    "InstanceNumber": Action.KEEP,
    "ImageType": Action.KEEP,
    "ContentDate": Action.SHIFT,
    "ContentTime": Action.MIDNIGHT,
    "PatientOrientation": Action.EMPTY,
    "AcquisitionContextSequence": Action.EMPTY,
    "BurnedInAnnotation": Action.KEEP,
    "LossyImageCompression": Action.KEEP,
    "LossyImageCompressionRatio": Action.KEEP,
    "LossyImageCompressionMethod": Action.KEEP,
    # Image Pixel
    "SamplesPerPixel": Action.KEEP,
    "PhotometricInterpretation": Action.KEEP,
    "PlanarConfiguration": Action.KEEP,
    "NumberOfFrames": Action.KEEP,
    "Rows": Action.KEEP,
    "Columns": Action.KEEP,
    "BitsAllocated": Action.KEEP,
    "BitsStored": Action.KEEP,
    "HighBit": Action.KEEP,
    "PixelRepresentation": Action.KEEP,
    "PixelData": Action.KEEP,
    # Inside the code sequences kept above
    "CodeValue": Action.KEEP,
    "CodingSchemeDesignator": Action.KEEP,
    "CodeMeaning": Action.KEEP,
}

# Texts that are kept must be terms of the standard, not of whoever wrote the file: else removed.
TERMS: Final[dict[str, frozenset[str]]] = {
    "Modality": frozenset({"XC", "GM", "SM", "OT"}),
    "ImageType": frozenset({"ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY"}),
    "BurnedInAnnotation": frozenset({"NO"}),
    "LossyImageCompression": frozenset({"00", "01"}),
    "LossyImageCompressionMethod": frozenset(
        {"ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_15"}
    ),
    "PhotometricInterpretation": frozenset(
        {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
    ),
    "CodeValue": frozenset({"433466003", "119297000"}),
    "CodingSchemeDesignator": frozenset({"SCT", "DCM"}),
    "CodeMeaning": frozenset({"Microscope slide", "Blood specimen"}),
}

# PS3.16 CID 7050.
METHOD_CODES: Final = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
METHOD: Final = "PS3.15 E.1 Basic Profile, modified dates, list of what stays"
