"""What golden orders and patient updates say, and what is refused with which answer."""

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specimens.interop.hl7.charsets import CODECS
from specimens.interop.hl7.escaping import Delimiters, escape, unescape
from specimens.interop.hl7.message import (
    PARTS_LIMIT,
    encode_message,
    fingerprint,
    parse_message,
    read_header,
)
from specimens.interop.hl7.order_fields import EntityId
from specimens.interop.hl7.orders import OrderMessage, PatientUpdate, read_request
from specimens.interop.hl7.refusals import ErrorCode, Refused
from specimens.interop.hl7.timestamps import read_date, read_time
from tests.interop.hl7_golden import changed, golden

BERLIN = ZoneInfo("Europe/Berlin")


def _orders(raw: bytes) -> OrderMessage:
    request = read_request(parse_message(raw), zone=BERLIN)
    assert isinstance(request, OrderMessage)
    return request


def test_orm_o01_says_who_what_and_when() -> None:
    message = _orders(golden("orm_o01"))
    person = message.person
    assert (person.identifier, person.issuer) == ("4711", "GENERAL"), "MR goes before SS"
    assert person.others == (("99887", "COUNTRY"),)
    assert (person.family_name, person.given_name) == ("Müller&Søn", "Zoë 中")
    assert (person.birth_date, person.sex) == (date(1970, 1, 2), "F")
    (order,) = message.orders
    assert order.control == "NW"
    assert order.placer == EntityId("ORD-77", ("HIS", "1.2.3", "ISO"))
    assert not order.filler
    assert (order.service.code, order.service.system) == ("69738-3", "LN")
    assert order.priority == "stat"
    assert order.requester == "W3, Dr. Anna Arzt"
    assert order.clinical_information.split("\n") == [
        "Fever", "night sweats", "Chronic lymphocytic leukaemia",
        "Previous therapy: R\\CHOP", "second cycle",
    ]  # fmt: skip
    assert order.ordered_at == datetime(2026, 11, 23, 7, 50, tzinfo=BERLIN)
    assert order.collected_at == datetime(2026, 11, 23, 6, 45, tzinfo=UTC)
    assert order.wbc_count == Decimal("7.2")


def test_oml_o21_has_an_order_for_each_orc() -> None:
    first, second = _orders(golden("oml_o21")).orders
    assert (first.placer.number, first.filler.number) == ("ORD-78", "26-0078")
    assert first.specimen_number == "26-0078", "the laboratory's number, not the placer's"
    assert first.priority == "routine"
    assert first.collected_at == datetime(2026, 11, 23, 7, 45, tzinfo=BERLIN)
    assert first.received_at == datetime(2026, 11, 23, 8, 5, tzinfo=BERLIN)
    assert (second.placer.number, second.specimen_number) == ("ORD-79", "26-0079")
    assert (second.priority, second.collected_at) == ("stat", None)


def test_oml_o33_has_the_specimen_before_its_orders() -> None:
    first, second = _orders(golden("oml_o33")).orders
    assert [o.specimen_number for o in (first, second)] == ["26-0090", "26-0091"]
    assert [o.placer.number for o in (first, second)] == ["ORD-90", "ORD-91"]
    assert second.collected_at is None


def test_other_delimiters_and_iso_8859_1() -> None:
    message = _orders(golden("orm_delimiters"))
    assert message.person.family_name == "Meyer*Pipe|Hat^Tilde~", "the standard signs are text here"
    assert message.person.given_name == "Eva"
    assert message.orders[0].placer == EntityId("ORD-77", ("HIS",))


def test_adt_a08_says_what_is_new_and_what_is_to_go() -> None:
    request = read_request(parse_message(golden("adt_a08")), zone=BERLIN)
    assert isinstance(request, PatientUpdate)
    assert request.person.family_name == "Meyer-Müller"
    assert (request.person.given_name, request.person.cleared) == ("", ("given_name",))
    assert request.person.birth_date == date(1970, 1, 3)


