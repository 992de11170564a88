"""The page for objects without a specimen: see, assign, discard; somebody else may be faster."""

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse

from specimens.models import AuditEvent, CellImage, DicomInstance, Job, Specimen
from specimens.services.dicom_import import receive_instance
from specimens.services.dicom_import_decisions import discard_instance
from tests.dicom.files import drawn_cell, frames_of, instance, plain_cell, saved
from tests.dicom.waiting import waiting_instance
from tests.factories import Cast, OrderFactory, PatientFactory

pytestmark = [pytest.mark.core, pytest.mark.django_db]


@pytest.fixture
def client(cast: Cast) -> Client:
    found = Client()
    found.force_login(cast.technician)
    return found


def received(cast: Cast, folder: Path, dataset: Any) -> DicomInstance:
    path = saved(dataset, folder / "sent.dcm")
    outcome = receive_instance(actor=None, site=cast.site, path=path, sender="PACS", way="c-store")
    return DicomInstance.objects.get(pk=outcome.instance_id)


def text_of(client: Client, name: str, *args: Any, **query: str) -> str:
    return str(client.get(reverse(name, args=args), query).content.decode())


def test_the_list_says_what_waits_and_why(cast: Cast, client: Client, tmp_path: Path) -> None:
    assert "Every DICOM object has found its specimen." in text_of(client, "unmatched")
    received(cast, tmp_path, instance(AccessionNumber="A9", PatientName="Muster^<b>Erika"))
    content = text_of(client, "unmatched")
    assert "No specimen fits: accession number A9." in content
    assert "Muster &lt;b&gt;Erika" in content
    assert "1 DICOM object without a specimen: decide" in text_of(client, "worklist")


def test_the_filters(cast: Cast, client: Client) -> None:
    waiting_instance(cast.site)
    odd = waiting_instance(cast.site, state="quarantined", reason="Other content.")
    gone = waiting_instance(cast.site, state="discarded", reason="A test.")
    waiting_instance(cast.other_site, reason="Elsewhere.")

    def listed(**query: str) -> int:
        return text_of(client, "unmatched", **query).count('data-key="instance-')

    assert listed() == 2
    assert listed(state="unmatched") == 1
    assert f"instance-{odd.pk}" in text_of(client, "unmatched", state="quarantined")
    assert f"instance-{gone.pk}" in text_of(client, "unmatched", state="discarded")
    assert listed(state="nonsense") == 2


def test_the_queries_do_not_grow(
    cast: Cast, client: Client, django_assert_max_num_queries: Any
) -> None:
    waiting_instance(cast.site)
    with django_assert_max_num_queries(25) as few:
        client.get(reverse("unmatched"))
    for _ in range(20):
        waiting_instance(cast.site)
    with django_assert_max_num_queries(len(few)):
        client.get(reverse("unmatched"))


def test_pictures_are_drawn_when_they_are_asked_for(
    cast: Cast, client: Client, tmp_path: Path
) -> None:
    one = received(cast, tmp_path, frames_of([drawn_cell(), plain_cell(2, 360)]))
    for number in (1, 2):
        answer = client.get(reverse("unmatched_picture", args=[one.pk, number]))
        assert (answer.status_code, answer["Content-Type"]) == (200, "image/jpeg")
        assert "private" in answer["Cache-Control"]
    assert client.get(reverse("unmatched_picture", args=[one.pk, 3])).status_code == 404
    assert client.get(reverse("unmatched_picture", args=[one.pk, 0])).status_code == 404


def test_a_picture_that_cannot_be_drawn_is_missing(
    cast: Cast, client: Client, tmp_path: Path
) -> None:
    one = received(cast, tmp_path, instance())
    Path(one.file.path).write_bytes(b"gone")
    assert client.get(reverse("unmatched_picture", args=[one.pk, 1])).status_code == 404


def test_assigning_makes_cells_of_it(cast: Cast, client: Client, tmp_path: Path) -> None:
    specimen = cast.specimen()
    one = received(cast, tmp_path, frames_of([plain_cell(1), plain_cell(2)]))
    response = client.post(
        reverse("unmatched_assign", args=[one.pk]),
        {"accession_number": specimen.accession_number},
        follow=True,
    )
    assert f"2 images added to specimen {specimen.accession_number}." in response.content.decode()
    assert CellImage.objects.filter(specimen=specimen).count() == 2
    assert Job.objects.count() == 2
    one.refresh_from_db()
    assert (one.state, one.specimen, one.decided_by) == ("matched", specimen, cast.technician)
    event = AuditEvent.objects.get(action="dicom.assigned")
    assert (event.actor, event.specimen) == (cast.technician, specimen)


