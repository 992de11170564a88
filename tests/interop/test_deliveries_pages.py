"""The pages of the outbox: what people see of it, and what they can do about it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from specimens.interop.channels import PermanentFailure, Receipt, Unreachable
from specimens.models import (
    AuditEvent,
    DelivererHeartbeat,
    Delivery,
    Destination,
    Report,
    Specimen,
    User,
)
from specimens.services.deliveries_queue import claim_delivery, fail_delivery, finish_delivery
from specimens.services.deliveries_sending import attempt_delivery
from tests.factories import Cast
from tests.interop.outbox import amend, make_cells, reviewed_case, sign, webhook
from tests.interop.receivers import SECRET, SECRET_ENV
from tests.interop.webhook_receiver import ReceiverThread
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]


@pytest.fixture
def as_person() -> As:
    def log_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def cells(db: None) -> Cells:
    return make_cells()


@pytest.fixture
def lis(cast: Cast) -> Destination:
    return webhook(cast.site, "https://lis.invalid/in", name="LIS")


@pytest.fixture
def case(cast: Cast, cells: Cells, lis: Destination) -> Specimen:
    found = reviewed_case(cast, cells)
    sign(cast.pathologist, found)
    return found


@pytest.fixture
def delivery(case: Specimen) -> Delivery:
    return Delivery.objects.get()


def _claimed(destination: Destination) -> Delivery:
    found = claim_delivery(destination_id=destination.pk, worker="w")
    assert found is not None
    return found


def _refuse(destination: Destination, text: str = "The receiver answered 400.") -> None:
    fail_delivery(delivery=_claimed(destination), failure=PermanentFailure(text))


def _arrive(destination: Destination) -> None:
    finish_delivery(delivery=_claimed(destination), receipt=Receipt("The receiver answered 204."))


def _text(response: Any) -> str:
    return str(response.content.decode())


def _beat() -> None:
    now = timezone.now()
    DelivererHeartbeat.objects.create(worker="d", started_at=now, seen_at=now)


class TestList:
    def test_it_says_where_each_report_went(
        self, cast: Cast, as_person: As, case: Specimen, lis: Destination
    ) -> None:
        content = _text(as_person(cast.technician).get(reverse("delivery_list")))
        for text in (case.accession_number, "Signed report", "version 1", "LIS", "Waiting"):
            assert text in content
        _arrive(lis)
        content = _text(as_person(cast.technician).get(reverse("delivery_list")))
        assert "Delivered" in content
        assert "The receiver answered 204." in content

    def test_filters_narrow_it_and_nonsense_narrows_nothing(
        self, cast: Cast, as_person: As, delivery: Delivery
    ) -> None:
        client = as_person(cast.technician)

        def is_listed(**query: str) -> bool:
            response = client.get(reverse("delivery_list"), query)
            return reverse("delivery", args=[delivery.pk]) in _text(response)

        number = delivery.specimen.accession_number
        assert is_listed(state="open")
        assert is_listed(destination=str(delivery.destination_id), specimen=number.lower())
        assert not is_listed(state="held")
        assert not is_listed(specimen="no-such")
        assert is_listed(state="nonsense", destination="x", before="y")
        assert not is_listed(before=str(delivery.pk))

    def test_another_site_sees_none_of_it(
        self, cast: Cast, as_person: As, delivery: Delivery
    ) -> None:
        client = as_person(cast.outsider)
        content = _text(client.get(reverse("delivery_list")))
        assert delivery.specimen.accession_number not in content
        assert "LIS" not in content
        assert client.get(reverse("delivery", args=[delivery.pk])).status_code == 404

    def test_pages_follow_each_other(
        self, cast: Cast, as_person: As, case: Specimen, lis: Destination
    ) -> None:
        for sequence in range(2, 53):
            Delivery.objects.create(
                destination=lis, specimen=case, event="preliminary", sequence=sequence
            )
        client = as_person(cast.technician)
        first = client.get(reverse("delivery_list"))
        rows = first.context["rows"]
        assert len(rows) == 50
        second = client.get(reverse("delivery_list"), {"before": first.context["following"]})
        assert len(second.context["rows"]) == 2
        assert not {row.pk for row in rows} & {row.pk for row in second.context["rows"]}
        assert second.context["following"] is None

    def test_queries_do_not_grow_with_the_list(
        self,
        cast: Cast,
        as_person: As,
        case: Specimen,
        lis: Destination,
        django_assert_max_num_queries: Any,
    ) -> None:
        client = as_person(cast.technician)
        with django_assert_max_num_queries(12) as few:
            client.get(reverse("delivery_list"))
        for sequence in range(2, 41):
            Delivery.objects.create(
                destination=lis, specimen=case, event="preliminary", sequence=sequence
            )
        with django_assert_max_num_queries(len(few)):
            client.get(reverse("delivery_list"))


class TestPage:
    def test_it_holds_each_try_with_its_reason(
        self, cast: Cast, as_person: As, delivery: Delivery, lis: Destination
    ) -> None:
        fail_delivery(delivery=_claimed(lis), failure=Unreachable("lis.invalid is away."))
        content = _text(as_person(cast.technician).get(reverse("delivery", args=[delivery.pk])))
        for text in ("Not reached", "lis.invalid is away.", delivery.message_id, "Next try"):
            assert text in content
        assert "has been unreachable since" in content

    def test_it_says_what_a_later_one_waits_for(
        self, cast: Cast, as_person: As, case: Specimen, lis: Destination
    ) -> None:
        _refuse(lis)
        amend(cast.pathologist, case)
        held, later = Delivery.objects.order_by("sequence")
        content = _text(as_person(cast.technician).get(reverse("delivery", args=[later.pk])))
        assert "the earlier delivery" in content
        assert reverse("delivery", args=[held.pk]) in content
        assert "which is held" in content

    def test_a_retry_makes_it_due(
        self, cast: Cast, as_person: As, delivery: Delivery, lis: Destination
    ) -> None:
        _refuse(lis)
        response = as_person(cast.technician).post(
            reverse("retry_delivery", args=[delivery.pk]), follow=True
        )
        assert "is sent again now" in _text(response)
        delivery.refresh_from_db()
        assert delivery.state == "due"

    def test_a_retry_of_one_that_arrived_is_explained(
        self, cast: Cast, as_person: As, delivery: Delivery, lis: Destination
    ) -> None:
        _arrive(lis)
        response = as_person(cast.technician).post(
            reverse("retry_delivery", args=[delivery.pk]), follow=True
        )
        assert "cannot be sent again: it is delivered" in _text(response)

    def test_all_held_ones_are_sent_again_from_the_list(
        self, cast: Cast, as_person: As, delivery: Delivery, lis: Destination
    ) -> None:
        _refuse(lis)
        client = as_person(cast.technician)
        assert "Send all held again" in _text(client.get(reverse("delivery_list")))
        response = client.post(reverse("retry_all_held", args=[lis.pk]), follow=True)
        assert "1 held delivery is sent to LIS again" in _text(response)

    def test_to_cancel_takes_a_reason_which_stays_visible(
        self, cast: Cast, as_person: As, delivery: Delivery
    ) -> None:
        client = as_person(cast.pathologist)
        path = reverse("cancel_delivery", args=[delivery.pk])
        refused = client.post(path, {"reason": " "})
        assert refused.status_code == 422
        assert "Say why it is not to be sent." in _text(refused)
        content = _text(client.post(path, {"reason": "Told by phone."}, follow=True))
        assert "Told by phone." in content
        delivery.refresh_from_db()
        assert (delivery.state, delivery.cancelled_by) == ("cancelled", cast.pathologist)

    def test_the_message_is_shown_to_those_who_may_and_the_look_is_recorded(
        self,
        cast: Cast,
        as_person: As,
        delivery: Delivery,
        lis: Destination,
        settings: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        settings.DELIVERY_ALLOWED_HOSTS = ["127.0.0.1"]
        monkeypatch.setenv(SECRET_ENV, SECRET)
        path = reverse("delivery_payload", args=[delivery.pk])
        client = as_person(cast.pathologist)
        assert "made just before the first try" in _text(client.get(path))
        with ReceiverThread() as receiver:
            Destination.objects.update(address=receiver.url)
            attempt_delivery(delivery=_claimed(lis))
        content = _text(client.get(path))
        assert "application/json" in content
        assert "Musterfrau" in content
        assert AuditEvent.objects.filter(action="delivery.viewed").count() == 2
        assert as_person(cast.technician).get(path).status_code == 403
        page = _text(client.get(reverse("specimen", args=[delivery.specimen_id])))
        assert "Sent to LIS" in page
        assert "elivery viewed" not in page, "who looked stands in the audit, not here"

    @pytest.mark.parametrize(
        ("kind", "payload", "shown"),
        [
            ("hl7", b"\x0bMSH|^~\\&|A\rPID|1||P1\r\x1c\r", "PID|1||P1"),
            ("hl7", "MSH|x\rPID|Müller".encode("latin-1"), "PID|Müller"),
            ("dicom_store", b"\0" * 128 + b"DICM\xff\xfe", "is not text"),
        ],
    )
    def test_messages_of_other_kinds(
        self,
        kind: str,
        payload: bytes,
        shown: str,
        cast: Cast,
        as_person: As,
        delivery: Delivery,
    ) -> None:
        Destination.objects.update(kind=kind)
        Delivery.objects.update(payload=payload, content_type="x")
        path = reverse("delivery_payload", args=[delivery.pk])
        assert shown in _text(as_person(cast.administrator).get(path))


class TestFrame:
    def test_all_is_quiet_while_everything_arrives(
        self, cast: Cast, as_person: As, delivery: Delivery, lis: Destination
    ) -> None:
        _beat()
        _arrive(lis)
        content = _text(as_person(cast.technician).get(reverse("model")))
        assert "LIS" not in content
        assert "deliverer" not in content

    def test_an_outage_is_said_on_every_page_of_the_site(
        self, cast: Cast, as_person: As, delivery: Delivery, lis: Destination
    ) -> None:
        _beat()
        fail_delivery(delivery=_claimed(lis), failure=Unreachable("away"))
        content = _text(as_person(cast.technician).get(reverse("model")))
        assert "LIS unreachable since <time" in content
        assert "LIS" not in _text(as_person(cast.outsider).get(reverse("model")))

    def test_what_is_held_is_said(
        self, cast: Cast, as_person: As, delivery: Delivery, lis: Destination
    ) -> None:
        _beat()
        _refuse(lis)
        content = _text(as_person(cast.technician).get(reverse("model")))
        assert "1 delivery to LIS held: see why" in content

    def test_that_nobody_delivers_is_said_only_where_there_is_something_to_deliver_to(
        self, cast: Cast, as_person: As, lis: Destination
    ) -> None:
        content = _text(as_person(cast.technician).get(reverse("model")))
        assert "no deliverer is running" in content
        assert "deliverer" not in _text(as_person(cast.outsider).get(reverse("model")))
        _beat()
        assert "deliverer" not in _text(as_person(cast.technician).get(reverse("model")))


class TestReconciliation:
    def _page(self, client: Client, **query: str) -> str:
        return _text(client.get(reverse("reconciliation"), query))

    def test_what_has_not_arrived_is_named_with_the_reason(
        self, cast: Cast, as_person: As, case: Specimen, lis: Destination
    ) -> None:
        _refuse(lis, "The receiver answered 400.")
        content = self._page(as_person(cast.technician))
        assert "1 signed report has not arrived" in content
        assert case.accession_number in content
        assert "Held: The receiver answered 400." in content

    def test_everything_has_arrived(
        self, cast: Cast, as_person: As, case: Specimen, lis: Destination
    ) -> None:
        _arrive(lis)
        content = self._page(as_person(cast.technician))
        assert "Every report signed in this period has arrived everywhere." in content
        assert case.accession_number not in content

    def test_a_cancelled_one_is_no_gap(
        self, cast: Cast, as_person: As, case: Specimen, delivery: Delivery
    ) -> None:
        as_person(cast.pathologist).post(
            reverse("cancel_delivery", args=[delivery.pk]), {"reason": "x"}
        )
        assert "has arrived everywhere" in self._page(as_person(cast.technician))

    def test_what_was_never_queued_is_found_and_can_be_sent(
        self, cast: Cast, as_person: As, cells: Cells, lis: Destination
    ) -> None:
        Destination.objects.update(active=False)
        report = sign(cast.pathologist, reviewed_case(cast, cells))
        assert not Delivery.objects.exists()
        Destination.objects.update(active=True)
        assert "Never queued" in self._page(as_person(cast.technician))
        client = as_person(cast.administrator)
        path = reverse("queue_missing", args=[lis.pk])
        content = _text(client.post(path, {"report": report.pk}, follow=True))
        assert "is queued for LIS" in content
        assert Delivery.objects.get().report == report
        again = client.post(path, {"report": report.pk}, follow=True)
        assert "among the deliveries of this destination already" in _text(again)

    def test_a_version_that_a_later_one_has_overtaken_is_neither_missing_nor_sent(
        self, cast: Cast, as_person: As, cells: Cells, lis: Destination
    ) -> None:
        Destination.objects.update(active=False)
        case = reviewed_case(cast, cells)
        first = sign(cast.pathologist, case)
        Destination.objects.update(active=True)
        amend(cast.pathologist, case)
        client = as_person(cast.administrator)
        path = reverse("queue_missing", args=[lis.pk])
        refused = client.post(path, {"report": first.pk}, follow=True)
        assert "A later version goes there already" in _text(refused)
        assert "2 signed reports have not arrived" in self._page(client)
        _arrive(lis)
        assert "has arrived everywhere" in self._page(client)

    def test_only_what_the_destination_wants_counts(
        self, cast: Cast, as_person: As, case: Specimen, lis: Destination
    ) -> None:
        _arrive(lis)
        Destination.objects.update(events=["final"])
        amend(cast.pathologist, case)
        assert "has arrived everywhere" in self._page(as_person(cast.technician))

    def test_the_period_is_that_asked_for(
        self, cast: Cast, as_person: As, case: Specimen, lis: Destination
    ) -> None:
        client = as_person(cast.technician)
        long_ago = self._page(client, since="2020-01-01", until="2020-12-31")
        assert "has arrived everywhere" in long_ago
        assert "after the last one" in self._page(client, since="2026-02-02", until="2026-01-01")
        assert "1 signed report" in self._page(client, since="nonsense", until="2026-02-31")

    def test_the_command_ends_with_1_where_something_is_missing(
        self, cast: Cast, case: Specimen, lis: Destination, capsys: pytest.CaptureFixture[str]
    ) -> None:
        call_command("reconcile_deliveries")
        assert "has been delivered" in capsys.readouterr().out, "younger than the grace"
        with pytest.raises(CommandError, match="1 missing"):
            call_command("reconcile_deliveries", "--grace", "0")
        out = capsys.readouterr().out
        assert "main LIS: 1 signed, 0 delivered, 0 cancelled, 0 superseded, 1 missing" in out
        assert f"{case.accession_number} version 1: waiting" in out
        _arrive(lis)
        call_command("reconcile_deliveries", "--grace", "0", "--site", "main")
        assert "1 signed, 1 delivered" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "options", [["--since", "yesterday"], ["--until", "2026-02-31"], ["--site", "nowhere"]]
    )
    def test_the_command_says_what_it_cannot_read(self, options: list[str], cast: Cast) -> None:
        with pytest.raises(CommandError, match=r"yesterday|2026-02-31|nowhere"):
            call_command("reconcile_deliveries", *options)

    def test_a_report_older_than_the_destination_is_not_expected(
        self, cast: Cast, as_person: As, cells: Cells
    ) -> None:
        sign(cast.pathologist, reviewed_case(cast, cells))
        late = webhook(cast.site, "https://late.invalid")
        assert Report.objects.get().signed_at < late.created_at
        assert "has arrived everywhere" in self._page(as_person(cast.technician))
        Destination.objects.update(created_at=timezone.now() - timedelta(days=1))
        assert "Never queued" in self._page(as_person(cast.technician))