ORM = golden("orm_o01")
REFUSED = {
    "no MSH": (b"PID|1", "AR", ErrorCode.SEGMENT_SEQUENCE),
    "nothing": (b"", "AR", ErrorCode.SEGMENT_SEQUENCE),
    "two signs alike": (changed(ORM, **{"|^~\\&|": "|^^\\&|"}), "AR", ErrorCode.DATA_TYPE),
    "letters as delimiters": (b"MSHaHelloa", "AR", ErrorCode.DATA_TYPE),
    "unknown character set": (
        changed(ORM, **{"UNICODE UTF-8": "KLINGON"}), "AR", ErrorCode.TABLE_VALUE),
    "bytes of another character set": (
        changed(ORM, **{"UNICODE UTF-8": "ASCII"}), "AR", ErrorCode.DATA_TYPE),
    "NUL": (ORM.replace(b"Fever", b"Fe\0ver"), "AR", ErrorCode.DATA_TYPE),
    "too many parts": (ORM + b"NTE|1|" + b"~" * PARTS_LIMIT, "AR", ErrorCode.SEGMENT_SEQUENCE),
    "a line that is no segment": (ORM + b"hello\r", "AR", ErrorCode.SEGMENT_SEQUENCE),
    "two messages": (ORM + ORM, "AR", ErrorCode.SEGMENT_SEQUENCE),
    "character set in mid-field": (
        changed(ORM, Fever="\\M2440\\"), "AR", ErrorCode.DATA_TYPE),
    "no control id": (changed(ORM, **{"ORM-0001": ""}), "AR", ErrorCode.REQUIRED_FIELD_MISSING),
    "another type": (
        changed(ORM, **{"ORM^O01^ORM_O01": "SIU^S12"}), "AR", ErrorCode.UNSUPPORTED_MESSAGE_TYPE),
    "another event": (
        changed(ORM, **{"ORM^O01^ORM_O01": "ADT^A40"}), "AR", ErrorCode.UNSUPPORTED_EVENT),
    "a test message": (
        changed(ORM, **{"|P|2.5.1": "|T|2.5.1"}), "AR", ErrorCode.UNSUPPORTED_PROCESSING_ID),
    "version 3": (changed(ORM, **{"|P|2.5.1": "|P|3.0"}), "AR", ErrorCode.UNSUPPORTED_VERSION),
    "no patient": (ORM.replace(b"PID|1", b"ZZZ|1"), "AE", ErrorCode.SEGMENT_SEQUENCE),
    "two patients": (ORM + b"PID|2||5^^^X||B\r", "AE", ErrorCode.SEGMENT_SEQUENCE),
    "no patient number": (
        changed(ORM, **{"99887^^^COUNTRY^SS~4711^^^GENERAL^MR": ""}), "AE",
        ErrorCode.REQUIRED_FIELD_MISSING),
    "no name": (
        changed(ORM, **{"Müller\\T\\Søn": ""}), "AE", ErrorCode.REQUIRED_FIELD_MISSING),
    "a birth date that is none": (changed(ORM, **{"19700102": "19701302"}), "AE",
                                  ErrorCode.DATA_TYPE),
    "a time that is none": (changed(ORM, **{"20261123074500": "tomorrow"}), "AE",
                            ErrorCode.DATA_TYPE),
    "no order": (ORM.partition(b"ORC")[0], "AE", ErrorCode.SEGMENT_SEQUENCE),
    "an order without numbers": (
        changed(ORM, **{"ORD-77^HIS^1.2.3^ISO": ""}), "AE", ErrorCode.REQUIRED_FIELD_MISSING),
    "no order control": (
        changed(ORM, **{"ORC|NW": "ORC|"}), "AE", ErrorCode.REQUIRED_FIELD_MISSING),
    "no test": (
        changed(ORM, **{"69738-3^Differential panel^LN": ""}), "AE",
        ErrorCode.REQUIRED_FIELD_MISSING),
    "a count in another unit": (changed(ORM, **{"10*3/uL": "mg"}), "AE", ErrorCode.DATA_TYPE),
    "a count that is none": (changed(ORM, **{"||7.2|": "||NaN|"}), "AE", ErrorCode.DATA_TYPE),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_answer_and_code(what: str) -> None:
    raw, answer, code = REFUSED[what]
    with pytest.raises(Refused) as caught:
        read_request(parse_message(raw), zone=BERLIN)
    assert (caught.value.answer, caught.value.code) == (answer, code)
    assert caught.value.text.endswith(".")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f"),
        ("\\XC3A9\\", "é"),
        ("x\\X0D0A\\y", "x\ny"),
        ("\\X00\\", "\\X00\\"),
        ("one\\.br\\two\\.sp+2\\three", "one\ntwo\nthree"),
        ("\\H\\bold\\N\\", "bold"),
        ("A\\B", "A\\B"),
        ("\\unknown\\ \\F\\", "\\unknown\\ |"),
        ("C:\\", "C:\\"),
        ("\\\\", "\\\\"),
    ],
)
def test_escape_sequences(written: str, said: str) -> None:
    assert unescape(written) == said


