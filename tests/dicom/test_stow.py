"""STOW-RS: bodies of many kinds, from Orthanc and by hand, over the real web server and without."""

import base64
import io
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import Client
from pydicom.uid import UID

from specimens.dicom.multipart import (
    MultipartError,
    MultipartReader,
    PartTooLarge,
    boundary_of,
    written,
)
from specimens.models import CellImage, DicomImport, DicomInstance, Role, Specimen
from specimens.services.tokens import create_token
from tests.dicom.files import instance, saved
from tests.dicom.hostile import HOSTILE
from tests.dicom.orthanc import orthanc
from tests.dicom.pacs import fill, serving_web, study_of
from tests.factories import Cast, UserFactory

DICOM = "application/dicom"


# --- the body -------------------------------------------------------------------------------------
class Dripping:
    """A stream that gives a few bytes at a time."""

    def __init__(self, content: bytes, chance: random.Random) -> None:
        self._content = io.BytesIO(content)
        self._chance = chance

    def read(self, size: int) -> bytes:
        return self._content.read(self._chance.randint(1, 7))


def parts_of(content: bytes, boundary: bytes = b"b") -> list[bytes]:
    found = []
    for part in MultipartReader(io.BytesIO(content), boundary):
        out = io.BytesIO()
        part.copy_to(out, 10**6)
        found.append(out.getvalue())
    return found


@pytest.mark.core
@pytest.mark.parametrize("seed", range(40))
def test_parts_come_out_as_they_went_in(seed: int) -> None:
    """Contents full of line ends and things that begin like the boundary, in small blocks."""
    chance = random.Random(seed)
    contents = [
        bytes(chance.choice(b"\r\n-bX") for _ in range(chance.randint(0, 300)))
        for _ in range(chance.randint(0, 4))
    ]
    body = b"".join(written([(DICOM, [one]) for one in contents], "bX0"))
    found = []
    for part in MultipartReader(Dripping(body, chance), b"bX0"):
        out = io.BytesIO()
        part.copy_to(out, 10**6)
        found.append(out.getvalue())
        assert part.content_type.name == DICOM
    assert found == contents


@pytest.mark.core
def test_preamble_epilogue_and_parts_nobody_reads() -> None:
    body = (
        b"preamble\r\n--b  \r\nContent-Type: a/b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\nepilogue"
    )
    assert parts_of(body) == [b"one", b"two"]
    assert [part.headers for part in MultipartReader(io.BytesIO(body), b"b")] == [
        {"content-type": "a/b"},
        {},
    ]


@pytest.mark.core
def test_a_part_above_the_limit_is_skipped_and_the_next_is_read() -> None:
    body = b"".join(written([(DICOM, [b"x" * 500_000]), (DICOM, [b"good"])], "b"))
    reader = iter(MultipartReader(io.BytesIO(body), b"b"))
    out = io.BytesIO()
    with pytest.raises(PartTooLarge):
        next(reader).copy_to(out, 1000)
    assert len(out.getvalue()) <= 1000
    next(reader).copy_to(out := io.BytesIO(), 1000)
    assert out.getvalue() == b"good"


@pytest.mark.core
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"--b",
        b"--b\r\nContent-Type: a/b\r\n\r\ncut off",
        b"--b\r\nContent-Type a/b\r\n\r\nx\r\n--b--",
        b"--b\r\n" + b"x" * 100_000,
        b"--b junk\r\n\r\nx\r\n--b--",
        b"x" * 200_000 + b"\r\n--b--",
    ],
)
def test_malformed_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(MultipartError):
        parts_of(body)


@pytest.mark.core
def test_the_boundary_of_orthanc_is_taken() -> None:
    """Two UUIDs, three characters longer than RFC 2046 allows."""
    boundary = "-".join(["94953f23-56c9-4ff0-af13-681e4ad3ff72"] * 2)
    content_type = f'multipart/related; type="{DICOM}"; boundary={boundary}'
    assert boundary_of(content_type) == boundary.encode()


@pytest.mark.core
@pytest.mark.parametrize("bad", ["", "boundary=", 'boundary="' + "x" * 74 + '"', "boundary=a\x01"])
def test_boundaries_that_are_none(bad: str) -> None:
    with pytest.raises(MultipartError):
        boundary_of(f"multipart/related; {bad}")


# --- the call -------------------------------------------------------------------------------------
@pytest.fixture
def specimen(cast: Cast) -> Specimen:
    return cast.specimen(accession_number="A1", order__patient__identifier="P1")


@pytest.fixture
def token(cast: Cast) -> str:
    return create_token(actor=None, user=cast.integration, lifetime=timedelta(days=1))[0]


def body_of(contents: list[bytes], content_type: str = DICOM) -> dict[str, Any]:
    return {
        "data": b"".join(written([(content_type, [one]) for one in contents], "frontier")),
        "content_type": f'multipart/related; type="{DICOM}"; boundary=frontier',
    }


