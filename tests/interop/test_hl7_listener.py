"""The HL7 listener as a process: golden answers, hostile senders, kill -9, TLS, a graceful end."""

import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from specimens.interop.hl7.framing import FrameReader, frame
from specimens.interop.hl7.message import parse_message
from specimens.interop.hl7.refusals import Refused
from tests.interop.hl7_certificates import certificates
from tests.interop.hl7_golden import changed, golden
from tests.interop.hl7_listener import Listener, make_home, receive, running_listener
from tests.processes import wait_until

pytestmark = [pytest.mark.timeout(180)]

ORM = golden("orm_o01")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("hl7") / "home")


@pytest.fixture(scope="module")
def listener(home: Path) -> Iterator[Listener]:
    """A listener with small bounds: 50 connections, 3 s for a message, 200 kB."""
    with running_listener(
        home,
        WBCLAB_HL7_CONNECTIONS="50",
        WBCLAB_HL7_MESSAGE_SECONDS="3",
        WBCLAB_HL7_MESSAGE_BYTES="200000",
    ) as running:
        yield running


_count = 0


def _fresh(raw: bytes = ORM) -> bytes:
    """An order nobody has sent before."""
    global _count
    _count += 1
    return changed(raw, **{"ORM-0001": f"NEW-{_count}", "ORD-77": f"NEW-ORD-{_count}"})


def _answer(acknowledgement: bytes) -> tuple[str, str]:
    msa = parse_message(acknowledgement).first("MSA")
    assert msa is not None
    return msa.text(1), msa.text(2)


def _still_serves(listener: Listener) -> None:
    assert listener.process.poll() is None, listener.log()
    assert _answer(listener.exchange(_fresh()))[0] == "AA"


def test_an_order_is_answered_when_it_is_committed(listener: Listener) -> None:
    raw = _fresh()
    answer = listener.exchange(raw)
    control_id = parse_message(raw).header.control_id
    assert _answer(answer) == ("AA", control_id)
    query = f"SELECT state, raw, peer FROM specimens_inboundmessage WHERE control_id='{control_id}'"  # noqa: S608
    assert listener.rows(query) == [("applied", raw, "127.0.0.1")]


def test_the_golden_acknowledgements(listener: Listener) -> None:
    """Byte for byte but for our own time and control id (MSH-7, MSH-10)."""
    orm = changed(ORM, **{"ORM-0001": "GOLD-1", "ORD-77": "GOLD-1"})
    assert _without_own(listener.exchange(orm)) == golden("ack_aa")
    wrong = changed(ORM, **{"ORM-0001": "GOLD-2", "19700102": "19701302"})
    assert _without_own(listener.exchange(wrong)) == golden("ack_ae")
    other = changed(ORM, **{"ORM-0001": "GOLD-3", "ORM^O01^ORM_O01": "ADT^A40^ADT_A39"})
    assert _without_own(listener.exchange(other)) == golden("ack_ar")


def _without_own(raw: bytes) -> bytes:
    line, end, rest = raw.partition(b"\r")
    fields = line.split(b"|")
    assert fields[6]
    assert len(fields[9]) == 20
    fields[6], fields[9] = b"TIME", b"ID"
    return b"|".join(fields) + end + rest


def test_several_messages_on_one_connection_in_pieces(listener: Listener) -> None:
    first, second = _fresh(), _fresh()
    with listener.connect() as connection:
        stream = frame(first) + frame(second)
        for start in range(0, len(stream), 700):
            connection.sendall(stream[start : start + 700])
            time.sleep(0.01)
        ids = [_answer(receive(connection))[1] for _ in range(2)]
        assert ids == [parse_message(raw).header.control_id for raw in (first, second)]
        connection.sendall(frame(_fresh()).removesuffix(b"\r"))
        assert _answer(receive(connection))[0] == "AA", "a sender that leaves the last CR out"


