"""Structured reports: made from signed reports, stored in a real archive, read back by dcmtk."""

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from specimens.dicom.structured_report import structured_report
from specimens.interop.channels import OutgoingReport, PermanentFailure, SourceInstance
from specimens.interop.codes import default_codes
from specimens.models import Delivery, Destination, Patient, Specimen
from specimens.services.deliveries import enqueue_preliminary
from specimens.services.deliveries_sending import outgoing_report
from tests.dicom.files import VL_PHOTOGRAPHIC
from tests.dicom.orthanc import AE_TITLE, Orthanc, orthanc
from tests.dicom.reported import (
    dciodvfy_errors,
    deliver,
    delivered,
    dicom_case,
    dsrdump,
    reports_of,
)
from tests.factories import Cast
from tests.interop.outbox import amend, make_cells, reviewed_case, sign

pytestmark = pytest.mark.django_db

COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"


@pytest.fixture(scope="module")
def archive() -> Iterator[Orthanc]:
    with orthanc() as running:
        yield running


@pytest.fixture
def pacs(archive: Orthanc, settings: Any) -> Orthanc:
    """The archive, empty."""
    settings.DELIVERY_ALLOWED_HOSTS = ["127.0.0.1"]
    archive.post("/tools/bulk-delete", {"Resources": archive.get("/patients")})
    return archive


def destination_of(cast: Cast, pacs: Orthanc, kind: str, **values: Any) -> Destination:
    given: dict[str, Any] = {
        "dicom_store": {
            "address": pacs.dicom_address,
            "settings": {"called_ae": AE_TITLE, "timeout_seconds": 20},
        },
        "dicom_stow": {"address": pacs.web_url, "settings": {}},
    }[kind]
    return Destination.objects.create(site=cast.site, name=kind, kind=kind, **(given | values))


def in_archive(pacs: Orthanc, folder: Path) -> list[tuple[Dataset, Path]]:
    """Every structured report of the archive, the oldest version first, with its file."""
    found = []
    for number, name in enumerate(pacs.get("/instances")):
        path = folder / f"fetched-{number}.dcm"
        path.write_bytes(pacs.file(name))
        found.append((dcmread(path), path))
    return sorted(found, key=lambda pair: int(pair[0].InstanceNumber))


def items(dataset: Dataset) -> Iterator[Dataset]:
    """Every content item below a data set."""
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from items(item)


def named(dataset: Dataset, meaning: str) -> list[Dataset]:
    """The content items with a concept name."""
    return [i for i in items(dataset) if i.ConceptNameCodeSequence[0].CodeMeaning == meaning]


def numbers(dataset: Dataset) -> dict[str, str]:
    """The percentages by code of the concept."""
    return {
        item.ConceptNameCodeSequence[0].CodeValue: str(item.MeasuredValueSequence[0].NumericValue)
        for item in items(dataset)
        if item.ValueType == "NUM" and "CodeValue" in item.ConceptNameCodeSequence[0]
    }


@pytest.mark.parametrize("kind", ["dicom_store", "dicom_stow"])
def test_a_signed_report_is_in_the_archive_verified(
    kind: str, cast: Cast, pacs: Orthanc, tmp_path: Path
) -> None:
    case, study = dicom_case(cast, tmp_path, frames=2)
    destination = destination_of(cast, pacs, kind)
    report = sign(cast.pathologist, case)
    done = delivered(destination)
    ((found, path),) = in_archive(pacs, tmp_path)
    text = dsrdump(path)
    assert dciodvfy_errors(path) == []
    assert (found.SOPClassUID, found.StudyInstanceUID) == (COMPREHENSIVE_SR, study)
    assert done.payload is not None
    assert dcmread(io.BytesIO(bytes(done.payload))).SOPInstanceUID == found.SOPInstanceUID
    assert (found.VerificationFlag, found.CompletionFlag, found.PreliminaryFlag) == (
        "VERIFIED", "COMPLETE", "FINAL",
    )  # fmt: skip
    (observer,) = found.VerifyingObserverSequence
    assert observer.VerifyingObserverName.family_name == cast.pathologist.display_name
    assert observer.VerifyingOrganization == cast.site.name
    verified = datetime.strptime(str(observer.VerificationDateTime), "%Y%m%d%H%M%S%z")
    assert verified == report.signed_at.replace(microsecond=0)
    assert (found.AccessionNumber, found.PatientID) == (
        case.accession_number, case.order.patient.identifier,
    )  # fmt: skip
    percent = {row["key"]: row["percent"] for row in report.content["differential"]}
    assert percent["neutrophil"] == "66.7"  # 4 of 6
    assert numbers(found)["26511-6"] == "66.7"
    assert numbers(found)["26508-2"] == percent["band_neutrophil"]
    assert "Verification Flag   : VERIFIED" in text


