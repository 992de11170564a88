"""The ways in: the specimen's page, REST, and the command."""

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from specimens.models import CellImage, DicomImport, DicomInstance, Specimen, User
from specimens.services.tokens import create_token
from tests.classifier.image_files import dicom_bytes
from tests.counterparts import require
from tests.dicom.encodings import dcmtk
from tests.dicom.files import TRUE_COLOUR, frames_of, instance, plain_cell, saved
from tests.factories import Cast, upload

pytestmark = [pytest.mark.core, pytest.mark.django_db]

JSON = {"Accept": "application/json"}


def as_file(dataset: Any, name: str = "cell.dcm") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, dicom_bytes(dataset))


class TestPage:
    @pytest.fixture
    def client(self, cast: Cast) -> Client:
        found = Client()
        found.force_login(cast.technician)
        return found

    def drop(self, client: Client, specimen: Specimen, *files: Any, **more: str) -> list[Any]:
        path = reverse("add_images", args=[specimen.pk])
        answer = client.post(path, {"images": list(files)} | more, headers=JSON)
        assert answer.status_code == 200, answer.content
        lines: list[Any] = answer.json()["received"]
        return lines

    def test_pictures_and_dicom_together(self, cast: Cast, client: Client) -> None:
        specimen = cast.specimen()
        several = as_file(frames_of([plain_cell(1), plain_cell(2)]), "frames.dcm")
        files = [as_file(instance()), upload(1, "a.png"), several, SimpleUploadedFile("x", b"x")]
        lines = self.drop(client, specimen, *files)
        assert [line["status"] for line in lines] == ["accepted", "accepted", "accepted", "refused"]
        assert [line["filename"] for line in lines] == ["cell.dcm", "a.png", "frames.dcm", "x"]
        assert CellImage.objects.filter(specimen=specimen).count() == 4
        assert "2 images added" in lines[2]["message"]
        again = self.drop(client, specimen, as_file(frames_of([plain_cell(9), plain_cell(8)])))
        assert again[0]["status"] == "accepted"

    def test_the_same_file_again(self, cast: Cast, client: Client) -> None:
        specimen = cast.specimen()
        content = dicom_bytes(instance())
        files = [SimpleUploadedFile("one.dcm", content), SimpleUploadedFile("two.dcm", content)]
        first, second = self.drop(client, specimen, *files)
        assert (first["status"], second["status"]) == ("accepted", "duplicate")
        assert first["id"] == second["id"]

    def test_identifiers_that_disagree(self, cast: Cast, client: Client) -> None:
        specimen = cast.specimen(accession_number="A1")
        dataset = instance(AccessionNumber="A2")
        (line,) = self.drop(client, specimen, as_file(dataset))
        assert (line["status"], line["code"]) == ("refused", "identifiers_disagree")
        assert "accession number A2" in line["message"]
        (line,) = self.drop(client, specimen, as_file(dataset), confirmed="1")
        assert line["status"] == "accepted"

    def test_other_content_under_the_same_uid(self, cast: Cast, client: Client) -> None:
        specimen = cast.specimen()
        one = instance(plain_cell(1))
        self.drop(client, specimen, as_file(one))
        other = instance(plain_cell(2), uid=one.SOPInstanceUID)
        (line,) = self.drop(client, specimen, as_file(other))
        assert (line["status"], line["code"]) == ("refused", "quarantined")
        assert CellImage.objects.count() == 1


class TestRest:
    @pytest.fixture
    def client(self, cast: Cast) -> Client:
        return self.of(cast.integration)

    @staticmethod
    def of(user: User) -> Client:
        token, _ = create_token(actor=None, user=user, lifetime=timedelta(days=1))
        return Client(headers={"Authorization": f"Token {token}"})

    def send(self, client: Client, *files: Any, **more: Any) -> Any:
        return client.post("/api/v1/dicom/", {"files": list(files)} | more)

    def test_each_file_gets_a_line(self, cast: Cast, client: Client) -> None:
        specimen = cast.specimen(accession_number="A1")
        dataset = instance(AccessionNumber="A1")
        files = [
            as_file(dataset, "a.dcm"),
            as_file(instance(AccessionNumber="A9"), "b.dcm"),
            upload(1, "c.png"),
        ]
        answer = self.send(client, *files)
        assert answer.status_code == 201, answer.content
        stored, unmatched, refused = answer.json()["received"]
        assert (stored["state"], stored["specimen"]) == ("stored", specimen.pk)
        assert stored["cells"] == [CellImage.objects.get().pk]
        assert stored["sop_instance_uid"] == dataset.SOPInstanceUID
        assert (unmatched["state"], unmatched["cells"]) == ("unmatched", [])
        assert (refused["state"], refused["code"]) == ("refused", "not_an_image")
        again = self.send(client, as_file(dataset))
        assert again.status_code == 200
        assert again.json()["received"][0]["state"] == "duplicate"
        assert DicomImport.objects.filter(sender="integration", way="api").count() == 4

    def test_to_a_specimen_by_its_id(self, cast: Cast, client: Client) -> None:
        specimen = cast.specimen(accession_number="A1")
        dataset = instance(PatientID="somebody else")
        answer = self.send(client, as_file(dataset), specimen=specimen.pk)
        assert answer.status_code == 409
        assert answer.json()["code"] == "identifiers_disagree"
        assert answer["Content-Type"] == "application/problem+json"
        answer = self.send(client, as_file(dataset), specimen=specimen.pk, confirmed="true")
        assert answer.json()["received"][0]["specimen"] == specimen.pk

    @pytest.mark.parametrize(
        ("content", "status", "code"),
        [
            (b"no dicom", 415, "not_an_image"),
            (dicom_bytes(instance())[:900], 422, "truncated"),
            (dicom_bytes(instance(PhotometricInterpretation="MONOCHROME1")), 415,
             "unsupported_mode"),
        ],
    )  # fmt: skip
    def test_a_bad_file_alone_is_a_problem(
        self, content: bytes, status: int, code: str, cast: Cast, client: Client
    ) -> None:
        answer = self.send(client, SimpleUploadedFile("x.dcm", content))
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert DicomImport.objects.get().outcome == "refused"

    def test_what_is_wrong_with_the_request_is_said(self, cast: Cast, client: Client) -> None:
        assert client.post("/api/v1/dicom/").status_code == 400
        elsewhere = cast.specimen(site=cast.other_site)
        answer = self.send(client, as_file(instance()), specimen=elsewhere.pk)
        assert answer.status_code == 404
        assert self.send(client, as_file(instance()), site="nowhere").status_code == 400
        assert self.send(client, as_file(instance()), confirmed="perhaps").status_code == 400
        assert not DicomInstance.objects.exists()

    def test_a_role_that_may_not(self, cast: Cast) -> None:
        answer = self.send(self.of(cast.administrator), as_file(instance()))
        assert answer.status_code == 403


