"""Exports of a specimen: readable by dcmtk, the same pixels, and nobody in them when asked."""

import io
import json
import os
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import generate_frames

from specimens.dicom.export_process import PictureReader, PictureRefused
from specimens.models import AuditEvent, CellImage, Patient, Specimen, User
from specimens.services.dicom_import import receive_instance
from specimens.services.imaging import add_cell_images
from tests.classifier import image_files
from tests.counterparts import require
from tests.dicom.files import drawn_cell, instance, plain_cell, saved
from tests.dicom.reported import dciodvfy_errors
from tests.dicom.test_deidentify import MARK, MARKED_UID, add_private, leaves
from tests.factories import Cast
from tests.portal.conftest import as_person  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db

FAMILY, NUMBER, ISSUER = "Quastenflosser", "P08154711", "Klinik-Nord"


def jpeg_with_comments() -> bytes:
    """A baseline JPEG with the patient's name in EXIF, in a comment and behind its end."""
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = f"{FAMILY} {NUMBER}", MARK
    out = io.BytesIO()
    picture = image_files.draw_cell(96, 80)
    picture.save(out, "JPEG", quality=92, exif=exif, comment=f"{FAMILY} {MARK}".encode())
    return out.getvalue() + f"{FAMILY}".encode()


def png_with_text() -> bytes:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Patient", FAMILY)
    return image_files.encode(image_files.draw_cell(97, 81), "PNG", pnginfo=info)


@pytest.fixture
def case(cast: Cast, tmp_path: Path) -> Specimen:
    """A JPEG, a PNG, and an instance whose data set is full of names."""
    specimen = cast.specimen(accession_number="QX-0815-4711")
    Patient.objects.filter(pk=specimen.order.patient_id).update(
        identifier=NUMBER, issuer=ISSUER, family_name=FAMILY, given_name="Latimeria",
        birth_date="1938-12-22", sex="F",
    )  # fmt: skip
    uploads = [
        SimpleUploadedFile(f"{FAMILY}.jpg", jpeg_with_comments()),
        SimpleUploadedFile(f"{FAMILY}.png", png_with_text()),
    ]
    add_cell_images(actor=cast.technician, site=cast.site, specimen=specimen, uploads=uploads)
    dataset = instance(
        drawn_cell(), AccessionNumber=specimen.accession_number, StudyInstanceUID=MARKED_UID,
        PatientID=NUMBER, PatientName=f"{FAMILY}^Latimeria", StudyDescription=f"{MARK} {FAMILY}",
        ImageComments=MARK, OperatorsName=MARK, StudyDate="19871231",
    )  # fmt: skip
    add_private(dataset)
    outcome = receive_instance(
        actor=cast.technician, site=cast.site, path=saved(dataset, tmp_path / "in.dcm"),
        sender="test", way="command",
    )  # fmt: skip
    assert outcome.state == "stored", outcome
    CellImage.objects.filter(pk=outcome.cell_image_ids[0]).update(label="blast")
    return Specimen.objects.select_related("site", "order__patient").get(pk=specimen.pk)


def export(case: Specimen, folder: Path, *options: str) -> Path:
    call_command("export_dicom", case.accession_number, "--output", str(folder), *options)
    return folder


def pixels(path: Path) -> np.ndarray[Any, Any]:
    """The picture as dcmtk shows it."""
    require("dcmj2pnm")
    target = path.with_suffix(".ppm")
    subprocess.run(["dcmj2pnm", "+op", path, target], check=True, capture_output=True, timeout=60)
    with Image.open(target) as picture:
        return np.asarray(picture.convert("RGB"))


