"""A message as plain data: parsed by the `hl7` package, unescaped, in the right character set.

A field is repetitions of components of subcomponents (HL7 v2.5.1 section 2.5).
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import hl7

from specimens.interop.hl7.charsets import UTF_8, codec_of, decode
from specimens.interop.hl7.escaping import STANDARD, Delimiters, escape, unescape
from specimens.interop.hl7.refusals import ErrorCode, Refused

Component = tuple[str, ...]
Repetition = tuple[Component, ...]
Field = tuple[Repetition, ...]
# What a field is written from: a text, components (each a text or subcomponents), or repetitions.
Value = str | tuple["str | tuple[str, ...]", ...] | list[Any]
Row = tuple[str, dict[int, Value]]

# Each part of a message costs memory when it is parsed; orders have a few hundred.
PARTS_LIMIT: Final = 50_000
NULL: Final = '""'  # "delete what you have" (section 2.5.3)
_FORMATTED: Final = frozenset({("NTE", 3)})
_HEADER: Final = re.compile(rb"MSH(.)([^\r\n]{4,5}?)\1", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Segment:
    """One line of a message; fields are counted from 1, as the standard does."""

    name: str
    fields: tuple[Field, ...]

    def repetitions(self, field: int) -> Field:
        """The repetitions of a field that say something."""
        if field > len(self.fields):
            return ()
        return tuple(r for r in self.fields[field - 1] if any(any(c) for c in r))

    def text(self, field: int, component: int = 1, subcomponent: int = 1) -> str:
        """One part of the first repetition, without outer spaces; empty where it is absent."""
        for repetition in self.repetitions(field)[:1]:
            return part(repetition, component, subcomponent)
        return ""


def part(repetition: Repetition, component: int, subcomponent: int = 1) -> str:
    """One part of a repetition, without outer spaces; empty where it is absent."""
    if component > len(repetition) or subcomponent > len(repetition[component - 1]):
        return ""
    return repetition[component - 1][subcomponent - 1].strip()


@dataclass(frozen=True, slots=True)
class Header:
    """What an acknowledgement needs of MSH, read even from a message that is refused."""

    application: str = ""
    facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    message_type: str = ""
    control_id: str = ""
    processing_id: str = ""
    version: str = ""
    charset: str = ""
    delimiters: Delimiters = STANDARD

    @property
    def event(self) -> str:
        """O01 of ORM^O01."""
        return self.message_type.partition("^")[2]


@dataclass(frozen=True, slots=True)
class Message:
    header: Header
    segments: tuple[Segment, ...]

    def all(self, name: str) -> Iterator[Segment]:
        return (segment for segment in self.segments if segment.name == name)

    def first(self, name: str) -> Segment | None:
        return next(self.all(name), None)


def parse_message(raw: bytes, *, default_charset: str = UTF_8) -> Message:
    """Parse one message. `default_charset` holds where MSH-18 is empty.

    Raises Refused where it is none, or cannot be read without guessing.
    """
    header = read_header(raw)
    charset = header.charset or default_charset
    text = re.sub("\r\n|\n", "\r", decode(raw, charset)).strip("\r ")
    _check_form(text, header.delimiters)
    codec = codec_of(charset)
    lines = (found for found in hl7.parse(text) if str(found).strip())
    segments = tuple(_segment(found, header.delimiters, codec) for found in lines)
    if sum(segment.name == "MSH" for segment in segments) > 1:
        raise Refused(
            "The frame holds more than one message. Send each in a frame of its own.",
            ErrorCode.SEGMENT_SEQUENCE,
            answer="AR",
        )
    return Message(header, segments)


def read_header(raw: bytes) -> Header:
    """Read MSH alone, leniently: so that what is refused can be answered by its control id.

    Raises Refused where there is no MSH or its delimiters cannot be used.
    """
    found = _HEADER.match(raw.lstrip(b"\r\n "))
    if found is None:
        raise Refused(
            "The message does not begin with MSH and its delimiters (MSH|^~\\&|).",
            ErrorCode.SEGMENT_SEQUENCE,
            answer="AR",
        )
    line = re.split(rb"[\r\n]", raw.lstrip(b"\r\n "), maxsplit=1)[0][:4096]
    delimiters = _delimiters(found[1], found[2])
    fields = line.decode("utf-8", errors="replace").split(delimiters.field)

    def field(number: int) -> str:
        return fields[number - 1].strip() if number <= len(fields) else ""

    def name(number: int) -> str:
        return _printable(unescape(field(number).split(delimiters.component)[0], delimiters))

    kind = field(9).split(delimiters.component)
    return Header(
        application=name(3)[:180],
        facility=name(4)[:180],
        receiving_application=name(5)[:180],
        receiving_facility=name(6)[:180],
        message_type=_printable("^".join(kind[:2]))[:15],
        control_id=name(10)[:199],
        processing_id=name(11)[:3],
        version=name(12)[:10],
        charset=field(18).split(delimiters.repetition)[0],
        delimiters=delimiters,
    )


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable()).strip()


def _delimiters(field: bytes, encoding_characters: bytes) -> Delimiters:
    characters = (field + encoding_characters)[:6].decode("ascii", errors="replace")
    usable = all(c.isascii() and c.isprintable() and not c.isalnum() for c in characters)
    if not usable or " " in characters or len(set(characters)) < len(characters):
        raise Refused(
            "The delimiters in MSH-1 and MSH-2 must be five different signs, as in MSH|^~\\&|.",
            ErrorCode.DATA_TYPE,
            answer="AR",
            location="MSH^1^2",
        )
    return Delimiters(*tuple(characters)[:5])


def _check_form(text: str, delimiters: Delimiters) -> None:
    """Refuse what would be costly to parse, or would be stored as something else than was sent."""
    found = re.search(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]", text)
    if found:
        raise Refused(
            f"The message holds a control character (0x{ord(found[0]):02X}). Leave it out.",
            ErrorCode.DATA_TYPE,
            answer="AR",
        )
    parts = sum(text.count(c) for c in (*delimiters.letters, "\r"))
    if parts > PARTS_LIMIT:
        raise Refused(
            f"The message has {parts} parts; at most {PARTS_LIMIT} are read. Send it in pieces.",
            ErrorCode.SEGMENT_SEQUENCE,
            answer="AR",
        )
    for line in text.split("\r"):
        if line.strip() and not re.match(r"[A-Z][A-Z0-9]{2}(\W|$)", line):
            raise Refused(
                f"“{line[:20]}” is no segment: each line begins with its three letters. A line "
                "end inside a text is written \\.br\\.",
                ErrorCode.SEGMENT_SEQUENCE,
                answer="AR",
            )


def _segment(parsed: Any, delimiters: Delimiters, codec: str) -> Segment:
    """Turn a segment of the package, whose nesting depends on its content, into an even one."""
    name = str(parsed[0])

    def field(found: Any) -> Field:
        repetitions = list(found) if _nested(found) else [found]
        return tuple(repetition(r) for r in repetitions)

    def repetition(found: Any) -> Repetition:
        components = list(found) if _nested(found) else [found]
        return tuple(component(c) for c in components)

    def component(found: Any) -> Component:
        texts = [str(x) for x in found] if isinstance(found, list) else [str(found)]
        return tuple(unescape(text, delimiters, codec) for text in texts)

    def plain(found: Any) -> Field:
        return (((str(found),),),)

    if name == "MSH":
        return Segment(name, (plain(parsed[1]), plain(parsed[2]), *map(field, parsed[3:])))
    return Segment(name, tuple(field(found) for found in parsed[1:]))


def _nested(found: Any) -> bool:
    return isinstance(found, list) and any(isinstance(x, list) for x in found)


def fingerprint(raw: bytes) -> str:
    """Return the SHA-256 of a message without its time (MSH-7), which a repeat may have anew."""
    text = raw.strip(b"\r\n ")
    line, end, rest = text.partition(b"\r")
    fields = line.split(line[3:4]) if len(line) > 3 else [line]
    if len(fields) > 6:
        fields[6] = b""
    return hashlib.sha256(line[3:4].join(fields) + end + rest).hexdigest()


def encode_message(
    rows: Sequence[Row], *, charset: str = UTF_8, delimiters: Delimiters = STANDARD
) -> bytes:
    """Write segments, each a name and its fields by number; MSH-1, MSH-2 and MSH-18 come by itself.

    Raises UnicodeEncodeError for what the character set cannot express: nothing is garbled.
    """
    lines = []
    for name, fields in rows:
        if name == "MSH":
            fields = {**fields, 18: charset} if charset != "ASCII" else dict(fields)
        last = max((number for number, value in fields.items() if value), default=0)
        texts = [
            _written(fields.get(number, ""), delimiters, lines=(name, number) in _FORMATTED)
            for number in range(3 if name == "MSH" else 1, last + 1)
        ]
        head = [name] if name != "MSH" else ["MSH", delimiters.encoding_characters]
        lines.append(delimiters.field.join([*head, *texts]))
    return "".join(f"{line}\r" for line in lines).encode(codec_of(charset))


def _written(value: Value, delimiters: Delimiters, *, lines: bool = False) -> str:
    if isinstance(value, list):
        return delimiters.repetition.join(_written(x, delimiters, lines=lines) for x in value)
    components = (value,) if isinstance(value, str) else value
    texts = [
        delimiters.subcomponent.join(escape(part, delimiters, lines=lines) for part in parts)
        .rstrip(delimiters.subcomponent)
        for parts in ((c,) if isinstance(c, str) else c for c in components)
    ]  # fmt: skip
    return delimiters.component.join(texts).rstrip(delimiters.component)
