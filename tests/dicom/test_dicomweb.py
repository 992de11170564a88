"""QIDO-RS and WADO-RS: what was stored is found and fetched back, by whom it may be."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from specimens.dicom.dicomweb import BadQuery, condition_of, parse_query
from specimens.models import AuditEvent, DicomInstance
from specimens.services.dicom_import import receive_instance
from specimens.services.tokens import create_token
from tests.dicom.files import instance, plain_cell, saved
from tests.dicom.pacs import study_of
from tests.factories import Cast

pytestmark = [pytest.mark.core, pytest.mark.django_db]

Get = Callable[..., Any]


@pytest.fixture
def study(cast: Cast, tmp_path: Path) -> list[Path]:
    """Three instances of one study at the cast's site, matched to a specimen."""
    cast.specimen(accession_number="A1", order__patient__identifier="P1")
    paths = study_of(tmp_path / "study", "A1", 3)
    for path in paths:
        receive_instance(actor=None, site=cast.site, path=path, sender="PACS", way="c-store")
    return paths


@pytest.fixture
def other(cast: Cast, tmp_path: Path) -> Path:
    """One instance of another patient, day and kind, waiting to be matched."""
    dataset = instance(
        plain_cell(4711),
        AccessionNumber="B2",
        PatientID="P2",
        PatientName="Doe^Jane",
        StudyDate="20260301",
        Modality="SM",
        StudyDescription="Follow-up",
    )
    path = saved(dataset, tmp_path / "other.dcm")
    receive_instance(actor=None, site=cast.site, path=path, sender="PACS", way="c-store")
    return path


@pytest.fixture
def get(cast: Cast) -> Get:
    """Ask as an account of the site, or as somebody else."""

    def ask(path: str, *, who: str = "integration", **headers: str) -> Any:
        token, _ = create_token(
            actor=None, user=getattr(cast, who), lifetime=timedelta(days=1), scopes=["read"]
        )
        return Client().get(
            f"/dicom-web{path}", headers={"Authorization": f"Bearer {token}", **headers}
        )

    return ask


def column(answer: Any, tag: str) -> list[Any]:
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == "application/dicom+json"
    return [row[tag].get("Value", [None])[0] for row in answer.json()]


def test_a_study_is_found_with_its_usual_attributes(study: list[Path], get: Get) -> None:
    answer = get("/studies?AccessionNumber=A1")
    (row,) = answer.json()
    kept = DicomInstance.objects.first()
    assert kept is not None
    assert row["0020000D"] == {"vr": "UI", "Value": [kept.study_instance_uid]}
    assert row["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Musterfrau^Erika"}]}
    assert row["00100020"] == {"vr": "LO", "Value": ["P1"]}
    assert row["00080061"] == {"vr": "CS", "Value": ["XC"]}
    assert row["00201206"] == {"vr": "IS", "Value": [1]}
    assert row["00201208"] == {"vr": "IS", "Value": [3]}
    assert row["00100030"] == {"vr": "DA"}
    (url,) = row["00081190"]["Value"]
    assert url.endswith(f"/dicom-web/studies/{kept.study_instance_uid}")
    assert "00081030" not in row
    described = get("/studies?AccessionNumber=A1&includefield=StudyDescription").json()[0]
    assert described["00081030"]["Value"] == ["Blood smear"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["B2", "A1"]),
        ("AccessionNumber=B2", ["B2"]),
        ("00080050=A1", ["A1"]),
        ("AccessionNumber=C3", []),
        ("AccessionNumber=*", ["B2", "A1"]),
        ("PatientName=musterfrau*", ["A1"]),
        ("PatientName=M?sterfrau^Erika", ["A1"]),
        ("PatientName=*.*", []),
        ("PatientName=doe%5Ejane", ["B2"]),
        ("PatientID=P2", ["B2"]),
        ("PatientID=p2", []),
        ("StudyDate=20260102", ["A1"]),
        ("StudyDate=20260101-20260131", ["A1"]),
        ("StudyDate=20260201-", ["B2"]),
        ("StudyDate=-20260201", ["A1"]),
        ("StudyDate=20260103-20260201", []),
        ("ModalitiesInStudy=SM", ["B2"]),
        ("PatientID=P1&StudyDate=20260301", []),
        ("limit=1", ["B2"]),
        ("limit=1&offset=1", ["A1"]),
        ("offset=2", []),
    ],
)
def test_what_is_matched(
    query: str, expected: list[str], study: list[Path], other: Path, get: Get
) -> None:
    assert column(get(f"/studies?{query}"), "00080050") == expected


def test_series_and_instances(study: list[Path], other: Path, get: Get) -> None:
    kept = DicomInstance.objects.order_by("pk").first()
    assert kept is not None
    uid, series = kept.study_instance_uid, kept.series_instance_uid
    assert column(get("/series"), "00080060") == ["SM", "XC"]
    assert column(get(f"/studies/{uid}/series"), "00201209") == [3]
    assert column(get("/instances?Modality=SM"), "0020000D") != [uid]
    numbers = column(get(f"/studies/{uid}/series/{series}/instances"), "00200013")
    assert sorted(numbers) == [1, 2, 3]
    (row,) = get(f"/studies/{uid}/instances?InstanceNumber=2").json()
    assert row["00280010"] == {"vr": "US", "Value": [40]}
    assert row["00083002"]["Value"] == [kept.transfer_syntax_uid]
    one = get(f"/instances?SOPInstanceUID={kept.sop_instance_uid}").json()
    assert len(one) == 1
    both = f"{kept.sop_instance_uid},{row['00080018']['Value'][0]}"
    assert len(get(f"/instances?SOPInstanceUID={both}").json()) == 2