def post(token: str, contents: list[bytes], path: str = "/dicom-web/studies", **more: Any) -> Any:
    return Client().post(
        path, headers={"Authorization": f"Bearer {token}"}, **(body_of(contents) | more)
    )


@pytest.mark.core
@pytest.mark.django_db
def test_all_are_stored(specimen: Specimen, token: str, tmp_path: Path, settings: Any) -> None:
    paths = study_of(tmp_path, "A1", 3)
    answer = post(token, [path.read_bytes() for path in paths])
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == "application/dicom+json"
    body = answer.json()
    assert set(body) == {"00081190", "00081199"}
    kept = {row.sop_instance_uid: row for row in DicomInstance.objects.all()}
    assert len(kept) == 3
    for item in body["00081199"]["Value"]:
        row = kept[item["00081155"]["Value"][0]]
        assert item["00081150"]["Value"] == [row.sop_class_uid]
        (url,) = item["00081190"]["Value"]
        assert url.endswith(
            f"/dicom-web/studies/{row.study_instance_uid}/series/{row.series_instance_uid}"
            f"/instances/{row.sop_instance_uid}"
        )
        fetched = Client().get(url, headers={"Authorization": f"Bearer {token}", "Accept": DICOM})
        assert fetched.status_code == 200
    assert {row.way for row in kept.values()} == {"stow"}
    assert CellImage.objects.filter(specimen=specimen).count() == 3
    assert not list(Path(settings.INCOMING_DIR).glob(".stow-*"))


@pytest.mark.core
@pytest.mark.django_db
def test_again_changes_nothing(specimen: Specimen, token: str, tmp_path: Path) -> None:
    contents = [path.read_bytes() for path in study_of(tmp_path, "A1", 2)]
    answers = [post(token, contents) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert CellImage.objects.count() == 2


@pytest.mark.core
@pytest.mark.django_db
def test_some_and_none(specimen: Specimen, token: str, tmp_path: Path) -> None:
    good = study_of(tmp_path, "A1", 1)[0].read_bytes()
    bad = instance(AccessionNumber="A1")
    bad.SOPClassUID = bad.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.77.1.6")
    whole_slide = saved(bad, tmp_path / "wsi.dcm").read_bytes()
    some = post(token, [whole_slide, good, b"no DICOM at all"])
    assert some.status_code == 202
    body = some.json()
    assert len(body["00081199"]["Value"]) == 1
    (failed,) = body["00081198"]["Value"]
    assert failed["00081155"]["Value"] == [bad.SOPInstanceUID]
    assert failed["00081197"]["Value"] == [0x0122]
    (unknown,) = body["0008119A"]["Value"]
    assert unknown["00081197"]["Value"] == [0xC000]
    none = post(token, [whole_slide])
    assert none.status_code == 409
    assert "00081199" not in none.json()
    assert DicomImport.objects.filter(outcome="refused", way="stow").count() == 3


@pytest.mark.core
@pytest.mark.django_db
def test_the_study_of_the_address_counts(specimen: Specimen, token: str, tmp_path: Path) -> None:
    content = study_of(tmp_path, "A1", 1)[0].read_bytes()
    other = post(token, [content], "/dicom-web/studies/1.2.3")
    assert other.status_code == 409
    assert other.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xA900]
    assert not DicomInstance.objects.exists()
    post(token, [content])
    study = DicomInstance.objects.get().study_instance_uid
    assert post(token, [content], f"/dicom-web/studies/{study}").status_code == 200


@pytest.mark.core
@pytest.mark.django_db
def test_wrong_bodies(specimen: Specimen, token: str, tmp_path: Path) -> None:
    content = study_of(tmp_path, "A1", 1)[0].read_bytes()
    for content_type in (
        DICOM,
        "application/json",
        "",
        'multipart/form-data; boundary="x"',
        'multipart/related; type="application/dicom+json"; boundary=frontier',
    ):
        assert post(token, [content], content_type=content_type).status_code == 415  # fmt: skip
    no_boundary = f'multipart/related; type="{DICOM}"'
    assert post(token, [content], content_type=no_boundary).status_code == 400
    assert post(token, []).status_code == 400  # a body without a part
    assert post(token, [content], data=body_of([content])["data"][:-40]).status_code == 400
    text = post(token, [], **body_of([b"text"], "text/plain"))
    assert text.status_code == 409
    assert not DicomInstance.objects.exists()


@pytest.mark.core
@pytest.mark.django_db
def test_what_was_stored_before_the_body_broke_is_named(
    specimen: Specimen, token: str, tmp_path: Path
) -> None:
    contents = [path.read_bytes() for path in study_of(tmp_path, "A1", 2)]
    answer = post(token, [], data=body_of(contents)["data"][:-200])
    assert answer.status_code == 400
    assert "in the middle of a part" in answer["Warning"]
    assert len(answer.json()["00081199"]["Value"]) == 1
    assert CellImage.objects.count() == 1


