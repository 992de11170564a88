"""Destinations: entered by administrators, judged by their channel, asked for a sign of life."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from specimens.models import AuditEvent, Destination
from specimens.services.destinations import add_destination
from tests.factories import Cast
from tests.interop.outbox import webhook
from tests.interop.receivers import SECRET, SECRET_ENV
from tests.interop.webhook_receiver import ReceiverThread
from tests.processes import free_port

pytestmark = [pytest.mark.core, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _secret(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DELIVERY_ALLOWED_HOSTS = ["127.0.0.1"]
    monkeypatch.setenv(SECRET_ENV, SECRET)


@pytest.fixture
def client(cast: Cast) -> Client:
    found = Client()
    found.force_login(cast.administrator)
    return found


@pytest.fixture
def receiver() -> Iterator[ReceiverThread]:
    with ReceiverThread() as running:
        yield running


def _typed(cast: Cast, **values: Any) -> dict[str, Any]:
    return {
        "site": cast.site.pk, "name": "LIS", "kind": "webhook", "events": ["final", "corrected"],
        "address": "https://lis.example.org/in", "active": "on",
        "settings": json.dumps({"secret_env": SECRET_ENV}),
    } | values  # fmt: skip


def _text(response: Any) -> str:
    return str(response.content.decode())


def test_one_is_entered_and_recorded(cast: Cast, client: Client) -> None:
    response = client.post(reverse("new_destination"), _typed(cast), follow=True)
    assert "LIS is entered. Send it a test." in _text(response)
    found = Destination.objects.get()
    assert (found.site, found.kind, found.events) == (cast.site, "webhook", ["final", "corrected"])
    assert found.settings == {"secret_env": SECRET_ENV}
    event = AuditEvent.objects.get(action="destination.added")
    assert event.actor == cast.administrator
    assert SECRET not in json.dumps(event.details)
    assert "LIS" in _text(client.get(reverse("destination_list")))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"address": "http//x"}, "https://host/path"),
        ({"settings": "{not json"}, "This is not JSON"),
        ({"settings": "[1]"}, "Write an object"),
        ({"settings": "{}"}, "Name a secret"),
        ({"settings": '{"secret": "in clear"}'}, "There is no such setting"),
        ({"settings": '{"secret_env": "WBCLAB_SECRET_KEY"}'}, "must begin with WBCLAB_DELIVERY_"),
        ({"events": []}, "This field is required"),
        ({"name": ""}, "This field is required"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(
    values: dict[str, Any], text: str, cast: Cast, client: Client
) -> None:
    response = client.post(reverse("new_destination"), _typed(cast, **values))
    assert response.status_code == 422
    assert text in _text(response)
    assert "Nothing was changed." in _text(response)
    assert not Destination.objects.exists()


def test_a_name_is_taken_once_for_each_site(cast: Cast, client: Client) -> None:
    webhook(cast.site, "https://lis.example.org/in", name="LIS")
    response = client.post(reverse("new_destination"), _typed(cast))
    assert response.status_code == 422
    assert "already exists" in _text(response)


def test_one_is_changed_and_what_changed_is_recorded(cast: Cast, client: Client) -> None:
    found = webhook(cast.site, "https://lis.example.org/in", name="LIS")
    Destination.objects.update(paused_until=timezone.now(), pauses=7)
    path = reverse("destination", args=[found.pk])
    assert "https://lis.example.org/in" in _text(client.get(path))
    typed = _typed(cast, address="https://new.example.org/in", kind="hl7", active="")
    assert "LIS is changed" in _text(client.post(path, typed, follow=True))
    found.refresh_from_db()
    assert (found.address, found.kind) == ("https://new.example.org/in", "webhook")
    assert (found.active, found.paused_until, found.pauses) == (False, None, 0)
    changes = AuditEvent.objects.get(action="destination.changed").details["changes"]
    assert changes["address"] == ["https://lis.example.org/in", "https://new.example.org/in"]
    assert changes["active"] == [True, False]
    assert "kind" not in changes


def test_a_site_of_others_cannot_be_chosen(cast: Cast, client: Client) -> None:
    response = client.post(reverse("new_destination"), _typed(cast, site=cast.other_site.pk))
    assert response.status_code == 422
    elsewhere = webhook(cast.other_site, "https://x.invalid")
    assert client.get(reverse("destination", args=[elsewhere.pk])).status_code == 404


def test_only_administrators(cast: Cast) -> None:
    with pytest.raises(PermissionDenied):
        add_destination(actor=cast.pathologist, site=cast.site, name="x", kind="webhook")


def test_a_test_is_sent_and_its_outcome_said(
    cast: Cast, client: Client, receiver: ReceiverThread
) -> None:
    found = webhook(cast.site, receiver.url, name="LIS")
    path = reverse("probe_destination", args=[found.pk])
    content = _text(client.post(path, follow=True))
    assert "The test of LIS succeeded. The receiver answered 204." in content
    assert receiver.requests[0][1]["type"] == "test"
    Destination.objects.update(address=f"http://127.0.0.1:{free_port()}/")
    content = _text(client.post(path, follow=True))
    assert "The test of LIS failed. 127.0.0.1 cannot be reached" in content
    events = AuditEvent.objects.filter(action="destination.probed")
    assert [one.details["outcome"].split(":")[0] for one in events.order_by("sequence")] == [
        "The receiver answered 204.",
        "failed",
    ]


def test_a_test_does_not_reach_where_it_may_not(
    cast: Cast, client: Client, receiver: ReceiverThread, settings: Any
) -> None:
    settings.DELIVERY_ALLOWED_HOSTS = []
    found = webhook(cast.site, receiver.url)
    content = _text(client.post(reverse("probe_destination", args=[found.pk]), follow=True))
    assert "not a public address" in content
    assert not receiver.requests