def test_candidates_and_what_speaks_against_them(
    cast: Cast, client: Client, tmp_path: Path
) -> None:
    patient = PatientFactory.create(site=cast.site, identifier="P1")
    order = OrderFactory.create(site=cast.site, patient=patient)
    specimen = cast.specimen(accession_number="A1", order=order)
    one = received(cast, tmp_path, instance(AccessionNumber="A1", PatientID="P2"))
    assert one.state == "quarantined"
    content = text_of(client, "unmatched_instance", one.pk)
    assert "Assign to A1" in content
    assert "It says patient P2, but specimen A1 is of patient P1." in content
    address = reverse("unmatched_assign", args=[one.pk])
    refused = client.post(address, {"specimen": specimen.pk})
    assert refused.status_code == 409
    assert "Assign to A1 all the same" in refused.content.decode()
    assert not CellImage.objects.exists()
    client.post(address, {"specimen": specimen.pk, "confirmed": "1"})
    assert CellImage.objects.get().specimen == specimen
    details = AuditEvent.objects.get(action="dicom.assigned").details
    assert "patient P2" in details["reason"]


def test_looking_at_one_is_on_record(cast: Cast, client: Client) -> None:
    one = waiting_instance(cast.site)
    client.get(reverse("unmatched_instance", args=[one.pk]))
    event = AuditEvent.objects.get(action="dicom.viewed")
    assert (event.actor, event.object_id) == (cast.technician, str(one.pk))


def test_a_number_nobody_has_and_a_specimen_of_another_site(cast: Cast, client: Client) -> None:
    elsewhere = cast.specimen(site=cast.other_site, accession_number="E1")
    one = waiting_instance(cast.site)
    address = reverse("unmatched_assign", args=[one.pk])
    for data in ({"accession_number": "E1"}, {"specimen": elsewhere.pk}, {}, {"specimen": "x"}):
        assert client.post(address, data).status_code == 422
    one.refresh_from_db()
    assert one.state == "unmatched"


def test_a_specimen_that_takes_no_more(cast: Cast, client: Client) -> None:
    specimen = cast.specimen(state=Specimen.State.SIGNED_OUT)
    one = waiting_instance(cast.site)
    address = reverse("unmatched_assign", args=[one.pk])
    response = client.post(address, {"specimen": specimen.pk}, follow=True)
    assert "does not permit" in response.content.decode()


def test_somebody_was_faster(cast: Cast, client: Client) -> None:
    specimen = cast.specimen()
    one = waiting_instance(cast.site, identifiers={})
    address = reverse("unmatched_assign", args=[one.pk])
    client.post(address, {"specimen": specimen.pk})
    response = client.post(address, {"specimen": cast.specimen().pk}, follow=True)
    assert "meanwhile" in response.content.decode()
    discard = reverse("unmatched_discard", args=[one.pk])
    response = client.post(discard, {"reason": "No."}, follow=True)
    assert "meanwhile" in response.content.decode()
    assert CellImage.objects.get().specimen == specimen


def test_discarding_needs_a_reason_and_can_be_undone(cast: Cast, client: Client) -> None:
    one = waiting_instance(cast.site, identifiers={})
    discard = reverse("unmatched_discard", args=[one.pk])
    assert client.post(discard, {"reason": "  "}).status_code == 422
    client.post(discard, {"reason": "A test picture."})
    one.refresh_from_db()
    assert (one.state, one.reason) == ("discarded", "A test picture.")
    assert AuditEvent.objects.get(action="dicom.discarded").details["reason"] == "A test picture."
    assert "data-key" not in text_of(client, "unmatched").split("<main")[1].split("</main")[0]
    client.post(reverse("unmatched_assign", args=[one.pk]), {"specimen": cast.specimen().pk})
    assert CellImage.objects.count() == 1


def test_who_may_only_look(cast: Cast) -> None:
    one = waiting_instance(cast.site)
    client = Client()
    client.force_login(cast.administrator)
    content = text_of(client, "unmatched_instance", one.pk)
    assert "unmatched_assign" not in content
    assert "/assign" not in content
    assert 'id="discard"' not in content


def test_discarding_is_refused_without_the_role(cast: Cast) -> None:
    with pytest.raises(PermissionDenied):
        discard_instance(actor=cast.administrator, instance=waiting_instance(cast.site), reason="x")