@pytest.mark.core
@pytest.mark.django_db
def test_an_instance_above_the_limit(
    specimen: Specimen, token: str, tmp_path: Path, settings: Any
) -> None:
    settings.DICOM_INSTANCE_MB = 1
    good = study_of(tmp_path, "A1", 1)[0].read_bytes()
    large = saved(instance(AccessionNumber="A1"), tmp_path / "l.dcm").read_bytes() + bytes(2**21)
    answer = post(token, [large, good])
    assert answer.status_code == 202
    (failed,) = answer.json()["00081198"]["Value"]
    assert failed["00081197"]["Value"] == [0xA700]
    assert DicomInstance.objects.count() == 1


@pytest.mark.core
@pytest.mark.django_db
def test_a_full_queue_is_a_503_that_may_be_tried_again(
    specimen: Specimen, token: str, tmp_path: Path, settings: Any
) -> None:
    contents = [path.read_bytes() for path in study_of(tmp_path, "A1", 2)]
    settings.QUEUE_LIMIT = 0
    post(token, contents[:1])
    answer = post(token, contents[1:])
    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    settings.QUEUE_LIMIT = 1000
    assert post(token, contents).status_code == 200


@pytest.mark.core
@pytest.mark.django_db
def test_who_may_store(cast: Cast, specimen: Specimen, token: str, tmp_path: Path) -> None:
    content = study_of(tmp_path, "A1", 1)[0].read_bytes()

    def status(header: str | None) -> int:
        headers = {"Authorization": header} if header else {}
        return (
            Client().post("/dicom-web/studies", headers=headers, **body_of([content])).status_code
        )

    def basic(name: str, password: str) -> str:
        return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()

    for wrong in (
        None,
        "Bearer",
        "Bearer x",
        "Bearer ä",
        "Basic !!",
        "Basic eA==",
        "Digest x",
        basic("integration", "x"),
        basic("technician", token),
        f"Bearer {token}x",
    ):
        assert status(wrong) == 401, wrong  # fmt: skip
    read_only = create_token(
        actor=None, user=cast.integration, lifetime=timedelta(days=1), scopes=["read"]
    )[0]
    assert status(f"Bearer {read_only}") == 403
    administrator = create_token(actor=None, user=cast.administrator, lifetime=timedelta(days=1))[0]
    assert status(f"Bearer {administrator}") == 403
    homeless = UserFactory.create(role=Role.INTEGRATION)
    nowhere = create_token(actor=None, user=homeless, lifetime=timedelta(days=1))[0]
    assert status(f"Bearer {nowhere}") == 403
    assert not DicomInstance.objects.exists()
    for right in (f"Bearer {token}", f"Token {token}", basic("integration", token)):
        assert status(right) == 200
    assert DicomInstance.objects.get().site == cast.site


@pytest.mark.core
@pytest.mark.django_db
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_its_refusal(
    name: str, specimen: Specimen, token: str, tmp_path: Path
) -> None:
    good = study_of(tmp_path, "A1", 1)[0].read_bytes()
    answer = post(token, [HOSTILE[name](), good])
    assert answer.status_code == 202, answer.content
    assert CellImage.objects.count() == 1


# --- over the wire --------------------------------------------------------------------------------
@pytest.fixture
def web(transactional_db: None, settings: Any) -> Iterator[str]:
    settings.ALLOWED_HOSTS = ["*"]
    with serving_web() as address:
        yield address


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_orthanc_stows_a_study_in_chunks(
    web: str, specimen: Specimen, token: str, tmp_path: Path
) -> None:
    with orthanc(
        DicomWeb={
            "Enable": True,
            "Root": "/dicom-web/",
            "Servers": {
                "wbclab": {
                    "Url": f"{web}/dicom-web/",
                    "Username": "integration",
                    "Password": token,
                    "ChunkedTransfers": True,
                }
            },
        }
    ) as pacs:
        fill(pacs, study_of(tmp_path, "A1", 5))
        answer = pacs.post(
            "/dicom-web/servers/wbclab/stow",
            {"Resources": pacs.get("/studies"), "Synchronous": True},
        )
    assert CellImage.objects.filter(specimen=specimen).count() == 5, answer
    assert {row.sender for row in DicomInstance.objects.all()} == {"integration"}


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_chunks_are_bounded_and_streamed(
    web: str, specimen: Specimen, token: str, tmp_path: Path, settings: Any
) -> None:
    settings.DICOM_STOW_MB = 2
    contents = [path.read_bytes() for path in study_of(tmp_path, "A1", 3)]
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": f'multipart/related; type="{DICOM}"; boundary=frontier',
    }

    def chunked(sent: list[bytes]) -> httpx.Response:
        blocks = written([(DICOM, [one]) for one in sent], "frontier")
        return httpx.post(
            f"{web}/dicom-web/studies", content=blocks, headers=headers, timeout=60,
            trust_env=False,
        )  # fmt: skip

    assert chunked(contents).status_code == 200
    too_much = chunked([contents[0] + bytes(2**20)] * 3)
    assert too_much.status_code == 413
    assert CellImage.objects.count() == 3