def test_the_report_names_what_it_rests_on(cast: Cast, pacs: Orthanc, tmp_path: Path) -> None:
    case, study = dicom_case(cast, tmp_path, frames=2)
    destination = destination_of(cast, pacs, "dicom_store")
    sign(cast.pathologist, case)
    delivered(destination)
    ((found, _),) = in_archive(pacs, tmp_path)
    (evidence,) = found.CurrentRequestedProcedureEvidenceSequence
    assert evidence.StudyInstanceUID == study
    (series,) = evidence.ReferencedSeriesSequence
    received = set(case.dicom_instances.values_list("sop_instance_uid", flat=True))
    assert {one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence} == received
    images = [one.ReferencedSOPSequence[0] for one in items(found) if one.ValueType == "IMAGE"]
    assert {one.ReferencedSOPInstanceUID for one in images} == received
    frames = [list(one.ReferencedFrameNumber) for one in images if "ReferencedFrameNumber" in one]
    assert frames == [[1, 2]]
    devices = [one.TextValue for one in named(found, "Device Observer Name")]
    assert devices == ["wbclab", "dm-fnet"]
    assert {one.TextValue for one in named(found, "Algorithm Version")} == {"1.0"}
    (identifier,) = named(found, "Specimen Identifier")
    assert identifier.TextValue == case.accession_number
    lower = named(found, "Lower 95% confidence limit (Clopper-Pearson)")
    assert len(lower) == len(named(found, "Upper 95% confidence limit (Clopper-Pearson)")) >= 5
    assert lower[0].ConceptNameCodeSequence[0].CodingSchemeDesignator == "99WBCLAB"


def test_an_amended_report_names_the_one_it_replaces(
    cast: Cast, pacs: Orthanc, tmp_path: Path
) -> None:
    case, study = dicom_case(cast, tmp_path)
    destination = destination_of(cast, pacs, "dicom_store")
    sign(cast.pathologist, case)
    delivered(destination)
    amend(cast.pathologist, case)
    delivered(destination)
    (first, _), (second, path) = in_archive(pacs, tmp_path)
    dsrdump(path)
    assert dciodvfy_errors(path) == []
    assert "PredecessorDocumentsSequence" not in first
    (before,) = second.PredecessorDocumentsSequence
    (series,) = before.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert instance.ReferencedSOPInstanceUID == first.SOPInstanceUID != second.SOPInstanceUID
    assert series.SeriesInstanceUID == first.SeriesInstanceUID == second.SeriesInstanceUID
    assert before.StudyInstanceUID == first.StudyInstanceUID == second.StudyInstanceUID == study
    assert [i.TextValue for i in named(second, "Reason for the amendment")] == ["Looked again."]