def test_what_is_not_done_is_said(study: list[Path], other: Path, get: Get) -> None:
    answer = get("/studies?fuzzymatching=true&limit=1&PatientWeight=80")
    assert "fuzzymatching parameter is not supported" in answer["Warning"]
    assert "PatientWeight" in answer["Warning"]
    assert "more results" in answer["Warning"]
    assert "Warning" not in get("/studies")


@pytest.mark.parametrize(
    "query", ["limit=x", "offset=-1", "StudyDate=a-b", "PatientID=" + "x" * 500]
)
def test_queries_that_cannot_be_read(query: str, get: Get) -> None:
    assert get(f"/studies?{query}").status_code == 400


def test_a_study_comes_back_as_it_was_sent(study: list[Path], get: Get) -> None:
    uid = DicomInstance.objects.first().study_instance_uid  # type: ignore[union-attr]
    answer = get(f"/studies/{uid}", Accept='multipart/related; type="application/dicom"')
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith('multipart/related; type="application/dicom"; bound')
    body = b"".join(answer.streaming_content)
    for path in study:
        assert path.read_bytes() in body
    assert (
        body.count(b"Content-Type: application/dicom;transfer-syntax=1.2.840.10008.1.2.1\r\n") == 3
    )


def test_one_instance_as_a_single_part(study: list[Path], get: Get) -> None:
    kept = DicomInstance.objects.order_by("pk").first()
    assert kept is not None
    path = f"/studies/{kept.study_instance_uid}/series/{kept.series_instance_uid}"
    answer = get(f"{path}/instances/{kept.sop_instance_uid}", Accept="application/dicom")
    assert answer["Content-Type"] == "application/dicom"
    assert b"".join(answer.streaming_content) == study[0].read_bytes()
    assert get(path).status_code == 200
    assert get(f"{path}/instances/1.2.3").status_code == 404


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', 200),
        ('multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1', 200),
        (
            'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50',
            406,
        ),
        ('multipart/related; type="image/jpeg"', 406),
        ("application/dicom", 406),  # several instances
        ("text/html", 406),
        ("text/html, */*;q=0.1", 200),
    ],
)
def test_what_is_accepted(accept: str, status: int, study: list[Path], get: Get) -> None:
    uid = DicomInstance.objects.first().study_instance_uid  # type: ignore[union-attr]
    assert get(f"/studies/{uid}", Accept=accept).status_code == status


def test_metadata_without_pixels(study: list[Path], get: Get) -> None:
    kept = DicomInstance.objects.order_by("pk").first()
    assert kept is not None
    answer = get(f"/studies/{kept.study_instance_uid}/metadata")
    assert len(answer.json()) == 3
    series = f"/studies/{kept.study_instance_uid}/series/{kept.series_instance_uid}"
    (row,) = get(f"{series}/instances/{kept.sop_instance_uid}/metadata").json()
    assert row["00080018"]["Value"] == [kept.sop_instance_uid]
    assert row["00280010"] == {"vr": "US", "Value": [40]}
    assert "7FE00010" not in row
    assert get(f"{series}/metadata", Accept="application/dicom+xml").status_code == 406


def test_another_site_finds_and_fetches_nothing(study: list[Path], get: Get) -> None:
    kept = DicomInstance.objects.first()
    assert kept is not None
    assert get("/studies", who="outsider").json() == []
    assert get("/instances", who="outsider").json() == []
    assert get(f"/studies/{kept.study_instance_uid}", who="outsider").status_code == 404
    assert get(f"/studies/{kept.study_instance_uid}/metadata", who="outsider").status_code == 404
    assert Client().get("/dicom-web/studies").status_code == 401


def test_what_is_in_quarantine_or_put_aside_is_not_given(
    cast: Cast, study: list[Path], get: Get
) -> None:
    DicomInstance.objects.update(state="discarded", specimen=None)
    assert get("/studies").json() == []


def test_every_look_is_on_record(study: list[Path], other: Path, get: Get) -> None:
    uid = DicomInstance.objects.order_by("pk").first().study_instance_uid  # type: ignore[union-attr]
    get("/studies")
    get(f"/studies/{uid}/metadata")
    get("/studies?AccessionNumber=C3")
    listed, fetched = (
        AuditEvent.objects.filter(action__startswith="dicom.")
        .exclude(actor=None)
        .order_by("sequence")
    )
    assert (listed.action, listed.details["objects"]) == ("dicom.listed", 2)
    assert (fetched.action, fetched.details["objects"]) == ("dicom.retrieved", 3)
    assert fetched.details["studies"] == [uid]
    assert fetched.specimen is not None


def test_the_number_of_queries_does_not_grow(
    study: list[Path], other: Path, get: Get, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(25):
        get("/instances")


def test_ranges_and_wildcards_are_read() -> None:
    query = parse_query([("PatientName", "a*b?c.d"), ("StudyDate", "2026-")], "study")
    conditions = [condition_of(attribute, value) for attribute, value in query.matching.items()]
    assert conditions[0] == ("pattern", (r"^a.*b.c\.d$",))
    assert conditions[1] == ("range", ("2026", ""))
    with pytest.raises(BadQuery):
        parse_query([("limit", "1e3")], "study")
