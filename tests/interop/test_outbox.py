"""The outbox by its rules: a row each, in order, one lease, the same bytes, held with a reason."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import OperationalError, transaction
from django.utils import timezone

from specimens.interop.channels import (
    PermanentFailure,
    Receipt,
    TemporaryFailure,
    Unreachable,
)
from specimens.models import AuditEvent, Delivery, DeliveryAttempt, Destination, Specimen
from specimens.services.deliveries import (
    cancel_delivery,
    enqueue_missing,
    retry_delivery,
    retry_held,
)
from specimens.services.deliveries_queue import (
    claim_delivery,
    destinations_with_work,
    extend_leases,
    fail_delivery,
    finish_delivery,
    release_expired_deliveries,
    seconds_to_next,
)
from specimens.services.deliveries_sending import attempt_delivery
from specimens.services.errors import Conflict
from specimens.services.queue_exit import finish_specimens
from tests.factories import Cast
from tests.interop.outbox import amend, make_cells, reviewed_case, sign, webhook
from tests.interop.receivers import SECRET, SECRET_ENV
from tests.interop.webhook_receiver import ReceiverThread
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]


@pytest.fixture
def receiver(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReceiverThread]:
    """A receiver on loopback, which the deliverer may call."""
    settings.DELIVERY_ALLOWED_HOSTS = ["127.0.0.1"]
    monkeypatch.setenv(SECRET_ENV, SECRET)
    with ReceiverThread() as running:
        yield running


@pytest.fixture
def cells(db: None) -> Cells:
    return make_cells()


@pytest.fixture
def destination(cast: Cast, receiver: ReceiverThread) -> Destination:
    return webhook(cast.site, receiver.url)


def _claim(destination: Destination, worker: str = "w") -> Delivery | None:
    return claim_delivery(destination_id=destination.pk, worker=worker)


def _claimed(destination: Destination) -> Delivery:
    found = _claim(destination)
    assert found is not None
    return found


def _deliver(destination: Destination) -> Delivery:
    delivery = _claimed(destination)
    assert finish_delivery(delivery=delivery, receipt=Receipt("ok"))
    return delivery


def _due_now(**of: Any) -> None:
    Delivery.objects.filter(state="due", **of).update(due_at=timezone.now())
    Destination.objects.update(paused_until=None)


class TestEnqueuing:
    def test_a_signature_makes_a_row_for_each_destination_that_wants_it(
        self, cast: Cast, cells: Cells
    ) -> None:
        wants = webhook(cast.site, "https://a.invalid")
        webhook(cast.site, "https://b.invalid", active=False)
        webhook(cast.site, "https://c.invalid", events=["preliminary", "corrected"])
        webhook(cast.other_site, "https://d.invalid")
        case = reviewed_case(cast, cells)
        report = sign(cast.pathologist, case)
        (delivery,) = Delivery.objects.all()
        assert (delivery.destination, delivery.report) == (wants, report)
        assert (delivery.event, delivery.sequence, delivery.state) == ("final", 1, "due")
        assert len(delivery.message_id) == 20

    def test_an_amendment_is_a_corrected_one_behind_the_first(
        self, cast: Cast, cells: Cells, destination: Destination
    ) -> None:
        case = reviewed_case(cast, cells)
        sign(cast.pathologist, case)
        amend(cast.pathologist, case)
        rows = Delivery.objects.order_by("sequence").values_list("event", "sequence")
        assert list(rows) == [("final", 1), ("corrected", 2)]

    def test_row_and_signature_stand_or_fall_together(
        self, cast: Cast, cells: Cells, destination: Destination
    ) -> None:
        case = reviewed_case(cast, cells)
        with pytest.raises(RuntimeError), transaction.atomic():
            sign(cast.pathologist, case)
            assert Delivery.objects.count() == 1
            raise RuntimeError
        assert Delivery.objects.count() == 0

    def test_the_end_of_the_classification_makes_a_preliminary_one(
        self, cast: Cast, cells: Cells, receiver: ReceiverThread
    ) -> None:
        destination = webhook(cast.site, receiver.url, events=["preliminary", "final"])
        webhook(cast.site, "https://b.invalid")
        case = cast.specimen(state=Specimen.State.IMAGED)
        cells.classified(case)
        finish_specimens(specimen_ids=[case.pk])
        (delivery,) = Delivery.objects.all()
        assert (delivery.destination, delivery.event) == (destination, "preliminary")
        attempt_delivery(delivery=_claimed(destination))
        ((_, body),) = receiver.requests
        content = body["data"]["content"]
        assert content["version"] == 0
        assert content["signature"] is None
        assert content["differential"][0]["key"] == "basophil" or content["counted"] == 1
        assert "not yet verified" in content["limitation"]


class TestOrder:
    @pytest.fixture
    def two(self, cast: Cast, cells: Cells, destination: Destination) -> list[Delivery]:
        case = reviewed_case(cast, cells)
        sign(cast.pathologist, case)
        amend(cast.pathologist, case)
        return list(Delivery.objects.order_by("sequence"))

    def test_the_later_waits_while_the_earlier_is_sent(
        self, two: list[Delivery], destination: Destination
    ) -> None:
        assert _claimed(destination) == two[0]
        assert _claim(destination) is None
        assert destinations_with_work() == []

    def test_the_later_waits_while_the_earlier_waits_for_its_next_try(
        self, two: list[Delivery], destination: Destination
    ) -> None:
        fail_delivery(delivery=_claimed(destination), failure=TemporaryFailure("busy"))
        Delivery.objects.filter(pk=two[0].pk).update(due_at=timezone.now() + timedelta(hours=1))
        assert _claim(destination) is None

    def test_the_later_waits_while_the_earlier_is_held_and_goes_when_it_is_cancelled(
        self, two: list[Delivery], destination: Destination, cast: Cast
    ) -> None:
        fail_delivery(delivery=_claimed(destination), failure=PermanentFailure("no"))
        two[0].refresh_from_db()
        assert (two[0].state, two[0].last_error) == ("held", "no")
        assert _claim(destination) is None
        cancel_delivery(actor=cast.pathologist, delivery=two[0], reason="Told by phone.")
        assert _claimed(destination) == two[1]

    def test_the_later_goes_when_the_earlier_has_arrived(
        self, two: list[Delivery], destination: Destination
    ) -> None:
        assert _deliver(destination) == two[0]
        assert _deliver(destination) == two[1]

    def test_another_specimen_and_another_destination_do_not_wait(
        self, two: list[Delivery], destination: Destination, cast: Cast, cells: Cells
    ) -> None:
        fail_delivery(delivery=_claimed(destination), failure=PermanentFailure("no"))
        other = webhook(cast.site, "https://b.invalid")
        case = reviewed_case(cast, cells)
        sign(cast.pathologist, case)
        assert _claimed(destination).specimen == case
        assert _claimed(other).specimen == case


class TestLeases:
    @pytest.fixture
    def delivery(self, cast: Cast, cells: Cells, destination: Destination) -> Delivery:
        sign(cast.pathologist, reviewed_case(cast, cells))
        return Delivery.objects.get()

    def test_each_goes_to_one_worker_only(
        self, delivery: Delivery, destination: Destination
    ) -> None:
        assert _claim(destination, "a") == delivery
        assert _claim(destination, "b") is None

    def test_a_killed_worker_s_delivery_is_sent_again_under_the_same_id(
        self, delivery: Delivery, destination: Destination
    ) -> None:
        first = _claimed(destination)
        assert release_expired_deliveries() == 0
        Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        assert release_expired_deliveries() == 1
        second = _claimed(destination)
        assert (second.message_id, second.attempts) == (first.message_id, 2)
        outcomes = DeliveryAttempt.objects.order_by("number").values_list("outcome", flat=True)
        assert list(outcomes) == ["lost", "running"]
        # The one thought dead speaks up: its word does not count any more.
        assert not finish_delivery(delivery=first, receipt=Receipt("late"))
        assert not fail_delivery(delivery=first, failure=PermanentFailure("late"))
        assert finish_delivery(delivery=second, receipt=Receipt("ok"))

    def test_a_living_worker_s_lease_is_prolonged(
        self, delivery: Delivery, destination: Destination
    ) -> None:
        claimed = _claimed(destination)
        assert claimed.lease_token is not None
        Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        extend_leases(tokens=[claimed.lease_token])
        assert release_expired_deliveries() == 0

    def test_what_outlives_too_many_workers_is_held(
        self, delivery: Delivery, destination: Destination, settings: Any
    ) -> None:
        settings.DELIVERY_MAX_ATTEMPTS = 2
        for _ in range(2):
            _claimed(destination)
            Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
            release_expired_deliveries()
        delivery.refresh_from_db()
        assert delivery.state == "held"
        assert "Our worker stopped" in delivery.last_error

    def test_a_destination_that_is_switched_off_gets_nothing(
        self, delivery: Delivery, destination: Destination
    ) -> None:
        Destination.objects.update(active=False)
        assert _claim(destination) is None


class TestFailures:
    @pytest.fixture
    def three(self, cast: Cast, cells: Cells, destination: Destination) -> list[Delivery]:
        for _ in range(3):
            sign(cast.pathologist, reviewed_case(cast, cells))
        return list(Delivery.objects.order_by("pk"))

    def test_each_try_sends_the_same_bytes_under_the_same_id(
        self, three: list[Delivery], destination: Destination, receiver: ReceiverThread
    ) -> None:
        receiver.statuses = [500, 204]
        first = _claimed(destination)
        assert not attempt_delivery(delivery=first)
        first.refresh_from_db()
        assert (first.state, first.failures) == ("due", 1)
        assert "answered 500" in first.last_error
        Destination.objects.update(settings=destination.settings | {"body": "notice"})
        Delivery.objects.exclude(pk=first.pk).update(due_at=timezone.now() + timedelta(hours=1))
        _due_now(pk=first.pk)
        assert attempt_delivery(delivery=_claimed(destination))
        (headers, body), (again, body_again) = receiver.requests
        assert headers["webhook-id"] == again["webhook-id"] == first.message_id
        assert body == body_again
        assert bytes(Delivery.objects.get(pk=first.pk).payload or b"") == receiver.bodies[0]

    def test_held_after_so_many_failed_tries(
        self, three: list[Delivery], destination: Destination, settings: Any
    ) -> None:
        settings.DELIVERY_MAX_ATTEMPTS = 3
        for _ in range(3):
            Delivery.objects.exclude(pk=three[0].pk).update(
                due_at=timezone.now() + timedelta(hours=1)
            )
            _due_now(pk=three[0].pk)
            fail_delivery(delivery=_claimed(destination), failure=TemporaryFailure("busy"))
        three[0].refresh_from_db()
        assert three[0].state == "held"
        assert three[0].last_error == "Held after 3 failed tries. busy"
        assert AuditEvent.objects.filter(action="delivery.held").count() == 1

    def test_an_outage_rests_the_destination_and_holds_nothing(
        self, three: list[Delivery], destination: Destination, settings: Any
    ) -> None:
        settings.DELIVERY_MAX_ATTEMPTS = 2
        asked = []
        for _ in range(6):
            claimed = _claimed(destination)
            asked.append(claimed.pk)
            fail_delivery(delivery=claimed, failure=Unreachable("refused"))
            destination.refresh_from_db()
            assert destination.paused_until is not None
            Destination.objects.update(paused_until=timezone.now() + timedelta(minutes=1))
            assert _claim(destination) is None, "it rests: nobody else asks meanwhile"
            Destination.objects.update(paused_until=timezone.now())
            Delivery.objects.filter(pk=claimed.pk).update(due_at=timezone.now())
        assert set(Delivery.objects.values_list("state", flat=True)) == {"due"}
        assert set(asked) == {one.pk for one in three}, "they take turns in asking"
        assert destination.pauses == 6
        assert destination.unreachable_since is not None

    def test_back_again_everything_goes_at_once(
        self, three: list[Delivery], destination: Destination
    ) -> None:
        fail_delivery(delivery=_claimed(destination), failure=Unreachable("refused"))
        far = timezone.now() + timedelta(hours=1)
        Delivery.objects.filter(attempts=1).update(due_at=far)
        Destination.objects.update(paused_until=timezone.now())
        _deliver(destination)
        destination.refresh_from_db()
        assert destination.unreachable_since is None
        assert (destination.pauses, destination.last_error) == (0, "")
        assert not Delivery.objects.filter(due_at=far).exists()
        _deliver(destination)
        _deliver(destination)

    def test_a_message_that_its_receiver_chokes_on_is_held_in_the_end(
        self, three: list[Delivery], destination: Destination, settings: Any
    ) -> None:
        """It looks like an outage each time; that the others get through tells them apart."""
        settings.DELIVERY_MAX_ATTEMPTS = 3
        poison = three[0].pk
        for other in three[1:]:
            _due_now(pk=poison)
            Delivery.objects.filter(pk=other.pk).update(due_at=timezone.now())
            for _ in range(2):
                claimed = _claimed(destination)
                if claimed.pk == poison:
                    fail_delivery(delivery=claimed, failure=Unreachable("broke off"))
                    Destination.objects.update(paused_until=None)
                else:
                    finish_delivery(delivery=claimed, receipt=Receipt("ok"))
        for _ in range(3):
            _due_now(pk=poison)
            if claimed_again := _claim(destination):
                fail_delivery(delivery=claimed_again, failure=Unreachable("broke off"))
        assert Delivery.objects.get(pk=poison).state == "held"
        assert Delivery.objects.filter(state="delivered").count() == 2

    def test_a_fault_of_ours_holds_the_delivery_with_the_reason(
        self, three: list[Delivery], destination: Destination, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError("broken on purpose")

        monkeypatch.setattr("specimens.interop.webhooks.WebhookChannel.render", broken)
        assert not attempt_delivery(delivery=_claimed(destination))
        held = Delivery.objects.get(state="held")
        assert "fault in wbclab (ZeroDivisionError: broken on purpose)" in held.last_error
        assert held.payload is None

    def test_a_database_that_goes_away_meanwhile_holds_nothing(
        self, three: list[Delivery], destination: Destination, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*_: object) -> None:
            raise OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr("specimens.services.deliveries_sending.outgoing_report", away)
        with pytest.raises(OperationalError):
            attempt_delivery(delivery=_claimed(destination))
        assert Delivery.objects.get(state="running").lease_until is not None
        assert not Delivery.objects.filter(state="held").exists()

    def test_a_kind_without_a_channel_is_held(
        self, three: list[Delivery], destination: Destination
    ) -> None:
        Destination.objects.update(kind="pigeon")
        attempt_delivery(delivery=_claimed(destination))
        assert "no channel" in Delivery.objects.get(state="held").last_error

    def test_the_next_look_is_when_the_first_pause_ends(
        self, three: list[Delivery], destination: Destination
    ) -> None:
        assert seconds_to_next(at_most=5) == 5
        Delivery.objects.update(due_at=timezone.now() + timedelta(seconds=50))
        assert 10 < seconds_to_next(at_most=90) <= 50
        Destination.objects.update(paused_until=timezone.now() + timedelta(seconds=9))
        assert seconds_to_next(at_most=90) <= 9
        assert destinations_with_work() == []


class TestPeople:
    @pytest.fixture
    def held(self, cast: Cast, cells: Cells, destination: Destination) -> Delivery:
        sign(cast.pathologist, reviewed_case(cast, cells))
        fail_delivery(delivery=_claimed(destination), failure=PermanentFailure("no"))
        return Delivery.objects.get()

    def test_a_held_one_is_sent_again_as_it_was(
        self, cast: Cast, held: Delivery, destination: Destination
    ) -> None:
        again = retry_delivery(actor=cast.technician, delivery=held)
        assert (again.state, again.failures, again.message_id) == ("due", 0, held.message_id)
        assert _claimed(destination) == held
        event = AuditEvent.objects.get(action="delivery.retried")
        assert event.actor == cast.technician
        assert event.specimen == held.specimen

    def test_or_made_anew_under_a_new_id(
        self, cast: Cast, held: Delivery, receiver: ReceiverThread, destination: Destination
    ) -> None:
        retry_delivery(actor=cast.technician, delivery=held)
        receiver.statuses = [400, 204]
        attempt_delivery(delivery=_claimed(destination))
        again = retry_delivery(actor=cast.technician, delivery=held, render_again=True)
        assert again.payload is None
        assert again.message_id != held.message_id
        attempt_delivery(delivery=_claimed(destination))
        ids = [headers["webhook-id"] for headers, _ in receiver.requests]
        assert ids == [held.message_id, again.message_id]

    def test_all_that_is_held_at_once(self, cast: Cast, held: Delivery) -> None:
        assert retry_held(actor=cast.administrator, destination=held.destination) == 1
        assert retry_held(actor=cast.administrator, destination=held.destination) == 0

    def test_neither_while_it_is_sent_nor_when_it_has_arrived(
        self, cast: Cast, held: Delivery, destination: Destination
    ) -> None:
        retry_delivery(actor=cast.technician, delivery=held)
        claimed = _claimed(destination)
        with pytest.raises(Conflict, match="being sent"):
            retry_delivery(actor=cast.technician, delivery=held)
        with pytest.raises(Conflict, match="being sent"):
            cancel_delivery(actor=cast.pathologist, delivery=held, reason="x")
        finish_delivery(delivery=claimed, receipt=Receipt("ok"))
        with pytest.raises(Conflict, match="delivered"):
            cancel_delivery(actor=cast.pathologist, delivery=held, reason="x")

    def test_to_cancel_takes_the_role_and_a_reason(self, cast: Cast, held: Delivery) -> None:
        with pytest.raises(PermissionDenied):
            cancel_delivery(actor=cast.technician, delivery=held, reason="x")
        with pytest.raises(ValidationError, match="Say why"):
            cancel_delivery(actor=cast.pathologist, delivery=held, reason="  ")
        done = cancel_delivery(actor=cast.pathologist, delivery=held, reason="Told by phone.")
        assert (done.state, done.cancelled_by) == ("cancelled", cast.pathologist)
        event = AuditEvent.objects.get(action="delivery.cancelled")
        assert event.details["reason"] == "Told by phone."

    def test_nobody_of_another_site_can_touch_it(self, cast: Cast, held: Delivery) -> None:
        with pytest.raises(Delivery.DoesNotExist):
            retry_delivery(actor=cast.outsider, delivery=held)

    def test_a_report_signed_before_can_be_queued_once(
        self, cast: Cast, held: Delivery, receiver: ReceiverThread
    ) -> None:
        late = webhook(cast.site, receiver.url)
        assert held.report is not None
        added = enqueue_missing(actor=cast.administrator, report=held.report, destination=late)
        assert (added.event, added.sequence) == ("final", 1)
        with pytest.raises(Conflict):
            enqueue_missing(actor=cast.administrator, report=held.report, destination=late)
        elsewhere = webhook(cast.other_site, receiver.url)
        with pytest.raises(ValidationError):
            enqueue_missing(actor=cast.administrator, report=held.report, destination=elsewhere)