HOSTILE = {
    "garbage": b"\x00\xff" * 5000,
    "http": b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
    "a frame without MSH": frame(b"hello"),
    "an empty frame": frame(b""),
    "wrong delimiters": frame(b"MSH||||||HIS"),
    "NUL bytes": frame(ORM.replace(b"Fever", b"\0\0")),
    "a frame in a frame": b"\x0b" + frame(ORM),
    "10 MB": b"\x0b" + ORM + b"NTE|1||" + b"x" * 10_000_000,
    "10 MB of delimiters": b"\x0b" + ORM + b"|" * 10_000_000,
    "as many delimiters as fit": frame(ORM + b"NTE|" + b"~" * 190_000),
    "no end block": b"\x0b" + ORM,
    "half a header": b"\x0bMSH|^",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_senders_are_answered_or_closed(listener: Listener, what: str) -> None:
    with listener.connect() as connection:
        with suppress(OSError):  # it may close while we still send
            connection.sendall(HOSTILE[what])
        codes = set()
        with suppress(OSError, Refused):
            while answer := receive(connection):
                codes.add(_answer(answer)[0])
                connection.shutdown(socket.SHUT_WR)
    assert codes <= {"AR", "AE"}
    _still_serves(listener)


def test_a_thousand_senseless_frames_are_answered_each(listener: Listener) -> None:
    reader = FrameReader(10_000_000)
    answers: list[bytes] = []
    with listener.connect() as connection:
        connection.sendall(frame(b"x") * 1000)
        while len(answers) < 1000:
            piece = connection.recv(65536)
            assert piece, f"closed behind {len(answers)} answers"
            answers += reader.feed(piece)
    assert {_answer(answer)[0] for answer in answers} == {"AR"}
    _still_serves(listener)


def test_what_is_too_large_is_answered_with_the_limit(listener: Listener) -> None:
    with listener.connect() as connection:
        connection.sendall(b"\x0b" + _fresh() + b"NTE|1||" + b"x" * 250_000)
        answer = receive(connection)
    err = parse_message(answer).first("ERR")
    assert _answer(answer)[0] == "AR"
    assert err is not None
    assert "larger than 200,000 bytes" in err.text(8)


def test_a_message_that_never_ends_is_closed(listener: Listener) -> None:
    """Slow loris: a byte now and then keeps nobody waiting longer than a message may take."""
    began = time.monotonic()
    with listener.connect() as connection:
        connection.sendall(b"\x0b")
        with pytest.raises(OSError):
            while time.monotonic() - began < 120:
                connection.sendall(b"M")
                time.sleep(0.1)
    assert 2.5 < time.monotonic() - began < 60
    _still_serves(listener)


def test_idle_connections_make_room(listener: Listener) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(listener.connect()) for _ in range(50)]
        time.sleep(0.5)
        for _ in range(3):
            _still_serves(listener)
        idle[-1].sendall(frame(_fresh()))
        assert _answer(receive(idle[-1]))[0] == "AA", "the youngest idle ones are still open"
        assert receive(idle[0]) == b"", "the oldest one has made room"


def test_killed_between_commit_and_answer_there_is_one_order(home: Path) -> None:
    raw = _fresh()
    (home / "die").touch()
    try:
        with running_listener(home) as dying:
            port = dying.port
            with dying.connect() as connection:
                connection.sendall(frame(raw))
                with suppress(ConnectionResetError):
                    assert receive(connection) == b"", "nobody was told"
            assert dying.process.wait(20) == -signal.SIGKILL
    finally:
        (home / "die").unlink()
    with running_listener(home, port) as again:
        assert _answer(again.exchange(raw))[0] == "AA", "the sender repeats"
        assert _answer(again.exchange(raw))[0] == "AA"
        number = parse_message(raw).header.control_id
        query = "SELECT state, times_received FROM specimens_inboundmessage WHERE control_id="
        assert again.rows(f"{query}'{number}'") == [("applied", 3)]
        orders = "SELECT count(*) FROM specimens_order WHERE placer_number LIKE 'NEW-ORD-%' AND "
        assert again.rows(f"{orders}placer_number='NEW-ORD-{number.removeprefix('NEW-')}'") == [
            (1,)
        ]


def test_it_ends_gracefully_and_what_it_has_in_hand_is_answered(home: Path) -> None:
    raw = _fresh()
    with running_listener(home) as stopping, stopping.connect() as connection:
        connection.sendall(frame(_fresh()))
        assert _answer(receive(connection))[0] == "AA", "it has the connection"
        connection.sendall(frame(raw)[:200])
        time.sleep(1)
        stopping.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        connection.sendall(frame(raw)[200:])
        assert _answer(receive(connection))[0] == "AA"
        assert receive(connection) == b""
        assert stopping.process.wait(20) == 0


def test_a_laboratory_that_is_not_set_up_answers_so(home: Path) -> None:
    with running_listener(home, WBCLAB_HL7_SITE="nowhere") as unready:
        answer = unready.exchange(_fresh())
        err = parse_message(answer).first("ERR")
        assert err is not None
        assert _answer(answer)[0] == "AE"
        assert "site “nowhere”" in err.text(8)


def test_only_the_listed_peers_get_in(home: Path) -> None:
    with (
        running_listener(home, WBCLAB_HL7_PEERS="10.0.0.0/8,192.0.2.1") as closed,
        closed.connect() as connection,
    ):
        with suppress(OSError):
            connection.sendall(frame(_fresh()))
        with suppress(ConnectionResetError):
            assert receive(connection) == b""


def test_tls_with_client_certificates(home: Path, tmp_path: Path) -> None:
    files = tmp_path / "tls"
    certificates(files)
    with running_listener(
        home,
        WBCLAB_HL7_TLS_CERTIFICATE=str(files / "server.pem"),
        WBCLAB_HL7_TLS_KEY=str(files / "server.key"),
        WBCLAB_HL7_TLS_CLIENT_CA=str(files / "ca.pem"),
    ) as secure:
        trusting = ssl.create_default_context(cafile=files / "ca.pem")
        trusting.load_cert_chain(files / "client.pem", files / "client.key")
        with trusting.wrap_socket(secure.connect(), server_hostname="localhost") as connection:
            connection.sendall(frame(_fresh()))
            assert _answer(receive(connection))[0] == "AA"
        nobody = ssl.create_default_context(cafile=files / "ca.pem")
        with (
            pytest.raises(OSError),
            nobody.wrap_socket(secure.connect(), server_hostname="localhost") as connection,
        ):
            connection.sendall(frame(_fresh()))
            assert receive(connection)
        with secure.connect() as plain:
            plain.sendall(frame(_fresh()))
            with suppress(OSError):
                assert b"MSA" not in receive(plain)
        wait_until(lambda: secure.process.poll() is None, 5, "it lives")