def test_files_that_dcmtk_reads_with_the_same_pixels(case: Specimen, tmp_path: Path) -> None:
    folder = export(case, tmp_path / "out")
    jpeg, png, dicom = sorted(folder.glob("*.dcm"))
    for path in (jpeg, png, dicom):
        subprocess.run(["dcmdump", "-q", path], check=True, capture_output=True, timeout=60)
        assert dciodvfy_errors(path) == []
        found = dcmread(path)
        assert (found.PatientID, found.AccessionNumber) == (NUMBER, case.accession_number)
        assert str(found.PatientName) == f"{FAMILY}^Latimeria"
        assert found.SpecimenDescriptionSequence[0].SpecimenIdentifier == case.accession_number
        assert found.SOPClassUID == "1.2.840.10008.5.1.4.1.1.77.1.4"
    # Exactly what was drawn, where nothing was lost before.
    drawn = np.asarray(image_files.draw_cell(97, 81))
    np.testing.assert_array_equal(pixels(png), drawn)
    np.testing.assert_array_equal(pixels(dicom), drawn_cell())
    with Image.open(io.BytesIO(jpeg_with_comments())) as picture:
        shown = np.asarray(picture.convert("RGB"), int)
    assert np.abs(pixels(jpeg) - shown).mean() < 2
    wrapped = dcmread(jpeg)
    (frame,) = generate_frames(wrapped.PixelData, number_of_frames=1)
    original = jpeg_with_comments()[: -len(FAMILY)]
    assert frame.rstrip(b"\0") == original
    assert (wrapped.LossyImageCompression, dcmread(png).LossyImageCompression) == ("01", "00")
    assert wrapped.PhotometricInterpretation == "YBR_FULL_422"
    assert "BurnedInAnnotation" not in wrapped
    source = dcmread(dicom).SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == case.dicom_instances.get().sop_instance_uid


def test_a_table_of_the_classes(case: Specimen, tmp_path: Path) -> None:
    folder = export(case, tmp_path / "out")
    lines = (folder / "cells.csv").read_text().splitlines()
    assert lines[0] == "file,sop_instance_uid,class,said_by"
    assert [line.split(",")[2:] for line in lines[1:]] == [
        ["", "nobody"], ["", "nobody"], ["blast", "person"],
    ]  # fmt: skip
    again = export(case, tmp_path / "again")
    assert (again / "cells.csv").read_text() == (folder / "cells.csv").read_text()


def identifiers(case: Specimen) -> list[str]:
    """Everything that says whose cells they are, where they were looked at, or when."""
    patient, dicom = case.order.patient, case.dicom_instances.get()
    today = timezone.now()
    return [
        FAMILY, "Latimeria", NUMBER, ISSUER, MARK, MARKED_UID, "19871231", "19381222",
        case.accession_number, case.site.name, case.site.code + "-", dicom.sop_instance_uid,
        dicom.series_instance_uid, patient.identifier, f"{today:%Y%m%d}", f"{today:%Y-%m-%d}",
        f"{case.received_at:%Y%m%d}",
    ]  # fmt: skip


def assert_nothing_of(marks: list[str], name: str, content: bytes) -> None:
    """No mark in a name or anywhere in the bytes, in the encodings text comes in."""
    for mark in marks:
        for coded in (mark.encode(), mark.upper().encode(), mark.encode("utf-16-le")):
            assert coded not in content, f"{mark} in {name}"
        assert mark.lower() not in name.lower()


def test_nothing_that_identifies_is_left_in_a_de_identified_set(
    case: Specimen, tmp_path: Path
) -> None:
    marks = identifiers(case)
    plain = export(case, tmp_path / "plain")
    assert any(FAMILY.encode() in path.read_bytes() for path in plain.iterdir())
    folder = export(case, tmp_path / "out", "--deidentify")
    paths = sorted(folder.iterdir())
    assert [path.name for path in paths] == [
        "IM000001.dcm", "IM000002.dcm", "IM000003.dcm", "cells.csv",
    ]  # fmt: skip
    for path in paths:
        assert_nothing_of(marks, path.name, path.read_bytes())
    uids = set()
    for path in folder.glob("*.dcm"):
        found = dcmread(path)
        for where, element in [*leaves(found), *leaves(found.file_meta)]:
            assert not element.tag.is_private, where
            assert_nothing_of(marks, where, str(element.value).encode())
        assert found.PatientIdentityRemoved == "YES"
        assert found.preamble == b"\0" * 128
        uids.add((found.StudyInstanceUID, found.SeriesInstanceUID, found.PatientID))
        assert dciodvfy_errors(path) == []
    assert len(uids) == 1, "one study, one series, one pseudonym"