_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x7f"), max_size=30
)


@given(_TEXT)
def test_whatever_a_field_says_comes_back(text: str) -> None:
    signs = Delimiters("#", "*", "+", "!", "%")
    assert unescape(escape(text)) == text
    assert unescape(escape(text, signs), signs) == text


_PART = _TEXT.map(str.strip)
_FIELD = st.lists(st.lists(st.lists(_PART, min_size=1, max_size=2).map(tuple), min_size=1,
                           max_size=3).map(tuple), min_size=1, max_size=3)  # fmt: skip


@given(st.dictionaries(st.integers(1, 6), _FIELD, min_size=1))
def test_what_is_encoded_is_parsed_as_the_same(fields: dict[int, list[tuple[object, ...]]]) -> None:
    rows = [("MSH", {9: ("ORU", "R01"), 10: "1", 11: "P", 12: "2.5.1"}), ("ZZZ", fields)]
    raw = encode_message(rows)  # type: ignore[arg-type]
    segment = next(parse_message(raw).all("ZZZ"), None)
    for number, repetitions in fields.items():
        found = segment.fields[number - 1] if segment and number <= len(segment.fields) else ()
        assert _trimmed(found) == _trimmed(repetitions)


def _trimmed(field: object) -> object:
    """Without the empty parts at the end, which the standard does not tell from absent ones."""
    if isinstance(field, str):
        return field
    assert isinstance(field, list | tuple)
    parts = [_trimmed(x) for x in field]
    while parts and not parts[-1]:
        parts.pop()
    return parts


@pytest.mark.parametrize("charset", CODECS)
def test_every_character_set_comes_back(charset: str) -> None:
    name = "Meyer" if charset == "ASCII" else {
        "8859/1": "Müller", "8859/2": "Dvořák", "8859/3": "Ĉapelo", "8859/4": "Šķēle",
        "8859/5": "Иванов", "8859/6": "محمد", "8859/7": "Παπάς", "8859/8": "כהן",
        "8859/9": "Gül Şen", "8859/15": "Œuvré",
    }.get(charset, "中é")  # fmt: skip
    rows = [("MSH", {9: "X", 10: "1"}), ("PID", {5: (name, "|^~\\&")})]
    raw = encode_message(rows, charset=charset)  # type: ignore[arg-type]
    pid = parse_message(raw, default_charset="ASCII").first("PID")
    assert pid is not None
    assert (pid.text(5), pid.text(5, 2)) == (name, "|^~\\&")


def test_a_repeat_with_a_new_time_has_the_same_fingerprint() -> None:
    assert fingerprint(ORM) == fingerprint(
        changed(ORM, **{"20261123075500+0100": "20261123080000"})
    )
    assert fingerprint(ORM) != fingerprint(changed(ORM, Fever="Fewer"))


def test_line_feeds_are_taken_for_line_ends() -> None:
    assert (
        _orders(ORM.replace(b"\r", b"\n")) == _orders(ORM) == _orders(ORM.replace(b"\r", b"\r\n"))
    )


def test_the_header_is_read_even_of_what_is_refused() -> None:
    header = read_header(changed(ORM, **{"UNICODE UTF-8": "KLINGON"}))
    assert (header.control_id, header.application, header.event) == ("ORM-0001", "HIS", "O01")


def test_times() -> None:
    assert read_time("202611230745", UTC) == datetime(2026, 11, 23, 7, 45, tzinfo=UTC)
    assert read_time("20261123", UTC) is None, "a day is no moment"
    assert read_date("1970") is None
    for wrong in ("20261", "2026-11-23", "20261323", "20261123250000"):
        with pytest.raises(ValueError, match="is no time"):
            read_time(wrong, UTC)
