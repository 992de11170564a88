"""The pages around HL7: expected orders in the worklist, held messages and what is decided."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from specimens.models import AuditEvent, InboundMessage, Order, OrderedTest, Specimen, User
from specimens.services.inbound_messages import receive_message
from tests.factories import Cast, PatientFactory
from tests.interop.hl7_golden import changed, golden
from tests.portal.conftest import as_person  # noqa: F401 - a fixture

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]
ORM, OML = golden("orm_o01"), golden("oml_o21")


def _take(cast: Cast, raw: bytes) -> InboundMessage:
    receive_message(actor=cast.integration, site=cast.site, raw=raw)
    return InboundMessage.objects.latest("pk")


def _page(client: Client, name: str, *args: int, **query: str) -> str:
    response = client.get(reverse(name, args=args), query)
    assert response.status_code == 200
    return response.content.decode()


def test_an_expected_order_stands_in_the_worklist_and_is_accessioned_by_scan(
    cast: Cast,
    as_person: As,  # noqa: F811
) -> None:
    _take(cast, ORM)
    order = Order.objects.get()
    client = as_person(cast.technician)
    worklist = _page(client, "worklist")
    assert "Expected" in worklist
    assert "ORD-77" in worklist
    assert "Müller&amp;Søn" in worklist
    assert "ORD-77" not in _page(client, "worklist", state="imaged")
    assert "ORD-77" in _page(client, "worklist", q="Müller")
    assert "ORD-77" not in _page(client, "worklist", q="Meyer")
    assert "ORD-77" not in _page(as_person(cast.outsider), "worklist")
    form = reverse("accession_expected", args=[order.pk])
    scanned = client.get(reverse("search"), {"q": "ORD-77"})
    assert scanned.headers["Location"] == form
    assert "night sweats" in client.get(form).content.decode()
    refused = client.post(form, {"accession_number": "no good"})
    assert refused.status_code == 422
    assert "letters, digits" in refused.content.decode()
    answer = client.post(form, {"accession_number": "26-0100", "wbc_count": "7.2"})
    specimen = Specimen.objects.get()
    assert answer.headers["Location"] == reverse("specimen", args=[specimen.pk])
    assert specimen.order == order
    worklist = _page(client, "worklist")
    assert "26-0100" in worklist
    assert "Expected" not in worklist


def test_a_cancelled_order_cannot_be_accessioned(cast: Cast, as_person: As) -> None:  # noqa: F811
    _take(cast, ORM)
    _take(cast, changed(golden("orm_cancel"), **{"Meyer^Eva": "Müller^Zoë"}))
    order = Order.objects.get()
    client = as_person(cast.technician)
    form = reverse("accession_expected", args=[order.pk])
    assert "was cancelled" in client.get(form).content.decode()
    assert client.post(form, {"accession_number": "1"}).status_code == 409


def test_a_held_message_calls_for_somebody_and_is_followed(
    cast: Cast,
    as_person: As,  # noqa: F811
) -> None:
    held = _take(cast, changed(ORM, **{"69738-3^Differential panel^LN": "DIFF^Blutbild^L"}))
    client = as_person(cast.technician)
    assert "1 message of hospital systems held" in _page(client, "worklist")
    assert "of hospital systems held" not in _page(as_person(cast.outsider), "worklist")
    assert "ORM-0001" in _page(client, "inbound_list")
    page = _page(client, "inbound_message", held.pk)
    assert "DIFF^L (Blutbild)" in page
    assert "Müller&amp;Søn" in page, "field by field, as it is meant"
    assert "Müller\\T\\Søn" in page, "and as it came"
    assert AuditEvent.objects.filter(action="message.viewed", actor=cast.technician).exists()
    retry = reverse("retry_inbound", args=[held.pk])
    assert client.post(retry, {}).status_code == 422, "nothing was decided"
    done = client.post(retry, {"test_meaning": "differential"}, follow=True)
    assert "ORD-77 is expected" in done.content.decode()
    assert OrderedTest.objects.get().code == "DIFF"
    assert "ORM-0001" not in _page(client, "inbound_list")
    assert "ORM-0001" in _page(client, "inbound_list", state="all")
    assert "ORM-0001" in _page(client, "inbound_list", state="applied", q="ORD-77")


def test_demographics_are_compared_and_a_choice_is_asked_for(
    cast: Cast,
    as_person: As,  # noqa: F811
) -> None:
    PatientFactory.create(
        site=cast.site, identifier="4711", issuer="GENERAL", family_name="Meier", given_name="Eva"
    )
    held = _take(cast, OML)
    client = as_person(cast.technician)
    page = _page(client, "inbound_message", held.pk)
    assert "Meier" in page
    assert "In the message" in page
    retry = reverse("retry_inbound", args=[held.pk])
    assert client.post(retry, {"demographics": "message"}).status_code == 302
    assert Specimen.objects.count() == 2


def test_what_cannot_be_followed_again_stays_and_says_why(
    cast: Cast,
    as_person: As,  # noqa: F811
) -> None:
    held = _take(cast, golden("orm_cancel"))
    client = as_person(cast.technician)
    retry = reverse("retry_inbound", args=[held.pk])
    wrong = client.post(retry, {"order_number": "ORD-0"})
    assert wrong.status_code == 422
    assert "no order under ORD-0" in wrong.content.decode()
    again = client.post(retry, {}, follow=True).content.decode()
    assert "Still held: There is no order ORD-77" in again
    discard = reverse("discard_inbound", args=[held.pk])
    assert client.post(discard, {"reason": ""}).status_code == 422
    assert client.post(discard, {"reason": "meant for another ward"}).status_code == 302
    assert "meant for another ward" in _page(client, "inbound_list", state="discarded")
    late = client.post(retry, {}, follow=True).content.decode()
    assert "discarded already" in late


def test_a_refused_message_is_shown_even_where_it_cannot_be_parsed(
    cast: Cast,
    as_person: As,  # noqa: F811
) -> None:
    refused = _take(cast, changed(ORM, **{"UNICODE UTF-8": "KLINGON"}))
    page = _page(as_person(cast.administrator), "inbound_message", refused.pk)
    assert "KLINGON" in page
    assert "Follow it" not in page
