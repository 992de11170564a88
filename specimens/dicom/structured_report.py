"""A report as a DICOM Structured Report: Comprehensive SR, PS3.3 A.35.3.

The content tree stands in structured_report_content.py. UIDs and times follow from the report
alone, so that the same report always gives the same bytes.
"""

import io
from datetime import UTC, datetime, timezone
from typing import Any, Final

from django.utils.timezone import get_default_timezone
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ComprehensiveSRStorage, ExplicitVRLittleEndian

from specimens.dicom import written_values as written
from specimens.dicom.stable_uids import report_uid, series_uid, study_uid
from specimens.dicom.structured_report_content import (
    MANUFACTURER,
    SCHEME,
    devices,
    measurement_report,
)
from specimens.interop.channels import OutgoingReport, SourceInstance

# One for the program, not for each report (PS3.7 D.3.3.2.1).
IMPLEMENTATION_CLASS_UID: Final = "2.25.211563404837466204712936046117426305171"
IMPLEMENTATION_VERSION: Final = "WBCLAB"
# Beside the images' own series, which count from 1.
SERIES_NUMBER: Final = 9500


def structured_report(report: OutgoingReport) -> bytes:
    """Return the Part 10 file of `report`: preliminary and unverified, or final and verified.

    Raises PermanentFailure where an identifier does not fit into DICOM.
    """
    return part10(report_dataset(report))


