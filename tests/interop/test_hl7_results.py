"""Results out: golden messages, a second HL7 library's opinion, and the channel over sockets."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message as parse_independently
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specimens.interop.channels import (
    OutgoingReport,
    Payload,
    PermanentFailure,
    TemporaryFailure,
    Unreachable,
    channel_for,
)
from specimens.interop.codes import default_codes
from specimens.interop.hl7.message import parse_message
from specimens.interop.hl7.tls import server_context
from tests.interop.hl7_certificates import certificates
from tests.interop.hl7_golden import golden
from tests.interop.hl7_receiver import Receiver, answer, running_receiver
from tests.processes import free_port
from tests.reports import COUNTS, MANY, comment, content

FEW = {"neutrophil": 57, "lymphocyte": 40, "blast": 3, "erythroblast": 2}
AT = datetime(2026, 11, 22, 9, 15, tzinfo=UTC)
REFERENCE = {
    "placer_assigner": ["HIS", "1.2.3", "ISO"],
    "filler_assigner": ["LIS"],
    "test": ["DIFF", "Differential", "L"],
}
channel: Any = channel_for("hl7")


def _report(
    counts: dict[str, int] = FEW, event: str = "final", before: Any = None, **values: Any
) -> OutgoingReport:
    said = content(counts, comments=[comment("Rouleaux | & clumps;\nsee film"), comment("中 é")])
    said["specimen"] |= {"filler_number": "26-77", "reference": REFERENCE, "priority": "stat"}
    said |= values
    return OutgoingReport(
        message_id="0123456789abcdef0123", event=event, content=said, previous=before,
        created_at=AT, pdf=lambda: b"%PDF-1.7 report", codes=default_codes(), sources=[],
        report_id="7", previous_report_id="",
    )  # fmt: skip


def _preliminary() -> OutgoingReport:
    return _report(
        event="preliminary", version=0, signature=None, reviewers=[], comments=[],
        limitation="Proposed by the model; not verified by a person.",
    )  # fmt: skip


def _corrected() -> OutgoingReport:
    before = _report().content
    return _report(
        {"neutrophil": 60, "lymphocyte": 40}, "corrected", before, version=2, comments=[],
        amendment_reason="blasts were atypical lymphocytes of another slide",
    )  # fmt: skip


SENDER = {
    "sending_application": "WBCLAB", "sending_facility": "LAB", "receiving_application": "HIS",
    "receiving_facility": "GENERAL",
}  # fmt: skip
RENDERED: dict[str, tuple[Any, dict[str, Any]]] = {
    "oru_final": (_report, {}),
    "oru_preliminary": (_preliminary, {"details": False}),
    "oru_corrected": (_corrected, {"details": False}),
    "oul_final": (_report, {"message": "OUL^R22", "details": False, "pdf": True}),
}


def _rendered(name: str) -> bytes:
    make, more = RENDERED[name]
    payload: Payload = channel.render(make(), "his:2575", SENDER | more)
    return payload.content


@pytest.mark.parametrize("name", RENDERED)
def test_the_golden_results(name: str) -> None:
    assert _rendered(name).replace(b"\r", b"\n").decode() == (
        golden(name).replace(b"\r", b"\n").decode()
    )


def _independent(raw: bytes) -> Any:
    """The message as hl7apy understands it, checked against the 2.5.1 structure."""
    message = parse_independently(raw.decode(), validation_level=VALIDATION_LEVEL.STRICT)
    assert message.validate()
    return message


def _repeated(message: Any) -> str:
    """What hl7apy writes again; it escapes the marks of the line break (2.7.6) once more."""
    text: str = message.to_er7()
    return text.replace("\\E\\.br\\E\\", "\\.br\\")


@pytest.mark.parametrize("name", RENDERED)
def test_a_second_library_accepts_and_repeats_them(name: str) -> None:
    raw = _rendered(name)
    assert _repeated(_independent(raw)) == raw.decode().rstrip("\r")


@pytest.mark.parametrize("name", ["ack_aa", "ack_ae", "ack_ar"])
def test_a_second_library_accepts_the_acknowledgements(name: str) -> None:
    raw = golden(name).replace(b"|TIME|", b"|20261123075500|")
    assert _repeated(_independent(raw)) == raw.decode().rstrip("\r")


@pytest.mark.parametrize("name", ["orm_o01", "oml_o21", "oml_o33", "orm_cancel"])
def test_a_second_library_reads_the_golden_orders_alike(name: str) -> None:
    raw = golden(name)
    ours = [segment.name for segment in parse_message(raw).segments]
    theirs = parse_independently(raw.decode(), validation_level=VALIDATION_LEVEL.TOLERANT)
    assert _repeated(theirs) == raw.decode().rstrip("\r")
    assert [line[:3] for line in theirs.to_er7().split("\r")] == ours


def test_every_number_of_the_report_is_in_the_message() -> None:
    report = _report(MANY)
    raw = channel.render(report, "x:1", {}).content
    said = {(s.text(4), s.text(3)): s for s in parse_message(raw).all("OBX")}
    codes = report.codes
    for row in report.content["differential"]:
        percent = said[row["key"], codes.percent(row["key"]).code]
        assert (percent.text(5), percent.text(6), percent.text(11)) == (row["percent"], "%", "F")
        limits = said[row["key"], f"{row['key'].replace('_', '-')}-ci95"]
        assert (limits.text(2), limits.text(5, 2), limits.text(5, 4)) == (
            "SN", f"{row['lower']:.1f}", f"{row['upper']:.1f}",
        )  # fmt: skip
        amount = said[row["key"], codes.absolute(row["key"]).code]
        assert (amount.text(5), amount.text(6)) == (row["absolute"], "10*9/L")
        count = said[row["key"], f"{row['key'].replace('_', '-')}-count"]
        assert count.text(5) == str(row["count"])
    for other in report.content["non_wbc"]:
        assert (
            said[other["key"], codes.per_100_wbc(other["key"]).code].text(5)
            == (other["per_100_wbc"])
        )
    assert said["counted", "cells-counted"].text(5) == str(report.content["counted"])
    assert said["wbc", "26464-8"].text(5) == "7.20"
    blast = said["blast", "26446-5"]
    assert (blast.text(7), blast.text(8)) == ("<=0", "HH")
    lymphocyte = said["lymphocyte", "26478-8"]
    assert (lymphocyte.text(7), lymphocyte.text(8)) == ("20-28", "N")


def test_without_a_wbc_count_there_are_no_amounts() -> None:
    said = content(COUNTS, wbc_count=None)
    report = _report(differential=said["differential"], specimen=said["specimen"])
    raw = channel.render(report, "x:1", {"details": False}).content
    assert {s.text(6) for s in parse_message(raw).all("OBX")} == {"%", "/100{WBCs}", "{cells}"}


def test_what_a_corrected_report_no_longer_says_is_deleted() -> None:
    segments = list(parse_message(_rendered("oru_corrected")).all("OBX"))
    deleted = {(s.text(4), s.text(3)) for s in segments if s.text(11) == "D"}
    assert deleted == {
        ("blast", "26446-5"), ("blast", "30376-8"), ("erythroblast", "erythroblast-per-100-wbc"),
    }  # fmt: skip
    assert {s.text(11) for s in segments} == {"C", "D"}


def test_a_character_the_receiver_cannot_read_holds_the_report() -> None:
    with pytest.raises(PermanentFailure, match="“中” cannot be written in 8859/1"):
        channel.render(_report(), "x:1", {"charset": "8859/1"})
    latin = _report(comments=[comment("né")])
    raw = channel.render(latin, "x:1", {"charset": "8859/1"}).content
    assert "né".encode("latin1") in raw
    pid = parse_message(raw).first("PID")
    assert pid is not None
    assert pid.text(5) == "Müller-Ødegård"


_NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x7f"),
    min_size=1, max_size=20,
).map(str.strip).filter(bool)  # fmt: skip


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(family=_NAMES, given_name=_NAMES, text=_NAMES)
def test_whatever_a_name_holds_both_libraries_read_the_same(
    family: str, given_name: str, text: str
) -> None:
    said = content(COUNTS)
    patient = said["patient"] | {"family_name": family, "given_name": given_name}
    raw = channel.render(_report(patient=patient, comments=[comment(text)]), "x:1", {}).content
    ours = parse_message(raw)
    pid, note = ours.first("PID"), ours.first("NTE")
    assert pid is not None
    assert note is not None
    assert (pid.text(5), pid.text(5, 2)) == (family, given_name)
    assert note.text(3) == f"{text} (Paul Pathologist)"
    theirs = parse_independently(raw.decode(), validation_level=VALIDATION_LEVEL.TOLERANT)
    assert _repeated(theirs) == raw.decode().rstrip("\r")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


ID = "0123456789abcdef0123"


def _send(receiver: Receiver, **more: Any) -> Any:
    payload = channel.render(_report(), receiver.address, more)
    return channel.send(payload, ID, receiver.address, more)


def test_aa_is_a_receipt_and_the_bytes_are_those_rendered(receiver: Receiver) -> None:
    assert _send(receiver).text == "AA R1"
    assert receiver.messages == [channel.render(_report(), "x:1", {}).content]


@pytest.mark.parametrize(
    ("behaviour", "failure", "text"),
    [
        (lambda raw: answer(raw, "AE", code="207", text="full"), TemporaryFailure, "AE: .*full"),
        (lambda raw: answer(raw, "AR", code="204", text="no such order"), PermanentFailure,
         "AR: .*no such order"),
        (lambda raw: answer(raw, "CR", code="203", text="x"), PermanentFailure, "CR"),
        (lambda raw: answer(raw, control_id="another"), TemporaryFailure, "another.*MSA-2"),
        (lambda raw: b"MSH|^~\\&|HIS|||||||1|P|2.5.1\r", TemporaryFailure, "no MSA"),
        (lambda raw: b"thanks", TemporaryFailure, "no HL7 message"),
    ],
)  # fmt: skip
def test_other_answers(receiver: Receiver, behaviour: Any, failure: Any, text: str) -> None:
    receiver.behaviour = behaviour
    with pytest.raises(failure, match=text) as caught:
        _send(receiver)
    assert not isinstance(caught.value, Unreachable)


def test_commit_accept_is_a_receipt_too(receiver: Receiver) -> None:
    receiver.behaviour = lambda raw: answer(raw, "CA")
    assert _send(receiver).text.startswith("CA")


def test_nobody_there_and_nobody_answering_is_unreachable(receiver: Receiver) -> None:
    payload = channel.render(_report(), "x:1", {})
    with pytest.raises(Unreachable, match="cannot be reached"):
        channel.send(payload, ID, f"127.0.0.1:{free_port()}", {})

    def never(raw: bytes) -> bytes:
        raise RuntimeError("the receiver breaks")

    receiver.behaviour = never
    with pytest.raises(Unreachable, match="broke the connection off"):
        _send(receiver)

    def slowly(raw: bytes) -> bytes:
        time.sleep(3)
        return answer(raw)

    receiver.behaviour = slowly
    with pytest.raises(Unreachable, match="no acknowledgement in time"):
        _send(receiver, timeout_seconds=1)


def test_a_probe_carries_nothing(receiver: Receiver) -> None:
    assert "accepts connections" in channel.probe(receiver.address, {}).text
    assert receiver.messages == []


def test_tls_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "tls"
    certificates(files)
    monkeypatch.setenv("WBCLAB_DELIVERY_SECRETS_DIR", str(files))
    mine = {"tls": True, "ca_file": "ca.pem", "server_name": "localhost"}
    shown = mine | {"certificate_file": "client.pem", "key_file": "client.key"}
    context = server_context(files / "server.pem", files / "server.key", files / "ca.pem")
    with running_receiver(context) as secure:
        assert channel.problems(secure.address, shown) == {}
        assert _send(secure, **shown).text == "AA R1"
        assert "TLS" in channel.probe(secure.address, shown).text
        for wrong in (mine, {"tls": True, "server_name": "localhost"}, {}):
            with pytest.raises(Unreachable):
                _send(secure, timeout_seconds=5, **wrong)
        with pytest.raises(Unreachable, match=r"[Hh]ostname"):
            _send(secure, **(shown | {"server_name": "other.example.org"}))
        assert len(secure.messages) == 1


def test_the_settings_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBCLAB_DELIVERY_SECRETS_DIR", str(tmp_path))
    assert channel.problems("his.example.org:2575", SENDER | {"pdf": True}) == {}
    assert channel.problems("[::1]:2575", {}) == {}
    wrong = channel.problems(
        "his", {"message": "ORU", "charset": "x", "processing_id": "X", "timeout_seconds": 0,
                "pdf": "yes", "sending_facility": 3, "colour": 1, "ca_file": "ca.pem"},
    )  # fmt: skip
    assert wrong.keys() == {
        "address", "message", "charset", "processing_id", "timeout_seconds", "pdf",
        "sending_facility", "colour", "ca_file",
    }  # fmt: skip
    assert all(text.endswith(".") for text in wrong.values())
    tls = channel.problems("his:1", {"tls": True, "certificate_file": "../x", "ca_file": "no.pem"})
    assert tls.keys() == {"certificate_file", "key_file", "ca_file"}