def test_the_pixels_of_a_de_identified_set_are_the_same(case: Specimen, tmp_path: Path) -> None:
    plain, bare = export(case, tmp_path / "a"), export(case, tmp_path / "b", "--deidentify")
    for one, other in zip(sorted(plain.glob("*.dcm")), sorted(bare.glob("*.dcm")), strict=True):
        np.testing.assert_array_equal(pixels(one), pixels(other))


def test_burned_in_annotation_stays_behind_and_is_named(
    case: Specimen, cast: Cast, tmp_path: Path
) -> None:
    dataset = instance(
        plain_cell(77), AccessionNumber=case.accession_number, BurnedInAnnotation="YES"
    )
    receive_instance(
        actor=cast.technician, site=cast.site, path=saved(dataset, tmp_path / "b.dcm"),
        sender="test", way="command",
    )  # fmt: skip
    with pytest.raises(CommandError, match="1 images could not be exported"):
        export(case, tmp_path / "out", "--deidentify")
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 3
    assert "Burned In Annotation" in (tmp_path / "out" / "not_exported.csv").read_text()
    plain = sorted(export(case, tmp_path / "plain").glob("*.dcm"))
    assert dcmread(plain[-1]).BurnedInAnnotation == "YES"


def test_a_key_is_written_only_when_asked_and_for_its_owner(case: Specimen, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    folder = export(case, tmp_path / "out", "--deidentify", "--key", str(key))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    content = json.loads(key.read_text())
    found = dcmread(folder / "IM000003.dcm")
    assert content["patient"] == {"identifier": NUMBER, "issuer": ISSUER}
    assert content["pseudonym"] == found.PatientID
    assert content["uids"][found.StudyInstanceUID] == MARKED_UID
    with pytest.raises(CommandError, match="name a new file"):
        export(case, tmp_path / "again", "--deidentify", "--key", str(key))
    with pytest.raises(CommandError, match="de-identified set only"):
        export(case, tmp_path / "again", "--key", str(tmp_path / "other.json"))
    with pytest.raises(CommandError, match="is not empty"):
        export(case, folder)
    events = AuditEvent.objects.filter(action="specimen.exported").values_list("details", flat=True)
    assert [(e["deidentified"], e["key"]) for e in events] == [(True, True)]


def test_a_specimen_that_is_not_there_or_has_no_images(cast: Cast, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no specimen 'X'"):
        call_command("export_dicom", "X", "--output", str(tmp_path / "out"))
    with pytest.raises(CommandError, match="no cell images"):
        export(cast.specimen(), tmp_path / "out")


def test_the_page_sends_a_zip_without_a_trace(
    case: Specimen,
    cast: Cast,
    as_person: Callable[[User], Client],  # noqa: F811
) -> None:
    client = as_person(cast.pathologist)
    address = f"/specimens/{case.pk}/dicom"
    assert b"3 cell images" in client.get(address).content
    answer = client.post(address, {"names": "remove"})
    content = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    marks = identifiers(case)
    assert_nothing_of(marks, answer["Content-Disposition"], content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert not archive.comment
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert not entry.comment
            assert_nothing_of(marks, entry.filename, archive.read(entry) + entry.extra)
        assert len(archive.namelist()) == 4
    kept = client.post(address, {"names": "keep"})
    assert case.accession_number in kept["Content-Disposition"]
    assert AuditEvent.objects.filter(action="specimen.exported").count() == 2


def test_a_picture_that_kills_or_hangs_its_reader_costs_only_itself(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    good.write_bytes(png_with_text())
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with PictureReader(seconds=1.0) as reader:
        assert reader.read(good, None, bare=True).columns == 97
        with pytest.raises(PictureRefused, match="took more than"):
            reader.read(fifo, None, bare=True)
        assert reader.read(good, None, bare=True).columns == 97
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(image_files.png_bomb(8_000))
    with PictureReader(memory_bytes=64 * 1024**2) as reader, pytest.raises(PictureRefused):
        reader.read(bomb, None, bare=True)