class TestCommand:
    def run(self, cast: Cast, *paths: Path, capsys: Any, **more: Any) -> str:
        call_command("import_dicom", *map(str, paths), "--quiet", site=cast.site.code, **more)
        return str(capsys.readouterr().out)

    def test_a_folder_with_all_below_it(
        self, cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cast.specimen(accession_number="A1")
        (tmp_path / "in" / "below").mkdir(parents=True)
        for number in range(3):
            dataset = instance(plain_cell(number), AccessionNumber="A1")
            saved(dataset, tmp_path / "in" / "below" / f"IM{number}")
        saved(instance(AccessionNumber="A9"), tmp_path / "in" / "odd.dcm")
        (tmp_path / "in" / "README.TXT").write_text("no DICOM file")
        (tmp_path / "in" / ".hidden").write_text("nothing")
        said = self.run(cast, tmp_path / "in", capsys=capsys)
        assert "4 DICOM files: 3 added to a specimen, 1 waiting to be matched" in said
        assert "1 left out" in said
        assert CellImage.objects.count() == 3
        said = self.run(cast, tmp_path / "in", capsys=capsys)
        assert "4 known already" in said
        assert CellImage.objects.count() == 3

    def test_a_dry_run_stores_nothing(
        self, cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cast.specimen(accession_number="A1")
        path = saved(instance(AccessionNumber="A1"), tmp_path / "a.dcm")
        said = self.run(cast, path, capsys=capsys, dry_run=True)
        assert "1 added to a specimen. Nothing was stored" in said
        assert not DicomInstance.objects.exists()
        assert not DicomImport.objects.exists()

    def test_a_refused_file_ends_with_an_error(
        self, cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        good = saved(instance(), tmp_path / "good.dcm")
        bad = tmp_path / "bad.dcm"
        bad.write_bytes(good.read_bytes()[:-100])
        with pytest.raises(CommandError, match="1 of 2 files were refused"):
            self.run(cast, good, bad, capsys=capsys)
        assert "bad.dcm: The DICOM file is cut off" in capsys.readouterr().err
        assert DicomInstance.objects.count() == 1

    def test_a_dicomdir_as_dcmtk_writes_it(
        self, cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        require("dcmmkdir")
        cast.specimen(accession_number="A1")
        for number in range(2):
            dataset = instance(
                plain_cell(number), sop_class="1.2.840.10008.5.1.4.1.1.7", AccessionNumber="A1",
                PatientName="Muster^Erika", StudyID="1", StudyDate="20261123",
                StudyTime="0700", SeriesNumber=1, InstanceNumber=number + 1, ConversionType="DI",
            )  # fmt: skip
            saved(dataset, tmp_path / f"IM{number}")
        result = subprocess.run(
            ["dcmmkdir", "-Nxc", "--invent", "+r", "+id", tmp_path, "+D", "DICOMDIR"],
            cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (tmp_path / "DICOMDIR").exists(), result.stderr
        said = self.run(cast, tmp_path / "DICOMDIR", capsys=capsys)
        assert "2 DICOM files: 2 added to a specimen" in said
        assert DicomInstance.objects.filter(way="command").count() == 2

    def test_what_cannot_be_done_is_said(
        self, cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(CommandError, match="does not exist"):
            self.run(cast, tmp_path / "nothing", capsys=capsys)
        with pytest.raises(CommandError, match="no file"):
            self.run(cast, tmp_path, capsys=capsys)
        with pytest.raises(CommandError, match=r"no site 'x'. Sites: .*main"):
            call_command("import_dicom", str(tmp_path), site="x")
        with pytest.raises(CommandError, match="no active account"):
            self.run(cast, tmp_path, capsys=capsys, user="nobody")

    def test_multi_frame_by_dcmtk(
        self, cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cast.specimen(accession_number="A1")
        source = saved(
            frames_of([plain_cell(1), plain_cell(2), plain_cell(3)], AccessionNumber="A1"),
            tmp_path / "frames.dcm",
        )
        dcmtk("dcmcjpeg", "+eb", source, "coded.dcm", folder=tmp_path)
        said = self.run(cast, tmp_path / "coded.dcm", capsys=capsys, user="technician")
        assert "1 added to a specimen" in said
        assert CellImage.objects.count() == 3
        assert DicomInstance.objects.get().sop_class_uid == TRUE_COLOUR
        assert CellImage.objects.first().received_from == cast.technician  # type: ignore[union-attr]
