"""The operator's page: what came, what was refused and why, whether the archives answer."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.utils import timezone

from specimens.dicom.refusals import DicomRefusal
from specimens.models import AssociationLog, PacsServer
from specimens.services.dicom_import import receive_instance
from specimens.services.dicom_network import close_open_associations, forget_old_associations
from tests.dicom.pacs import study_of
from tests.factories import Cast
from tests.processes import free_port

pytestmark = [pytest.mark.core, pytest.mark.django_db]


@pytest.fixture
def client(cast: Cast) -> Client:
    client = Client()
    client.force_login(cast.administrator)
    return client


def association(**values: Any) -> AssociationLog:
    given = {
        "listener": "host:1",
        "peer": "10.0.0.1",
        "calling_ae": "SCANNER",
        "called_ae": "WBCLAB",
    }
    return AssociationLog.objects.create(**(given | values))


def test_empty(client: Client) -> None:
    page = client.get("/dicom/network").content.decode()
    assert "No association yet." in page
    assert "Nothing was imported yet." in page
    assert "No archive is set up" in page
    assert "nobody: WBCLAB_DICOM_PEERS is empty" in page


def test_associations_and_imports(
    cast: Cast, client: Client, tmp_path: Path, settings: Any
) -> None:
    settings.DICOM_PEERS = ["SCANNER=main", "PACS"]
    cast.specimen(accession_number="A1", order__patient__identifier="P1")
    (path,) = study_of(tmp_path / "s", "A1", 1)
    receive_instance(actor=None, site=cast.site, path=path, sender="SCANNER", way="c-store")
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"nothing of the kind")
    for site in (cast.site, cast.other_site):
        with pytest.raises(DicomRefusal):
            receive_instance(actor=None, site=site, path=bad, sender=f"AT {site.code}", way="stow")
    association(state="released", stored=7)
    association(state="refused", calling_ae="STRANGER", reason="Not in the list.", occurrences=3)
    page = client.get("/dicom/network").content.decode()
    assert "PACS, SCANNER" in page
    assert "STRANGER" in page
    assert "3 times" in page
    assert "A1</a>" in page
    assert "AT main" in page
    assert "AT other" not in page
    refused = client.get("/dicom/network?refused=1")
    assert [row.calling_ae for row in refused.context["associations"]] == ["STRANGER"]
    assert [row.sender for row in refused.context["imports"]] == ["AT main"]
    assert refused.context["imports"][0].text


def test_a_wrong_list_of_peers_is_shown(client: Client, settings: Any) -> None:
    settings.DICOM_PEERS = ["A" * 17]
    assert "WBCLAB_DICOM_PEERS:" in client.get("/dicom/network").content.decode()


def test_an_archive_that_does_not_answer(cast: Cast, client: Client) -> None:
    port = free_port()
    server = PacsServer.objects.create(
        site=cast.site,
        name="Archive",
        host="127.0.0.1",
        port=port,
        ae_title="PACS",
        dicomweb_url=f"http://127.0.0.1:{port}/dicom-web",
    )
    answer = client.post(f"/dicom/network/archives/{server.pk}/test")
    texts = [str(message) for message in get_messages(answer.wsgi_request)]
    assert texts[0].startswith(f"Archive, C-ECHO: Nobody listens at 127.0.0.1:{port}")
    assert texts[1].startswith("Archive, DICOMweb: The archive cannot be reached")


def test_the_secret_of_an_archive_is_only_named(
    cast: Cast, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = PacsServer.objects.create(
        site=cast.site,
        name="Web",
        way="dicomweb",
        dicomweb_url="http://127.0.0.1:1/dicom-web",
        secret="WBCLAB_DELIVERY_PACS",
    )

    def told() -> str:
        answer = client.post(f"/dicom/network/archives/{server.pk}/test")
        return " ".join(str(message) for message in get_messages(answer.wsgi_request))

    assert "WBCLAB_DELIVERY_PACS is not set" in told()
    monkeypatch.setenv("WBCLAB_DELIVERY_PACS", "x")
    assert "cannot be reached" in told()
    server.secret = "/etc/passwd"
    server.save()
    assert "The file must lie in" in told()


def test_an_archive_of_another_site(cast: Cast, client: Client) -> None:
    server = PacsServer.objects.create(
        site=cast.other_site, name="X", host="127.0.0.1", port=1, ae_title="X"
    )
    assert client.post(f"/dicom/network/archives/{server.pk}/test").status_code == 404
    assert "127.0.0.1:1" not in client.get("/dicom/network").content.decode()
    # The administration sends who asks for what is not theirs back to its index.
    assert client.get(f"/admin/specimens/pacsserver/{server.pk}/change/").status_code == 302


def test_an_archive_is_entered(cast: Cast, client: Client) -> None:
    values = {
        "site": cast.site.pk, "name": "Archive", "way": "dimse", "host": "pacs.invalid",
        "port": 104, "ae_title": "PACS", "active": "on",
    }  # fmt: skip
    wrong = client.post("/admin/specimens/pacsserver/add/", values | {"ae_title": "bad\\title"})
    assert wrong.status_code == 200
    assert client.post("/admin/specimens/pacsserver/add/", values | {"host": ""}).status_code == 200
    assert client.post("/admin/specimens/pacsserver/add/", values).status_code == 302
    assert PacsServer.objects.get().ae_title == "PACS"


def test_the_log_does_not_grow_for_ever() -> None:
    for number in range(12):
        association(started_at=timezone.now(), reason=str(number))
    forget_old_associations(keep=5)
    kept = list(AssociationLog.objects.values_list("reason", flat=True))
    assert kept == ["11", "10", "9", "8", "7"]
    assert forget_old_associations(keep=5) == 0


def test_what_a_dead_listener_left_open_is_closed() -> None:
    mine = association(listener="here:12")
    other = association(listener="there:12")
    close_open_associations("here:99")
    mine.refresh_from_db()
    other.refresh_from_db()
    assert (mine.state, other.state) == ("aborted", "open")
    assert mine.ended_at is not None