def part10(dataset: Dataset) -> bytes:
    """Return a data set as a file (PS3.10 section 7), Explicit VR Little Endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    out = io.BytesIO()
    file = FileDataset(out, dataset, file_meta=meta, preamble=b"\0" * 128)
    dcmwrite(out, file, enforce_file_format=True)
    return out.getvalue()


def report_dataset(report: OutgoingReport) -> Dataset:
    """Return the data set of `report`; `structured_report` makes a file of it."""
    content = report.content
    study = study_uid(content, report.sources)
    at = _written_at(report)
    dataset = Dataset()
    dataset.TimezoneOffsetFromUTC = at.strftime("%z")
    dataset.SOPClassUID = ComprehensiveSRStorage
    dataset.SOPInstanceUID = _report_uid(content, report.created_at)
    _add_patient(dataset, content["patient"])
    _add_study(dataset, content, study, at, own=study == study_uid(content, []))
    _add_series(dataset, content, study)
    _add_document(dataset, report, at)
    _add_evidence(dataset, report.sources, study)
    if report.previous is not None:
        _add_predecessor(dataset, report, report.previous)
    for element in measurement_report(report)[0]:
        dataset.add(element)
    written.set_character_set(dataset)
    return dataset


def _report_uid(content: dict[str, Any], created_at: datetime) -> str:
    return report_uid(content, "" if content["signature"] else created_at.isoformat())


def _written_at(report: OutgoingReport) -> datetime:
    """When the document says it was made, with the offset of the laboratory at that time."""
    signature = report.content["signature"]
    at = datetime.fromisoformat(signature["at"]) if signature else report.created_at
    local = at.astimezone(get_default_timezone())
    # A fixed offset: one attribute gives that of every date and time of the document.
    return local.replace(tzinfo=timezone(local.utcoffset() or UTC.utcoffset(None)))


def _add_patient(dataset: Dataset, patient: dict[str, Any]) -> None:
    """Patient module, PS3.3 C.7.1.1."""
    dataset.PatientName = written.person_name(patient["family_name"], patient["given_name"])
    dataset.PatientID = written.identifier(patient["identifier"], "The patient number")
    if patient["issuer"]:
        dataset.IssuerOfPatientID = written.identifier(patient["issuer"], "The issuer")
    dataset.PatientBirthDate = written.day(patient["birth_date"])
    dataset.PatientSex = written.sex(patient)


def _add_study(
    dataset: Dataset, content: dict[str, Any], study: str, at: datetime, *, own: bool
) -> None:
    """General Study module, PS3.3 C.7.2.1. Of a study that came with the images only its UID is
    known here: what was not looked up is left empty.
    """
    specimen = content["specimen"]
    begun = datetime.fromisoformat(specimen["collected_at"] or specimen["received_at"])
    local = begun.astimezone(at.tzinfo)
    dataset.StudyInstanceUID = study
    dataset.StudyDate = written.day(local) if own else ""
    dataset.StudyTime = written.clock(local) if own else ""
    dataset.StudyID = ""
    dataset.AccessionNumber = written.accession_number(specimen["accession_number"])
    dataset.ReferringPhysicianName = written.displayed_name(specimen["requester"])


def _add_series(dataset: Dataset, content: dict[str, Any], study: str) -> None:
    """SR Document Series (C.17.1) and General Equipment (C.7.5.1) modules."""
    dataset.Modality = "SR"
    dataset.SeriesInstanceUID = series_uid(content, study)
    dataset.SeriesNumber = SERIES_NUMBER
    dataset.SeriesDescription = "White-blood-cell differential"
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MANUFACTURER
    versions = [f"{name} {version}" for name, version, _ in devices(content)]
    dataset.SoftwareVersions = [written.line(text) for text in versions]
    dataset.InstitutionName = written.line(content["laboratory"]["name"])


def _add_document(dataset: Dataset, report: OutgoingReport, at: datetime) -> None:
    """SR Document General module, PS3.3 C.17.2."""
    content = report.content
    signature = content["signature"]
    dataset.InstanceNumber = max(1, content["version"])
    dataset.ContentDate, dataset.ContentTime = written.day(at), written.clock(at)
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = written.day(at), written.clock(at)
    dataset.CompletionFlag = "COMPLETE" if signature else "PARTIAL"
    dataset.VerificationFlag = "VERIFIED" if signature else "UNVERIFIED"
    dataset.PreliminaryFlag = "FINAL" if signature else "PRELIMINARY"
    if signature:
        observer = Dataset()
        observer.VerifyingObserverName = written.displayed_name(signature["name"])
        observer.VerifyingOrganization = written.line(content["laboratory"]["name"])
        observer.VerificationDateTime = written.moment(at)
        observer.VerifyingObserverIdentificationCodeSequence = []
        dataset.VerifyingObserverSequence = [observer]
    dataset.PerformedProcedureCodeSequence = []
    scheme = Dataset()
    scheme.CodingSchemeDesignator = SCHEME
    scheme.CodingSchemeName = "wbclab"
    scheme.CodingSchemeResponsibleOrganization = "wbclab"
    dataset.CodingSchemeIdentificationSequence = [scheme]
    dataset.ReferencedRequestSequence = [_request(content, dataset)]


def _request(content: dict[str, Any], dataset: Dataset) -> Dataset:
    """The order it answers (C.17.2, Referenced Request Sequence)."""
    request = Dataset()
    request.StudyInstanceUID = dataset.StudyInstanceUID
    request.ReferencedStudySequence = []
    request.AccessionNumber = dataset.AccessionNumber
    request.PlacerOrderNumberImagingServiceRequest = written.line(
        content["specimen"]["placer_number"]
    )
    request.FillerOrderNumberImagingServiceRequest = written.line(
        content["specimen"]["accession_number"]
    )
    request.RequestedProcedureID = ""
    request.RequestedProcedureDescription = "White-blood-cell differential"
    request.RequestedProcedureCodeSequence = []
    return request


def _add_evidence(dataset: Dataset, sources: list[SourceInstance], study: str) -> None:
    """The images of the same study, and those of others (C.17.2)."""
    same = [source for source in sources if source.study_instance_uid == study]
    other = [source for source in sources if source.study_instance_uid != study]
    if same:
        dataset.CurrentRequestedProcedureEvidenceSequence = _references(same)
    if other:
        dataset.PertinentOtherEvidenceSequence = _references(other)


def _references(sources: list[SourceInstance]) -> list[Dataset]:
    """SOP Instance Reference macro (PS3.3 table C.17-3): studies, their series, their instances."""
    tree: dict[str, dict[str, dict[str, str]]] = {}
    for source in sources:
        series = tree.setdefault(source.study_instance_uid, {})
        instances = series.setdefault(source.series_instance_uid, {})
        instances[source.sop_instance_uid] = source.sop_class_uid
    studies = []
    for study_uid_, series_of_study in tree.items():
        study = Dataset()
        study.ReferencedSeriesSequence = [
            _series_reference(uid, instances) for uid, instances in series_of_study.items()
        ]
        study.StudyInstanceUID = study_uid_
        studies.append(study)
    return studies


def _series_reference(uid: str, instances: dict[str, str]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = uid
    series.ReferencedSOPSequence = [_instance(*pair) for pair in instances.items()]
    return series


def _instance(sop_instance_uid: str, sop_class_uid: str) -> Dataset:
    instance = Dataset()
    instance.ReferencedSOPClassUID = sop_class_uid
    instance.ReferencedSOPInstanceUID = sop_instance_uid
    return instance


def _add_predecessor(dataset: Dataset, report: OutgoingReport, previous: dict[str, Any]) -> None:
    """Name the document of the version before, which this one replaces (C.17.2)."""
    study = study_uid(previous, report.previous_sources)
    before = SourceInstance(
        sop_class_uid=ComprehensiveSRStorage,
        sop_instance_uid=report_uid(previous),
        series_instance_uid=series_uid(previous, study),
        study_instance_uid=study,
        frame=None,
        cell_class="",
    )
    dataset.PredecessorDocumentsSequence = _references([before])