def test_before_the_signature_it_is_unverified(cast: Cast, pacs: Orthanc, tmp_path: Path) -> None:
    case, _ = dicom_case(cast, tmp_path)
    destination = destination_of(cast, pacs, "dicom_store", events=["preliminary", "final"])
    enqueue_preliminary(specimen=case)
    delivered(destination)
    ((found, path),) = in_archive(pacs, tmp_path)
    dsrdump(path)
    assert dciodvfy_errors(path) == []
    assert (found.VerificationFlag, found.CompletionFlag, found.PreliminaryFlag) == (
        "UNVERIFIED", "PARTIAL", "PRELIMINARY",
    )  # fmt: skip
    assert "VerifyingObserverSequence" not in found
    assert named(found, "Person Observer Name") == []
    methods = {i.ConceptCodeSequence[0].LongCodeValue for i in named(found, "Measurement Method")}
    assert methods == {"image-based-unverified"}


def test_a_report_on_pictures_that_are_no_dicom(cast: Cast, pacs: Orthanc, tmp_path: Path) -> None:
    case = reviewed_case(cast, make_cells())
    destination = destination_of(cast, pacs, "dicom_stow")
    sign(cast.pathologist, case)
    delivered(destination)
    ((found, path),) = in_archive(pacs, tmp_path)
    dsrdump(path)
    assert dciodvfy_errors(path) == []
    assert "CurrentRequestedProcedureEvidenceSequence" not in found
    assert not [item for item in items(found) if item.ValueType == "IMAGE"]
    assert [i.TextValue for i in named(found, "Specimen Container Identifier")] == [
        case.accession_number
    ]
    amend(cast.pathologist, case)
    delivered(destination)
    _, (second, _) = in_archive(pacs, tmp_path)
    assert second.StudyInstanceUID == found.StudyInstanceUID


def test_an_archive_that_was_killed_has_one_report_in_the_end(
    cast: Cast, pacs: Orthanc, tmp_path: Path
) -> None:
    case, _ = dicom_case(cast, tmp_path)
    store = destination_of(cast, pacs, "dicom_store")
    stow = destination_of(cast, pacs, "dicom_stow")
    sign(cast.pathologist, case)
    pacs.kill()
    for destination in (store, stow):
        tried = deliver(destination)
        assert tried.state == Delivery.State.DUE
        assert "cannot be reached" in tried.last_error
    pacs.start()
    Delivery.objects.update(due_at=tried.created_at)
    Destination.objects.update(paused_until=None)
    sent = [delivered(destination) for destination in (store, stow)]
    # As a deliverer does that was killed before it could note the receipt.
    Delivery.objects.update(state=Delivery.State.DUE, due_at=tried.created_at)
    again = [delivered(destination) for destination in (store, stow)]
    assert [one.attempts for one in again] > [one.attempts for one in sent]
    assert len(pacs.get("/instances")) == 1


def test_a_report_is_made_the_same_each_time(cast: Cast, pacs: Orthanc, tmp_path: Path) -> None:
    case, _ = dicom_case(cast, tmp_path)
    one, other = (destination_of(cast, pacs, k) for k in ("dicom_store", "dicom_stow"))
    sign(cast.pathologist, case)
    made = [outgoing_report(Delivery.objects.get(destination=d)) for d in (one, other)]
    assert structured_report(made[0]) == structured_report(made[1]) == structured_report(made[0])


def test_dicom_sources_that_came_for_the_amendment_do_not_change_the_predecessor(
    cast: Cast, pacs: Orthanc, tmp_path: Path
) -> None:
    case = reviewed_case(cast, make_cells())
    destination_of(cast, pacs, "dicom_store")
    sign(cast.pathologist, case)
    (first,) = Delivery.objects.all()
    before = dcmread(io.BytesIO(structured_report(outgoing_report(first))))
    amend(cast.pathologist, case)
    report = outgoing_report(Delivery.objects.latest("pk"))
    assert report.previous_sources == []
    late = SourceInstance(VL_PHOTOGRAPHIC, "1.2.3.1", "1.2.3", "1.2", None, "neutrophil")
    second = dcmread(io.BytesIO(structured_report(replace(report, sources=[late]))))
    assert second.StudyInstanceUID == "1.2" != before.StudyInstanceUID
    (predecessor,) = second.PredecessorDocumentsSequence
    assert predecessor.StudyInstanceUID == before.StudyInstanceUID


