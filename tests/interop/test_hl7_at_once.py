"""The same message on several connections at the same moment: one of them is followed."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection

from specimens.interop.hl7.message import parse_message
from specimens.models import InboundMessage, Order, Site, Specimen, User
from specimens.services.inbound_messages import receive_message
from tests.counterparts import skip_unless_ci
from tests.factories import make_cast
from tests.interop.hl7_golden import changed, golden

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

SENDERS = 6


@pytest.fixture
def _on_postgresql() -> None:
    if connection.vendor != "postgresql":
        skip_unless_ci("PostgreSQL does not run (make test starts it)")


def _send_at_once(actor: User, site: Site, messages: list[bytes]) -> list[str]:
    """Return MSA-1 of each; all of them start together."""
    together = Barrier(len(messages))

    def send(raw: bytes) -> str:
        try:
            together.wait(20)
            msa = parse_message(receive_message(actor=actor, site=site, raw=raw)).first("MSA")
            return msa.text(1) if msa else ""
        finally:
            connection.close()

    with ThreadPoolExecutor(len(messages)) as pool:
        return list(pool.map(send, messages))


@pytest.mark.usefixtures("_on_postgresql")
def test_repeats_at_the_same_moment_are_followed_once() -> None:
    cast = make_cast()
    answers = _send_at_once(cast.integration, cast.site, [golden("oml_o21")] * SENDERS)
    assert answers == ["AA"] * SENDERS
    assert (Order.objects.count(), Specimen.objects.count()) == (2, 2)
    assert InboundMessage.objects.get().times_received == SENDERS


@pytest.mark.usefixtures("_on_postgresql")
def test_orders_for_one_new_patient_at_the_same_moment_all_arrive() -> None:
    cast = make_cast()
    orders = [
        changed(golden("orm_o01"), **{"ORM-0001": f"M-{n}", "ORD-77": f"O-{n}"})
        for n in range(SENDERS)
    ]
    assert _send_at_once(cast.integration, cast.site, orders) == ["AA"] * SENDERS
    assert set(InboundMessage.objects.values_list("state", flat=True)) == {"applied"}
    assert Order.objects.values("patient").distinct().count() == 1
    assert Order.objects.count() == SENDERS
