"""Taking instances in: matched, unmatched, quarantined, refused; once, however often they come."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from pydicom.uid import ImplicitVRLittleEndian

from specimens.dicom.refusals import DicomRefusal
from specimens.models import (
    AuditEvent,
    CellImage,
    DicomFrame,
    DicomImport,
    DicomInstance,
    Job,
    Order,
    Specimen,
)
from specimens.services.dicom_import import ImportOutcome, receive_instance
from specimens.services.dicom_import_decisions import discard_instance
from specimens.services.imaging import add_cell_images
from tests.dicom.files import frames_of, instance, plain_cell, saved
from tests.factories import Cast

pytestmark = [pytest.mark.core, pytest.mark.django_db]

Receive = Callable[..., ImportOutcome]


@pytest.fixture
def receive(cast: Cast, tmp_path: Path) -> Receive:
    """Send a data set, as the technician or as somebody else."""

    def send(dataset: Any, **more: Any) -> ImportOutcome:
        path = saved(dataset, tmp_path / "sent.dcm")
        values = {"actor": None, "site": cast.site, "sender": "PACS", "way": "c-store"}
        return receive_instance(path=path, **(values | more))

    return send


def files_kept() -> int:
    folder = Path(default_storage.path("dicom"))
    return sum(1 for path in folder.rglob("*.dcm")) if folder.exists() else 0


def test_a_matched_instance_becomes_a_cell_image_with_a_job(cast: Cast, receive: Receive) -> None:
    specimen = cast.specimen(accession_number="A1")
    dataset = instance(AccessionNumber="A1", PixelSpacing=["0.0001", "0.0001"])
    outcome = receive(dataset)
    assert (outcome.state, outcome.specimen_id) == ("stored", specimen.pk)
    image = CellImage.objects.get(pk=outcome.cell_image_ids[0])
    assert (image.specimen, image.frame, image.source) == (specimen, 1, "dicom")
    assert (image.width, image.height, image.media_type) == (48, 48, "application/dicom")
    assert image.micrometres_per_pixel == pytest.approx(0.1)
    assert Job.objects.get().cell_image == image
    kept = DicomInstance.objects.get()
    assert (kept.state, kept.sop_instance_uid) == ("matched", dataset.SOPInstanceUID)
    assert image.dicom_frame.instance == kept
    specimen.refresh_from_db()
    assert specimen.state == Specimen.State.IMAGED
    assert AuditEvent.objects.filter(action="specimen.images_added", specimen=specimen).exists()
    log = DicomImport.objects.get()
    assert (log.outcome, log.sender, log.way, log.instance) == ("stored", "PACS", "c-store", kept)


def test_the_file_is_kept_as_it_came(cast: Cast, receive: Receive, tmp_path: Path) -> None:
    cast.specimen(accession_number="A1")
    receive(instance(AccessionNumber="A1"))
    kept = DicomInstance.objects.get()
    with kept.file.open("rb") as file:
        assert file.read() == (tmp_path / "sent.dcm").read_bytes()


def test_each_frame_is_a_cell_image(cast: Cast, receive: Receive) -> None:
    cast.specimen(accession_number="A1")
    cells = [plain_cell(1), plain_cell(2), plain_cell(1)]
    outcome = receive(frames_of(cells, AccessionNumber="A1"))
    images = CellImage.objects.order_by("frame")
    assert [image.pk for image in images] == list(outcome.cell_image_ids)
    assert [image.frame for image in images] == [1, 2, 3]
    assert len({image.sha256 for image in images}) == 3
    assert len({image.file.name for image in images}) == 1
    assert len({image.thumbnail_name for image in images}) == 3
    assert Job.objects.count() == 3
    first, _, third = DicomFrame.objects.order_by("number")
    assert first.sha256 == third.sha256


def test_the_same_again_changes_nothing(cast: Cast, receive: Receive) -> None:
    cast.specimen(accession_number="A1")
    dataset = frames_of([plain_cell(1), plain_cell(2)], AccessionNumber="A1")
    first = receive(dataset)
    again = receive(dataset)
    assert (again.state, again.cell_image_ids) == ("duplicate", first.cell_image_ids)
    assert (CellImage.objects.count(), Job.objects.count(), files_kept()) == (2, 2, 1)
    assert list(DicomImport.objects.order_by("pk").values_list("outcome", flat=True)) == [
        "stored",
        "duplicate",
    ]


def test_the_same_in_another_coding_is_the_same(cast: Cast, receive: Receive) -> None:
    cast.specimen(accession_number="A1")
    dataset = instance(plain_cell(5), AccessionNumber="A1")
    receive(dataset)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert receive(dataset).state == "duplicate"


@pytest.mark.parametrize(
    "change",
    [
        lambda d: setattr(d, "PixelData", plain_cell(9).tobytes()),
        lambda d: setattr(d, "PatientID", "somebody else"),
        lambda d: setattr(d, "PhotometricInterpretation", "YBR_FULL"),
    ],
    ids=["pixels", "patient", "colours"],
)
def test_other_content_under_the_same_uid_is_quarantined(
    change: Callable[[Any], None], cast: Cast, receive: Receive
) -> None:
    cast.specimen(accession_number="A1")
    dataset = instance(plain_cell(1), AccessionNumber="A1")
    first = receive(dataset)
    change(dataset)
    second = receive(dataset)
    assert second.state == "quarantined"
    assert "other content" in second.text
    assert CellImage.objects.count() == 1
    odd = DicomInstance.objects.get(state="quarantined")
    assert odd.conflicts_with_id == first.instance_id
    assert AuditEvent.objects.filter(action="dicom.quarantined").count() == 1
    # However often it comes.
    assert receive(dataset).state == "quarantined"
    assert (DicomInstance.objects.count(), files_kept()) == (2, 2)


def test_what_nobody_knows_is_kept_and_waits(cast: Cast, receive: Receive) -> None:
    outcome = receive(instance(AccessionNumber="A9"))
    assert (outcome.state, outcome.specimen_id, outcome.cell_image_ids) == ("unmatched", None, ())
    assert "A9" in outcome.text
    assert not CellImage.objects.exists()
    assert AuditEvent.objects.filter(action="dicom.unmatched").count() == 1
    assert receive(instance(uid=outcome.sop_instance_uid)).state == "quarantined"


def test_a_discarded_instance_stays_discarded(cast: Cast, receive: Receive) -> None:
    dataset = instance(AccessionNumber="A9")
    receive(dataset)
    kept = DicomInstance.objects.get()
    discard_instance(actor=cast.technician, instance=kept, reason="A test picture.")
    again = receive(dataset)
    assert again.state == "duplicate"
    assert "A test picture." in again.text
    kept.refresh_from_db()
    assert kept.state == "discarded"


def test_a_specimen_that_takes_no_more_images(cast: Cast, receive: Receive) -> None:
    cast.specimen(accession_number="A1", state=Specimen.State.SIGNED_OUT)
    outcome = receive(instance(AccessionNumber="A1"))
    assert outcome.state == "unmatched"
    assert "signed out" in outcome.text


def test_a_refusal_is_in_the_log_with_its_reason(
    cast: Cast, receive: Receive, tmp_path: Path
) -> None:
    dataset = instance(PhotometricInterpretation="MONOCHROME2")
    with pytest.raises(DicomRefusal) as caught:
        receive(dataset)
    assert (caught.value.code, caught.value.dicom_status) == ("unsupported_mode", 0xA900)
    log = DicomImport.objects.get()
    assert (log.outcome, log.code, log.sender) == ("refused", "unsupported_mode", "PACS")
    assert log.sop_instance_uid == dataset.SOPInstanceUID
    assert "MONOCHROME2" in log.text
    assert (files_kept(), DicomInstance.objects.count()) == (0, 0)


def test_a_full_queue_asks_the_sender_to_come_again(
    cast: Cast, receive: Receive, settings: Any
) -> None:
    settings.QUEUE_LIMIT = 0
    specimen = cast.specimen()
    Job.objects.create(
        cell_image=CellImage.objects.create(
            site=cast.site, specimen=specimen, sha256="0", filename="x", media_type="x", size=1,
            source="demo",
        ),
        site=cast.site,
    )  # fmt: skip
    with pytest.raises(DicomRefusal) as caught:
        receive(instance())
    assert caught.value.dicom_status == 0xA700
    assert caught.value.may_pass
    assert (files_kept(), DicomInstance.objects.count()) == (0, 0)


def test_a_full_queue_lets_stat_objects_in_up_to_its_own_limit(
    cast: Cast, receive: Receive, settings: Any
) -> None:
    settings.QUEUE_LIMIT = 0
    routine, stat = cast.specimen(accession_number="A1"), cast.specimen(accession_number="A2")
    Order.objects.filter(pk=stat.order_id).update(priority="stat")
    assert receive(instance(AccessionNumber="A1")).specimen_id == routine.pk
    with pytest.raises(DicomRefusal, match="full"):
        receive(instance(AccessionNumber="A1"))
    assert receive(instance(AccessionNumber="A2")).specimen_id == stat.pk
    with pytest.raises(DicomRefusal, match="full"):
        receive(instance(AccessionNumber="A2"))
    assert (files_kept(), DicomInstance.objects.count()) == (2, 2)


def test_a_full_disk_asks_the_sender_to_come_again(
    cast: Cast, receive: Receive, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "occupied").write_bytes(b"")
    settings.MEDIA_ROOT = tmp_path / "occupied"
    with pytest.raises(DicomRefusal) as caught:
        receive(instance())
    assert (caught.value.code, caught.value.dicom_status) == ("storage_unavailable", 0xA700)
    assert not DicomInstance.objects.exists()


def test_a_person_needs_the_role_and_the_site(cast: Cast, receive: Receive) -> None:
    for actor in (cast.administrator, cast.outsider):
        with pytest.raises(DicomRefusal) as caught:
            receive(instance(), actor=actor, way="upload")
        assert (caught.value.code, caught.value.dicom_status) == ("not_allowed", 0x0124)


class TestDroppedOnASpecimen:
    """A person says where it belongs; the identifiers may disagree."""

    def drop(self, receive: Receive, cast: Cast, dataset: Any, specimen: Specimen, **more: Any):
        return receive(
            dataset, actor=cast.technician, way="upload", sender="technician",
            specimen=specimen, **more,
        )  # fmt: skip

    def test_without_identifiers_it_belongs_there(self, cast: Cast, receive: Receive) -> None:
        specimen = cast.specimen()
        assert self.drop(receive, cast, instance(), specimen).specimen_id == specimen.pk

    @pytest.mark.parametrize(
        ("attributes", "words"),
        [
            ({"AccessionNumber": "A2"}, "accession number A2"),
            ({"PatientID": "another"}, "patient another"),
            ({"ContainerIdentifier": "A2"}, "fit specimen A2"),
        ],
    )
    def test_with_others_it_is_refused_unless_confirmed(
        self, attributes: dict[str, Any], words: str, cast: Cast, receive: Receive
    ) -> None:
        specimen = cast.specimen(accession_number="A1")
        cast.specimen(accession_number="A2")
        dataset = instance(**attributes)
        with pytest.raises(DicomRefusal) as caught:
            self.drop(receive, cast, dataset, specimen)
        assert caught.value.code == "identifiers_disagree"
        assert words in caught.value.text
        assert not DicomInstance.objects.exists()
        outcome = self.drop(receive, cast, dataset, specimen, confirmed=True)
        assert (outcome.state, outcome.specimen_id) == ("stored", specimen.pk)
        confirmed = AuditEvent.objects.get(action="dicom.confirmed")
        assert (confirmed.actor, words in confirmed.details["reason"]) == (cast.technician, True)

    def test_what_waited_is_assigned(self, cast: Cast, receive: Receive) -> None:
        specimen = cast.specimen()
        dataset = instance()
        receive(dataset)
        outcome = self.drop(receive, cast, dataset, specimen)
        assert (outcome.state, len(outcome.cell_image_ids)) == ("stored", 1)
        assert DicomInstance.objects.get().state == "matched"

    def test_what_is_counted_elsewhere_is_not_added(self, cast: Cast, receive: Receive) -> None:
        cast.specimen(accession_number="A1")
        other = cast.specimen()
        dataset = instance(AccessionNumber="A1")
        receive(dataset)
        with pytest.raises(DicomRefusal) as caught:
            self.drop(receive, cast, dataset, other, confirmed=True)
        assert caught.value.code == "counted_elsewhere"
        assert "A1" in caught.value.text

    def test_a_signed_specimen_takes_nothing(self, cast: Cast, receive: Receive) -> None:
        specimen = cast.specimen(state=Specimen.State.SIGNED_OUT)
        with pytest.raises(DicomRefusal) as caught:
            self.drop(receive, cast, instance(), specimen)
        assert caught.value.code == "not_in_this_state"
        assert files_kept() == 0


def test_a_file_that_was_uploaded_plainly_before_is_linked(
    cast: Cast, receive: Receive, tmp_path: Path
) -> None:
    specimen = cast.specimen(accession_number="A1")
    dataset = instance(AccessionNumber="A1")
    content = saved(dataset, tmp_path / "sent.dcm").read_bytes()
    (before,) = add_cell_images(
        actor=cast.technician,
        site=cast.site,
        specimen=specimen,
        uploads=[SimpleUploadedFile("cell.dcm", content)],
    )
    assert before.cell_image is not None
    assert receive(dataset).cell_image_ids == (before.cell_image.pk,)
    assert CellImage.objects.count() == 1
