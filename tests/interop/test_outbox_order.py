"""Whatever happens, in whatever order: a specimen's results reach a destination in sequence."""

import random
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specimens.interop.channels import (
    PermanentFailure,
    Receipt,
    TemporaryFailure,
    Unreachable,
)
from specimens.models import Delivery, Destination, Specimen
from specimens.services.deliveries import cancel_delivery, retry_delivery
from specimens.services.deliveries_queue import (
    back_off,
    claim_delivery,
    fail_delivery,
    finish_delivery,
    release_expired_deliveries,
)
from tests.factories import Cast
from tests.interop.outbox import webhook

pytestmark = [pytest.mark.core, pytest.mark.django_db]

FAILURES = {
    "busy": TemporaryFailure("busy"),
    "away": Unreachable("away"),
    "refused": PermanentFailure("no"),
}
STEPS = st.one_of(
    st.tuples(st.just("enqueue"), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("claim"), st.integers(0, 1), st.just(0)),
    st.tuples(st.sampled_from(["arrive", "die", *FAILURES]), st.integers(0, 3), st.just(0)),
    st.tuples(st.sampled_from(["retry", "cancel"]), st.integers(0, 5), st.just(0)),
)


@given(failures=st.integers(0, 5000), seed=st.integers())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_a_pause_lies_between_nothing_and_the_growing_limit(
    failures: int, seed: int, settings: Any
) -> None:
    settings.DELIVERY_BACKOFF_SECONDS, settings.DELIVERY_BACKOFF_CAP_SECONDS = 2.0, 300.0
    pause = back_off(failures, draw=random.Random(seed).uniform).total_seconds()
    assert 0 <= pause <= min(300.0, 2.0 * 2 ** min(max(0, failures - 1), 60))


def test_pauses_are_spread_evenly_up_to_a_limit_that_doubles() -> None:
    limits = [back_off(n, draw=lambda _, high: high).total_seconds() for n in range(1, 12)]
    assert limits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    drawn = [back_off(5).total_seconds() for _ in range(2000)]
    assert min(drawn) < 2 and max(drawn) > 30, "full jitter: from nothing to the limit"
    assert 14.5 < sum(drawn) / len(drawn) < 17.5


class Outbox:
    """Two specimens, two destinations, and what their receivers got, as it came."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        self.specimens = [cast.specimen(), cast.specimen()]
        self.destinations = [webhook(cast.site, f"https://{n}.invalid") for n in "ab"]
        self.in_hand: list[Delivery] = []
        self.arrived: dict[tuple[int, int], list[int]] = defaultdict(list)

    def step(self, name: str, first: int, second: int) -> None:
        if name == "enqueue":
            self._enqueue(self.destinations[first], self.specimens[second])
        elif name == "claim":
            self._claim(self.destinations[first])
        elif name in ("retry", "cancel"):
            self._decide(name, first)
        elif self.in_hand:
            self._end(name, self.in_hand.pop(first % len(self.in_hand)))

    def _enqueue(self, destination: Destination, specimen: Specimen) -> None:
        rows = Delivery.objects.filter(destination=destination, specimen=specimen)
        Delivery.objects.create(
            destination=destination,
            specimen=specimen,
            event="preliminary",
            sequence=rows.count() + 1,
        )

    def _claim(self, destination: Destination) -> None:
        Delivery.objects.filter(state="due").update(due_at=timezone.now())
        Destination.objects.update(paused_until=None)
        claimed = claim_delivery(destination_id=destination.pk, worker="w")
        if claimed is None:
            return
        earlier = Delivery.objects.filter(
            destination=destination, specimen=claimed.specimen, sequence__lt=claimed.sequence
        )
        assert set(earlier.values_list("state", flat=True)) <= {"delivered", "cancelled"}
        self.in_hand.append(claimed)

    def _end(self, name: str, delivery: Delivery) -> None:
        if name in ("arrive", "die"):
            # A worker that dies may have delivered: the receiver has it either way.
            self.arrived[delivery.destination_id, delivery.specimen_id].append(delivery.sequence)
        if name == "arrive":
            finish_delivery(delivery=delivery, receipt=Receipt("ok"))
        elif name == "die":
            Delivery.objects.filter(pk=delivery.pk).update(
                lease_until=timezone.now() - timedelta(seconds=1)
            )
            release_expired_deliveries()
        else:
            fail_delivery(delivery=delivery, failure=FAILURES[name])

    def _decide(self, name: str, number: int) -> None:
        rows = list(Delivery.objects.filter(state__in=["due", "held"]).order_by("pk"))
        if not rows:
            return
        delivery = rows[number % len(rows)]
        if name == "retry":
            retry_delivery(actor=self.cast.technician, delivery=delivery)
        else:
            cancel_delivery(actor=self.cast.pathologist, delivery=delivery, reason="x")

    def drain(self) -> None:
        """Let everything that is left arrive: nothing may be stuck for good."""
        while self.in_hand:
            self._end("arrive", self.in_hand.pop())
        for held in Delivery.objects.filter(state="held"):
            retry_delivery(actor=self.cast.technician, delivery=held)
        for destination in self.destinations:
            for _ in range(Delivery.objects.filter(destination=destination).count()):
                self._claim(destination)
                while self.in_hand:
                    self._end("arrive", self.in_hand.pop())


@given(steps=st.lists(STEPS, max_size=30))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=40,
    deadline=None,
)
def test_nothing_overtakes_and_nothing_is_stuck(cast: Cast, steps: list[Any]) -> None:
    with transaction.atomic():
        outbox = Outbox(cast)
        for step in steps:
            outbox.step(*step)
        outbox.drain()
        left = set(Delivery.objects.values_list("state", flat=True))
        assert left <= {"delivered", "cancelled"}
        for sequences in outbox.arrived.values():
            assert sequences == sorted(sequences)
        transaction.set_rollback(True)