# --- without an archive ---------------------------------------------------------------------------
def rendered(case: Specimen, **changes: Any) -> bytes:
    """The report of a signed case; `changes` are made to the content's patient or specimen."""
    content = reports_of(case)[-1].content
    for part, values in changes.items():
        content = content | {part: content[part] | values}
    return structured_report(
        OutgoingReport(
            message_id="m", event="final", content=content, previous=None,
            created_at=datetime(2026, 1, 2, tzinfo=UTC), pdf=lambda: b"", codes=default_codes(),
            sources=[], report_id="1", previous_report_id="",
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("family", "given", "shown", "character_set"),
    [
        ("Musterfrau", "Erika", "Musterfrau^Erika", None),
        ("Müller", "Jürgen", "Müller^Jürgen", "ISO_IR 100"),
        ("Παπαδοπούλου", "Ελένη", "Παπαδοπούλου^Ελένη", "ISO_IR 192"),
        ("O^Neil=\\x", "A\nB", "O Neil x^A B", None),
        ("x" * 100, "y" * 100, "x" * 64, None),
    ],
)
def test_names_and_their_character_sets(
    family: str, given: str, shown: str, character_set: str | None, cast: Cast, tmp_path: Path
) -> None:
    case = reviewed_case(cast, make_cells())
    sign(cast.pathologist, case)
    data = rendered(case, patient={"family_name": family, "given_name": given})
    found = dcmread(io.BytesIO(data))
    assert str(found.PatientName) == shown
    assert found.get("SpecificCharacterSet") == character_set
    path = tmp_path / "report.dcm"
    path.write_bytes(data)
    assert dciodvfy_errors(path) == []
    if character_set != "ISO_IR 192":  # dcmtk 3.6.7 says of each that it cannot check it
        dsrdump(path)


@pytest.mark.parametrize("number", ["12\\34", "x" * 65, "a\tb"])
def test_an_identifier_that_dicom_cannot_hold_is_held(
    number: str, cast: Cast, pacs: Orthanc
) -> None:
    case = reviewed_case(cast, make_cells())
    sign(cast.pathologist, case)
    with pytest.raises(PermanentFailure, match="The patient number"):
        rendered(case, patient={"identifier": number})
    Patient.objects.filter(pk=case.order.patient_id).update(identifier=number[:64])
    if len(number) > 64:
        return
    destination = destination_of(cast, pacs, "dicom_store")
    amend(cast.pathologist, Specimen.objects.get(pk=case.pk))
    held = deliver(destination)
    assert held.state == Delivery.State.HELD
    assert "The patient number" in held.last_error


def test_a_long_accession_number_stands_in_the_specimen_identifier(cast: Cast) -> None:
    case = reviewed_case(cast, make_cells())
    sign(cast.pathologist, case)
    found = dcmread(io.BytesIO(rendered(case, specimen={"accession_number": "A" * 32})))
    assert found.AccessionNumber == ""
    assert [item.TextValue for item in named(found, "Specimen Identifier")] == ["A" * 32]
    (request,) = found.ReferencedRequestSequence
    assert request.FillerOrderNumberImagingServiceRequest == "A" * 32


def test_uids_of_a_root_of_the_laboratory(cast: Cast, settings: Any) -> None:
    case = reviewed_case(cast, make_cells())
    sign(cast.pathologist, case)
    usual = dcmread(io.BytesIO(rendered(case)))
    settings.DICOM_UID_ROOT = "1.2.276.0.99"
    own = dcmread(io.BytesIO(rendered(case)))
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert getattr(usual, name).startswith("2.25.")
        assert getattr(own, name).startswith("1.2.276.0.99.")
        assert getattr(own, name).is_valid
