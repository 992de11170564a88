"""C-STORE and C-ECHO from real senders: what is taken, what is refused, and what is kept of it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE

from classifier.imaging.dicom import SOP_CLASSES, TRANSFER_SYNTAXES
from specimens.dicom.listener import Listener
from specimens.dicom.network import storage_contexts
from specimens.models import (
    AssociationLog,
    CellImage,
    DicomFrame,
    DicomImport,
    DicomInstance,
    Job,
    Specimen,
)
from tests.dicom.encodings import CODINGS
from tests.dicom.files import instance, saved
from tests.dicom.orthanc import orthanc
from tests.dicom.pacs import OURS, SCANNER, fill, listening, sent, statuses, stored, study_of
from tests.factories import Cast, make_cast
from tests.processes import wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def laboratory(settings: Any) -> Cast:
    settings.DICOM_PEERS = [f"{SCANNER}=main", "ORTHANC=main"]
    return make_cast()


@pytest.fixture
def listener(laboratory: Cast, tmp_path: Path) -> Iterator[Listener]:
    with listening(tmp_path) as running:
        yield running


@pytest.fixture
def specimen(laboratory: Cast) -> Specimen:
    return laboratory.specimen(accession_number="A1", order__patient__identifier="P1")


def nothing_left_behind(tmp_path: Path) -> bool:
    return not list((tmp_path / "incoming").iterdir())


@pytest.mark.parametrize("tool", ["storescu", "dcmsend"])
def test_dcmtk_stores_and_everything_is_on_record(
    tool: str, listener: Listener, specimen: Specimen, tmp_path: Path
) -> None:
    stored(tool, listener.port, study_of(tmp_path / "study", "A1", 5))
    assert CellImage.objects.filter(specimen=specimen, source="dicom").count() == 5
    assert Job.objects.filter(state="queued").count() == 5
    kept = DicomInstance.objects.all()
    assert {row.sender for row in kept} == {"SCANNER (127.0.0.1)"}
    assert {row.way for row in kept} == {"c-store"}
    assert nothing_left_behind(tmp_path)
    wait_until(lambda: AssociationLog.objects.filter(state="released").exists(), 10, "logged")
    row = AssociationLog.objects.get()
    assert (row.calling_ae, row.called_ae, row.peer) == (SCANNER, OURS, "127.0.0.1")
    assert (row.stored, row.refused, row.encrypted, row.reason) == (5, 0, False, "")
    assert row.ended_at is not None


def test_sending_again_changes_nothing(
    listener: Listener, specimen: Specimen, tmp_path: Path
) -> None:
    paths = study_of(tmp_path / "study", "A1", 3)
    for _ in range(2):
        stored("storescu", listener.port, paths)
    assert (CellImage.objects.count(), DicomInstance.objects.count()) == (3, 3)
    assert DicomFrame.objects.count() == 3
    assert list(DicomImport.objects.order_by("pk").values_list("outcome", flat=True)) == (
        ["stored"] * 3 + ["duplicate"] * 3
    )


def test_orthanc_sends_a_study(listener: Listener, specimen: Specimen, tmp_path: Path) -> None:
    with orthanc() as pacs:
        fill(pacs, study_of(tmp_path / "study", "A1", 4))
        pacs.put("/modalities/wbclab", [OURS, "127.0.0.1", listener.port])
        assert pacs.post("/modalities/wbclab/echo", {}) == {}
        studies = pacs.get("/studies")
        answer = pacs.post("/modalities/wbclab/store", studies)
    assert answer["FailedInstancesCount"] == 0
    assert CellImage.objects.filter(specimen=specimen).count() == 4


@pytest.mark.parametrize(
    "name", ["implicit", "rle", "jpeg 4:2:2", "jpeg-ls by line", "jpeg-ls near"]
)
def test_each_coding_that_dcmtk_writes_is_negotiated(
    name: str, listener: Listener, specimen: Specimen, tmp_path: Path
) -> None:
    path = CODINGS[name].make(tmp_path)
    stored("dcmsend", listener.port, [path], "--decompress-never")
    assert DicomInstance.objects.get().transfer_syntax_uid == CODINGS[name].syntax


def test_exactly_what_the_statement_lists_is_negotiated(listener: Listener) -> None:
    entity = AE(ae_title=SCANNER)
    listed = {(cx.abstract_syntax, uid) for cx in storage_contexts() for uid in cx.transfer_syntax}
    offered = {(uid, syntax) for uid in SOP_CLASSES for syntax in TRANSFER_SYNTAXES}
    verification = {
        ("1.2.840.10008.1.1", str(uid)) for uid in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    }
    assert listed == offered | verification
    whole_slide, deflated = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.1.2.1.99"
    entity.add_requested_context(whole_slide, ExplicitVRLittleEndian)
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.77.1.4", deflated)
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.77.1.4", ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", listener.port, ae_title=OURS)
    accepted = association.accepted_contexts
    association.release()
    assert [cx.transfer_syntax[0] for cx in accepted] == [ExplicitVRLittleEndian]


def test_what_fits_no_specimen_is_kept_for_a_person(listener: Listener, tmp_path: Path) -> None:
    stored("storescu", listener.port, study_of(tmp_path / "study", "UNKNOWN", 1))
    assert DicomInstance.objects.get().state == "unmatched"
    assert not CellImage.objects.exists()


def test_a_refusal_reaches_the_sender_and_the_next_instance_is_taken(
    listener: Listener, specimen: Specimen, tmp_path: Path
) -> None:
    grey = instance(AccessionNumber="A1")
    grey.PhotometricInterpretation, grey.SamplesPerPixel = "MONOCHROME2", 1
    grey.PixelData = bytes(grey.Rows * grey.Columns)
    good = study_of(tmp_path / "study", "A1", 1)
    bad = saved(grey, tmp_path / "grey.dcm")
    done = sent("storescu", listener.port, [bad, *good], "--no-halt")
    answers = statuses(done)
    assert len(answers) == 2, done.stdout + done.stderr
    assert "Success" not in answers[0]
    assert answers[1] == "Success"
    assert DicomImport.objects.filter(outcome="refused").count() == 1
    assert CellImage.objects.count() == 1
    wait_until(lambda: AssociationLog.objects.filter(state="released").exists(), 10, "logged")
    row = AssociationLog.objects.get()
    assert (row.stored, row.refused) == (1, 1)
    assert "grey" in row.reason.lower()


def test_a_peer_without_a_site_is_told_so(
    listener: Listener, tmp_path: Path, settings: Any
) -> None:
    settings.DICOM_PEERS = [SCANNER]  # two sites, and nothing says which
    done = sent("storescu", listener.port, study_of(tmp_path / "study", "A1", 1))
    assert statuses(done) != ["Success"]
    assert not DicomInstance.objects.exists()
    settings.DICOM_SITE = "main"
    stored("storescu", listener.port, study_of(tmp_path / "study", "A1", 1))


def test_four_associations_at_once(listener: Listener, specimen: Specimen, tmp_path: Path) -> None:
    folders = [study_of(tmp_path / f"s{n}", "A1", 10, first=n * 10) for n in range(4)]
    results: list[int] = []

    def send(paths: list[Path]) -> None:
        results.append(sent("storescu", listener.port, paths).returncode)

    threads = [threading.Thread(target=send, args=(paths,)) for paths in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert results == [0] * 4
    assert CellImage.objects.filter(specimen=specimen).count() == 40
    assert DicomInstance.objects.count() == 40
    assert nothing_left_behind(tmp_path)
