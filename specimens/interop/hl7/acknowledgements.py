"""Acknowledgements in the original mode (HL7 v2.5.1 section 2.9.2): ACK with MSA and ERR."""

from datetime import datetime
from typing import Final

from specimens.interop.hl7.charsets import ASCII, CODECS, UTF_8
from specimens.interop.hl7.message import Header, Row, Value, encode_message
from specimens.interop.hl7.refusals import ErrorCode, Refused
from specimens.interop.hl7.timestamps import write_time

ACCEPTED: Final = "AA"
VERSION: Final = "2.5.1"


def acknowledge(
    header: Header,
    *,
    answer: str,
    now: datetime,
    message_id: str,
    code: str = "",
    text: str = "",
    location: str = "",
) -> bytes:
    """Return the ACK to the message of `header`, in its delimiters and its character set.

    `answer` is AA, AE or AR; with a `code` of table 0357 there is an ERR segment that says where
    and why. `message_id` is our own MSH-10.
    """
    event = header.event
    rows: list[Row] = [
        (
            "MSH",
            {
                3: header.receiving_application or "WBCLAB",
                4: header.receiving_facility,
                5: header.application,
                6: header.facility,
                7: write_time(now),
                9: ("ACK", event, "ACK") if event else "ACK",
                10: message_id,
                11: header.processing_id or "P",
                12: header.version or VERSION,
            },
        ),
        ("MSA", {1: answer, 2: header.control_id, 3: text[:80]}),
    ]
    if code:
        meaning = ErrorCode(code).meaning
        rows.append(
            (
                "ERR",
                {
                    2: tuple(location.split("^")) if location else "",
                    3: (code, meaning, "HL70357"),
                    4: "E",
                    8: text,
                },
            )
        )
    charset = header.charset if header.charset in CODECS else UTF_8
    try:
        return encode_message(rows, charset=charset, delimiters=header.delimiters)
    except UnicodeEncodeError:
        plain: dict[str, dict[int, Value]] = {
            "MSA": {3: ""},
            "ERR": {8: text.encode("ascii", "replace").decode()},
        }
        rows = [(name, fields | plain.get(name, {})) for name, fields in rows]
        return encode_message(rows, charset=ASCII, delimiters=header.delimiters)


def refuse(header: Header, refusal: Refused, *, now: datetime, message_id: str) -> bytes:
    """Return the ACK of a refusal."""
    return acknowledge(
        header,
        answer=refusal.answer,
        now=now,
        message_id=message_id,
        code=refusal.code,
        text=refusal.text,
        location=refusal.location,
    )
