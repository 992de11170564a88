"""Fetching from a real Orthanc, by C-FIND and C-MOVE and by DICOMweb, from the specimen's page."""

import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from specimens.dicom import query_retrieve, web_archive
from specimens.dicom.archive import ArchiveError
from specimens.dicom.query_retrieve import DimseArchive
from specimens.dicom.web_archive import WebArchive
from specimens.models import AuditEvent, CellImage, DicomInstance, PacsServer, Specimen
from specimens.services.retrieval import fetch_from_archive, find_in_archive
from tests.dicom.orthanc import AE_TITLE, Orthanc, orthanc
from tests.dicom.pacs import OURS, fill, listening, study_of
from tests.factories import Cast, make_cast
from tests.processes import free_port

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

WAYS = ["dimse", "dicomweb"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    study_of(folder / "a1", "A1", 4)
    study_of(folder / "other", "A10", 2, first=50)
    return folder


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {"listener": free_port()}


@pytest.fixture(scope="module")
def pacs(files: Path, ports: dict[str, int]) -> Iterator[Orthanc]:
    """An Orthanc with a study of A1 and one of A10, which knows our listener."""
    modalities = {"wbclab": [OURS, "127.0.0.1", ports["listener"]]}
    allowed = {"DicomAlwaysAllowFind": True, "DicomAlwaysAllowMove": True}
    with orthanc(DicomModalities=modalities, **allowed) as server:
        fill(server, sorted(files.rglob("*.dcm")))
        yield server


@pytest.fixture
def laboratory(settings: Any) -> Cast:
    settings.DICOM_PEERS = [f"{AE_TITLE}=main"]
    settings.DICOM_PACS_SECONDS = 60.0
    return make_cast()


@pytest.fixture
def specimen(laboratory: Cast) -> Specimen:
    return laboratory.specimen(accession_number="A1", order__patient__identifier="P1")


@pytest.fixture
def server(laboratory: Cast, pacs: Orthanc) -> PacsServer:
    return PacsServer.objects.create(
        site=laboratory.site,
        name="Archive",
        host="127.0.0.1",
        port=pacs.dicom_port,
        ae_title=AE_TITLE,
        dicomweb_url=pacs.web_url,
    )


@pytest.fixture
def listener(laboratory: Cast, tmp_path: Path, ports: dict[str, int]) -> Iterator[None]:
    with listening(tmp_path, port=ports["listener"]):
        yield


def by(server: PacsServer, way: str) -> PacsServer:
    server.way = way
    server.save()
    return server


@pytest.mark.parametrize("way", WAYS)
def test_find_and_fetch(
    way: str, server: PacsServer, specimen: Specimen, laboratory: Cast, listener: None
) -> None:
    actor = laboratory.technician
    (study,) = find_in_archive(actor=actor, specimen=specimen, server=by(server, way))
    assert study.instances == 4
    assert (study.accession_number, study.patient_id, study.date) == ("A1", "P1", "20260102")
    assert "Musterfrau" in study.patient_name
    fetch = partial(
        fetch_from_archive, actor=actor, specimen=specimen, server=server, studies=[study]
    )
    result = fetch()
    assert (result.added, result.known, result.elsewhere, result.failed) == (4, 0, 0, 0), result
    assert result.problem == ""
    assert CellImage.objects.filter(specimen=specimen).count() == 4
    kept = set(DicomInstance.objects.values_list("way", flat=True))
    assert kept == {"c-store" if way == "dimse" else "retrieve"}
    again = fetch()
    assert (again.added, again.known) == (0, 4)
    assert CellImage.objects.count() == 4
    actions = AuditEvent.objects.filter(action__startswith="pacs.").order_by("sequence")
    assert [event.action for event in actions] == ["pacs.searched", "pacs.fetched", "pacs.fetched"]


@pytest.mark.parametrize("way", WAYS)
def test_the_page_finds_fetches_and_says_so(
    way: str, server: PacsServer, specimen: Specimen, laboratory: Cast, listener: None
) -> None:
    by(server, way)
    client = Client()
    client.force_login(laboratory.technician)
    assert "Fetch from PACS" in client.get(f"/specimens/{specimen.pk}").content.decode()
    page = client.get(f"/specimens/{specimen.pk}/pacs")
    (study,) = page.context["studies"]
    assert "Blood smear" in page.content.decode()
    sent = {"server": server.pk, "study": study.uid}
    answer = client.post(f"/specimens/{specimen.pk}/pacs/fetch", sent)
    assert answer.headers["Location"] == f"/specimens/{specimen.pk}"
    (message,) = get_messages(answer.wsgi_request)
    assert str(message) == "From Archive: 4 instances added."
    assert CellImage.objects.filter(specimen=specimen).count() == 4
    foreign = client.post(
        f"/specimens/{specimen.pk}/pacs/fetch", {"server": server.pk, "study": "1.2.3"}
    )
    assert foreign.headers["Location"] == f"/specimens/{specimen.pk}/pacs"


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_said_where_nothing_is(way: str, server: PacsServer, laboratory: Cast) -> None:
    by(server, way)
    empty = laboratory.specimen(accession_number="A")  # A1 and A10 begin like it
    client = Client()
    client.force_login(laboratory.technician)
    page = client.get(f"/specimens/{empty.pk}/pacs").content.decode()
    assert "Archive has nothing under A." in page


def test_a_destination_the_archive_does_not_know(
    server: PacsServer, specimen: Specimen, laboratory: Cast, settings: Any
) -> None:
    settings.DICOM_AE_TITLE = "ELSEWHERE"
    found = find_in_archive(actor=laboratory.technician, specimen=specimen, server=server)
    result = fetch_from_archive(
        actor=laboratory.technician, specimen=specimen, server=server, studies=found
    )
    assert result.problem
    assert result.added == 0


def test_a_listener_that_does_not_run(
    server: PacsServer, specimen: Specimen, laboratory: Cast
) -> None:
    found = find_in_archive(actor=laboratory.technician, specimen=specimen, server=server)
    result = fetch_from_archive(
        actor=laboratory.technician, specimen=specimen, server=server, studies=found
    )
    assert result.problem or result.failed
    assert not DicomInstance.objects.exists()


def test_what_another_patient_has_waits_for_a_person(server: PacsServer, laboratory: Cast) -> None:
    """The accession number is ours, the patient is not: nothing is counted."""
    specimen = laboratory.specimen(accession_number="A1", order__patient__identifier="SOMEBODY")
    by(server, "dicomweb")
    found = find_in_archive(actor=laboratory.technician, specimen=specimen, server=server)
    result = fetch_from_archive(
        actor=laboratory.technician, specimen=specimen, server=server, studies=found
    )
    assert result.added == 0
    assert result.elsewhere + result.failed == 4
    assert not CellImage.objects.exists()


@pytest.mark.core
def test_a_name_that_is_not_known() -> None:
    archive = DimseArchive("no-such-host.invalid", 104, "PACS", "US", seconds=5)
    with pytest.raises(ArchiveError, match="not known"):
        query_retrieve.echo(archive)
    with pytest.raises(ArchiveError, match="cannot be reached"):
        web_archive.probe(WebArchive("http://no-such-host.invalid/dicom-web", seconds=5))


@pytest.mark.core
def test_nobody_listens() -> None:
    port = free_port()
    with pytest.raises(ArchiveError, match="Nobody listens"):
        query_retrieve.echo(DimseArchive("127.0.0.1", port, "PACS", "US", seconds=5))
    with pytest.raises(ArchiveError, match="cannot be reached"):
        web_archive.probe(WebArchive(f"http://127.0.0.1:{port}/dicom-web", seconds=5))


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.core
def test_somebody_who_says_nothing(silent: int) -> None:
    with pytest.raises(ArchiveError):
        query_retrieve.find_studies(
            DimseArchive("127.0.0.1", silent, "PACS", "US", seconds=1.5), "A1"
        )
    with pytest.raises(ArchiveError, match="cannot be reached"):
        web_archive.find_studies(WebArchive(f"http://127.0.0.1:{silent}", seconds=1.5), "A1")


@pytest.fixture
def busy() -> Iterator[None]:
    """Threads that never rest beside the test."""
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            sum(range(10_000))

    threads = [threading.Thread(target=compute) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()


def test_a_wrong_title_is_named(pacs: Orthanc, busy: None) -> None:
    archive = DimseArchive("127.0.0.1", pacs.dicom_port, "WRONG", OURS, seconds=10)
    for _ in range(20):  # every third time the archive has hung up before anybody looks
        with pytest.raises(ArchiveError, match="does not answer to the AE title WRONG"):
            query_retrieve.echo(archive)


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], str]]:
    """A web server that answers one request with given bytes; its address."""
    servers: list[socket.socket] = []

    def start(content: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def answer() -> None:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                peer.recv(65536)
                peer.sendall(content)

        threading.Thread(target=answer, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in servers:
        server.close()


@pytest.mark.core
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "does not let us in"),
        (b"HTTP/1.1 302 No\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", "answered 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "DICOM JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "list of studies"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[", "broke"),
    ],
)
def test_odd_answers_of_a_web_archive(
    content: bytes, text: str, answering: Callable[[bytes], str]
) -> None:
    with pytest.raises(ArchiveError, match=text):
        web_archive.find_studies(WebArchive(answering(content), seconds=5), "A1")
