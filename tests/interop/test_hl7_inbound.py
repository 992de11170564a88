"""Messages taken in by the service behind the listener: followed once, held, or refused."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from specimens.interop.hl7.message import Message, parse_message
from specimens.models import (
    AuditEvent,
    InboundMessage,
    Order,
    OrderedTest,
    Patient,
    Site,
    Specimen,
    User,
)
from specimens.permissions import visible_to
from specimens.selectors.inbound import expected_order_by_scan, expected_orders
from specimens.services.accessioning import accession_specimen
from specimens.services.errors import Conflict
from specimens.services.inbound_messages import receive_message
from specimens.services.inbound_resolution import discard_message, retry_message
from tests.factories import Cast, OrderFactory, PatientFactory
from tests.interop.hl7_golden import changed, golden

pytestmark = [pytest.mark.core, pytest.mark.django_db]

ORM, OML, CANCEL, A08 = (golden(n) for n in ("orm_o01", "oml_o21", "orm_cancel", "adt_a08"))
ZONE_OFFSET = {"20261123074500|": "20261123074500+0000|"}


def _send(cast: Cast, raw: bytes, actor: User | None = None) -> tuple[str, Message]:
    """Return MSA-1 and the acknowledgement."""
    answer = receive_message(
        actor=actor or cast.integration, site=cast.site, raw=raw, peer="10.0.0.7"
    )
    message = parse_message(answer)
    (msa,) = message.all("MSA")
    return msa.text(1), message


def _held() -> InboundMessage:
    return InboundMessage.objects.get(state="held")


def test_an_order_without_a_number_of_the_tube_is_expected(cast: Cast) -> None:
    answer, ack = _send(cast, ORM)
    assert answer == "AA"
    msa, msh = ack.first("MSA"), ack.first("MSH")
    assert msa and msh
    assert msa.text(2) == "ORM-0001"
    assert [msh.text(n) for n in (3, 4, 5, 6)] == ["WBCLAB", "LAB", "HIS", "GENERAL"]
    assert [msh.text(9, n) for n in (1, 2, 3)] == ["ACK", "O01", "ACK"]
    order = Order.objects.select_related("patient").get()
    assert (order.placer_number, order.priority, order.requester) == (
        "ORD-77", "stat", "W3, Dr. Anna Arzt",
    )  # fmt: skip
    assert order.reference == {
        "placer_assigner": ["HIS", "1.2.3", "ISO"],
        "test": ["69738-3", "Differential panel", "LN"],
    }
    assert order.patient.family_name == "Müller&Søn"
    assert not Specimen.objects.exists()
    assert list(expected_orders(cast.technician)) == [order]
    assert list(expected_orders(cast.outsider)) == []
    assert expected_order_by_scan(cast.technician, "ORD-77") == order
    message = InboundMessage.objects.get()
    assert bytes(message.raw) == ORM, "kept exactly as it came"
    assert (message.state, message.peer) == ("applied", "10.0.0.7")
    assert list(message.orders.all()) == [order]
    assert list(AuditEvent.objects.values_list("action", "actor__username")) == [
        ("order.placed", "integration"), ("message.received", "integration"),
    ]  # fmt: skip
    specimen = accession_specimen(
        actor=cast.technician, site=cast.site, accession_number="26-1", order=order
    )
    assert specimen.order == order
    assert not expected_orders(cast.technician).exists()


def test_orders_with_numbers_are_accessioned_at_once(cast: Cast) -> None:
    assert _send(cast, changed(OML, **ZONE_OFFSET))[0] == "AA"
    first, second = Specimen.objects.select_related("order__patient").order_by("accession_number")
    assert (first.accession_number, first.order.placer_number) == ("26-0078", "ORD-78")
    assert first.order.filler_number == "26-0078"
    assert first.collected_at == datetime(2026, 11, 23, 7, 45, tzinfo=UTC)
    assert (second.accession_number, second.order.priority) == ("26-0079", "stat")
    assert first.order.patient == second.order.patient
    assert first.state == Specimen.State.ACCESSIONED
    assert not expected_orders(cast.technician).exists()


def test_oml_o33_is_followed_too(cast: Cast) -> None:
    assert _send(cast, golden("oml_o33"))[0] == "AA"
    numbers = Specimen.objects.order_by("pk").values_list("accession_number", flat=True)
    assert list(numbers) == ["26-0090", "26-0091"]


def test_a_retransmission_gets_the_same_answer_and_has_no_effect(cast: Cast) -> None:
    assert _send(cast, OML)[0] == "AA"
    again = changed(OML, **{"20261123081000": "20261123081100"})  # the time may be a new one
    for _ in range(2):
        answer, ack = _send(cast, again)
        msa = ack.first("MSA")
        assert msa
        assert (answer, msa.text(2)) == ("AA", "OML-0001")
    assert (Order.objects.count(), Specimen.objects.count(), Patient.objects.count()) == (2, 2, 1)
    assert InboundMessage.objects.get().times_received == 3


def test_another_message_under_a_used_number_is_refused_and_kept(cast: Cast) -> None:
    _send(cast, OML)
    other = changed(OML, **{"26-0079": "26-0080"})
    for _ in range(2):
        answer, ack = _send(cast, other)
        err = ack.first("ERR")
        assert err
        assert (answer, err.text(3), err.text(4)) == ("AR", "205", "E")
        assert [err.text(2, n) for n in (1, 2, 3)] == ["MSH", "1", "10"]
    kept = InboundMessage.objects.get(state="duplicate")
    assert (bytes(kept.raw), kept.times_received) == (other, 2)
    assert Order.objects.count() == 2


def test_the_same_number_of_another_sender_is_another_message(cast: Cast) -> None:
    _send(cast, OML)
    answer, _ = _send(cast, changed(OML, **{"|LIS|GENERAL|WBC": "|LIS|ANNEX|WBC", "26-00": "27-00",
                                            "ORD-7": "ORX-7"}))  # fmt: skip
    assert answer == "AA"
    assert Order.objects.count() == 4


def test_what_is_refused_is_kept_and_may_be_sent_right_under_its_number(cast: Cast) -> None:
    wrong = changed(ORM, **{"19700102": "19701302"})
    answer, ack = _send(cast, wrong)
    err = ack.first("ERR")
    assert err
    assert (answer, err.text(3), err.text(2), err.text(2, 3)) == ("AE", "102", "PID", "7")
    assert "no date" in err.text(8)
    assert _send(cast, wrong)[0] == "AE"
    assert _send(cast, ORM)[0] == "AA"
    states = InboundMessage.objects.order_by("pk").values_list("state", "times_received")
    assert list(states) == [("refused", 2), ("applied", 1)]


def test_what_was_refused_for_a_setting_is_taken_when_that_has_changed(
    cast: Cast, settings: pytest.FixtureRequest
) -> None:
    training = changed(ORM, **{"|P|2.5.1": "|T|2.5.1"})
    assert _send(cast, training)[0] == "AR"
    settings.HL7_PROCESSING_ID = "T"  # type: ignore[attr-defined]
    assert _send(cast, training)[0] == "AA"
    assert Order.objects.count() == 1


def test_an_unknown_test_is_held_until_a_person_says_what_it_means(cast: Cast) -> None:
    unknown = changed(ORM, **{"69738-3^Differential panel^LN": "DIFF^Blutbild^L"})
    assert _send(cast, unknown)[0] == "AA"
    held = _held()
    assert (held.code, held.unknown_test) == ("unknown_test", "DIFF^L")
    assert "DIFF^L (Blutbild)" in held.text
    assert not Order.objects.exists()
    assert not Patient.objects.exists()
    row = retry_message(actor=cast.technician, message=held, test_meaning="differential")
    assert (row.state, row.handled_by) == ("applied", cast.technician)
    assert Order.objects.get().reference["test"] == ["DIFF", "Blutbild", "L"]
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"test_code.mapped", "message.retried"} <= actions
    another = {"ORM-0001": "ORM-0009", "ORD-77": "ORD-99"}
    assert _send(cast, changed(unknown, **another))[0] == "AA"
    assert Order.objects.count() == 2, "from now on the code is known"
    assert _send(cast, unknown)[0] == "AA", "a late repeat of the held one"
    assert Order.objects.count() == 2


def test_a_test_of_others_is_left_out(cast: Cast) -> None:
    OrderedTest.objects.create(site=cast.site, code="CBC", meaning="not_ours")
    answer, _ = _send(
        cast,
        changed(
            OML,
            **{
                "OBR|2|ORD-79^HIS|26-0079^LIS|69738-3^Differential "
                "panel^LN": "OBR|2|ORD-79^HIS|26-0079^LIS|CBC^^L"
            },
        ),
    )
    assert answer == "AA"
    assert Specimen.objects.get().accession_number == "26-0078"
    assert "CBC" in InboundMessage.objects.get().text


def test_all_orders_of_a_message_or_none(cast: Cast) -> None:
    cast.specimen(accession_number="26-0079")
    assert _send(cast, OML)[0] == "AA"
    assert _held().code == "other_patient"
    assert not Specimen.objects.filter(accession_number="26-0078").exists()
    assert not Order.objects.filter(placer_number="ORD-78").exists()


def test_a_tube_accessioned_by_hand_gets_the_numbers_of_its_order(cast: Cast) -> None:
    patient = PatientFactory.create(
        site=cast.site,
        identifier="4711",
        issuer="GENERAL",
        family_name="Meyer",
        given_name="Eva",
        birth_date=date(1970, 1, 2),
        sex="F",
    )
    by_hand = cast.specimen(
        accession_number="26-0079", order=OrderFactory.create(site=cast.site, patient=patient)
    )
    assert _send(cast, OML)[0] == "AA"
    assert InboundMessage.objects.get().state == "applied", InboundMessage.objects.get().text
    order = Order.objects.get(pk=by_hand.order_id)
    assert (order.placer_number, order.priority) == ("ORD-79", "stat")
    assert order.reference["placer_assigner"] == ["HIS"]
    assert Specimen.objects.count() == 2


def test_a_number_that_cannot_be_used_is_replaced_by_a_person(cast: Cast) -> None:
    single = ORM.replace(b"ORD-77^HIS^1.2.3^ISO||", b"ORD-77^HIS^1.2.3^ISO|26 0078^LIS|", 2)
    assert _send(cast, single)[0] == "AA"
    assert "26 0078 cannot be used" in _held().text
    row = retry_message(actor=cast.technician, message=_held(), accession_number=" 26-0078 ")
    assert row.state == "applied"
    specimen = Specimen.objects.get()
    assert (specimen.accession_number, specimen.order.filler_number) == ("26-0078", "26 0078")
    assert specimen.wbc_count == Decimal("7.2")


@pytest.mark.parametrize(("decision", "name"), [("recorded", "Meier"), ("message", "Meyer")])
def test_other_demographics_are_held_and_decided(cast: Cast, decision: str, name: str) -> None:
    PatientFactory.create(
        site=cast.site, identifier="4711", issuer="GENERAL", family_name="Meier", given_name="Eva"
    )
    assert _send(cast, OML)[0] == "AA"
    held = _held()
    assert held.code == "patient_differs"
    assert "recorded Meier, given Meyer" in held.text
    assert retry_message(actor=cast.technician, message=held).state == "held", "nothing decided"
    row = retry_message(actor=cast.technician, message=held, demographics=decision)
    assert row.state == "applied"
    assert {s.order.patient.family_name for s in Specimen.objects.all()} == {name}
    assert Patient.objects.count() == 1


def test_a_cancelled_order_is_no_longer_expected(cast: Cast) -> None:
    cancel = changed(CANCEL, **{"Meyer^Eva": "Müller^Zoë"})
    _send(cast, ORM)
    assert _send(cast, cancel)[0] == "AA"
    order = Order.objects.get()
    assert order.cancelled_at
    assert not expected_orders(cast.technician).exists()
    with pytest.raises(Conflict, match="cancelled"):
        accession_specimen(actor=cast.technician, site=cast.site, accession_number="1", order=order)


def test_a_tube_nobody_began_with_is_rejected_with_its_order(cast: Cast) -> None:
    _send(cast, OML)
    assert _send(cast, changed(CANCEL, **{"ORD-77": "ORD-78"}))[0] == "AA"
    specimen = Specimen.objects.get(accession_number="26-0078")
    assert (specimen.state, specimen.rejection_reason) == (
        "rejected", "The hospital cancelled the order.",
    )  # fmt: skip
    assert Specimen.objects.get(accession_number="26-0079").state == "accessioned"


def test_a_cancellation_that_comes_too_late_is_held(cast: Cast) -> None:
    _send(cast, OML)
    Specimen.objects.update(state=Specimen.State.IN_REVIEW)
    assert _send(cast, changed(CANCEL, **{"ORD-77": "ORD-78"}))[0] == "AA"
    assert _held().code == "too_late"
    assert not Order.objects.filter(cancelled_at__isnull=False).exists()


def test_a_message_about_an_unknown_order_is_assigned_or_discarded(cast: Cast) -> None:
    _send(cast, OML)
    assert _send(cast, CANCEL)[0] == "AA"
    held = _held()
    assert held.code == "unknown_order"
    with pytest.raises(ValidationError, match="no order under ORD-0"):
        retry_message(actor=cast.technician, message=held, order_number="ORD-0")
    assert retry_message(actor=cast.technician, message=held, order_number="26-0079").state == (
        "applied"
    )
    assert Order.objects.get(placer_number="ORD-79").cancelled_at
    assert not Order.objects.get(placer_number="ORD-78").cancelled_at
    with pytest.raises(Conflict, match="applied already"):
        discard_message(actor=cast.technician, message=held, reason="x")


def test_a_discarded_message_stays_with_the_reason_and_its_number_is_used(cast: Cast) -> None:
    _send(cast, CANCEL)
    with pytest.raises(ValidationError, match="reason"):
        discard_message(actor=cast.technician, message=_held(), reason=" ")
    row = discard_message(actor=cast.technician, message=_held(), reason="sent by mistake")
    assert (row.state, bytes(row.raw)) == ("discarded", CANCEL)
    assert _send(cast, CANCEL)[0] == "AA"
    assert InboundMessage.objects.count() == 1
    assert AuditEvent.objects.filter(action="message.discarded").exists()


def test_an_order_of_another_patient_is_held(cast: Cast) -> None:
    _send(cast, OML)
    other = {"4711": "4712", "ORD-77": "ORD-78"}
    assert _send(cast, changed(CANCEL, **other))[0] == "AA"
    assert _held().code == "other_patient"


def test_a_change_takes_over_what_is_said_and_nothing_else(cast: Cast) -> None:
    _send(cast, ORM)
    change = changed(ORM, **{"ORC|NW": "ORC|XO", "ORM-0001": "ORM-0005", "^^^^^S": "^^^^^R"})
    change = change.replace(b"Fever\\.br\\night sweats", b"").replace(b"DG1|1||C91", b"ZDG|1||C91")
    change = change.replace(b"ORD-77^HIS^1.2.3^ISO||", b"ORD-77^HIS^1.2.3^ISO|26-0100|")
    change = change.replace(b"NTE|1|L|Previous therapy: R\\E\\CHOP~second cycle\r", b"")
    before = Order.objects.get().clinical_information
    assert _send(cast, change)[0] == "AA"
    order = Order.objects.get()
    assert (order.priority, order.clinical_information) == ("routine", before)
    assert Specimen.objects.get().accession_number == "26-0100", "the number came only now"
    Specimen.objects.update(state=Specimen.State.SIGNED_OUT)
    late = changed(change, **{"ORM-0005": "ORM-0006"})
    assert _send(cast, late)[0] == "AA"
    assert _held().code == "too_late"


def test_a_new_order_under_a_known_placer_number_is_no_second_order(cast: Cast) -> None:
    _send(cast, OML)
    assert _send(cast, changed(OML, **{"OML-0001": "OML-0002"}))[0] == "AA"
    assert Order.objects.count() == Specimen.objects.count() == 2


def test_an_order_control_nobody_follows_is_held(cast: Cast) -> None:
    assert _send(cast, changed(ORM, **{"ORC|NW": "ORC|HD"}))[0] == "AA"
    assert _held().code == "unknown_control"


def test_a_patient_update_changes_the_patient_and_says_what(cast: Cast) -> None:
    patient = PatientFactory.create(
        site=cast.site, identifier="4711", issuer="GENERAL", family_name="Meyer",
        birth_date=date(1970, 1, 2),
    )  # fmt: skip
    assert _send(cast, A08)[0] == "AA"
    patient.refresh_from_db()
    assert (patient.family_name, patient.given_name) == ("Meyer-Müller", "")
    assert patient.birth_date == date(1970, 1, 3)
    event = AuditEvent.objects.get(action="patient.updated")
    assert event.details["family_name"] == ["Meyer", "Meyer-Müller"]


def test_a_patient_nobody_has_blood_of_is_passed_over(cast: Cast) -> None:
    assert _send(cast, A08)[0] == "AA"
    assert InboundMessage.objects.get().state == "applied"
    assert not Patient.objects.exists()


def test_the_own_issuer_is_kept_without_one(cast: Cast, settings: pytest.FixtureRequest) -> None:
    settings.HL7_OWN_ISSUER = "GENERAL"  # type: ignore[attr-defined]
    _send(cast, ORM)
    assert (Patient.objects.get().identifier, Patient.objects.get().issuer) == ("4711", "")


def test_only_an_account_that_accessions_and_only_at_its_site(cast: Cast) -> None:
    with pytest.raises(PermissionDenied):
        _send(cast, ORM, actor=cast.administrator)
    with pytest.raises(Site.DoesNotExist):
        _send(cast, ORM, actor=cast.outsider)
    _send(cast, changed(CANCEL))
    assert visible_to(cast.technician, InboundMessage).count() == 1
    assert not visible_to(cast.outsider, InboundMessage).exists()
    with pytest.raises(InboundMessage.DoesNotExist):
        discard_message(actor=cast.outsider, message=_held(), reason="x")


def test_a_fault_of_ours_loses_no_order(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("specimens.services.inbound_orders.new_order", fails)
    assert _send(cast, ORM)[0] == "AA"
    assert _held().code == "fault"
    monkeypatch.undo()
    assert retry_message(actor=cast.technician, message=_held()).state == "applied"
