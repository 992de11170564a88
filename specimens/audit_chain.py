"""Walking the audit chain: is every event there, unchanged, and after the one it names?

Works on plain lines, so that an export is verified without the database it came from.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from specimens.models.audit import GENESIS, event_hash

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """The first row that does not fit, and what is wrong with it."""

    sequence: int
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far the chain was walked, and its last link; `fault` None: all of it is sound."""

    events: int
    last_sequence: int
    last_hash: str
    fault: Fault | None = None


def verify_chain(lines: Iterable[Line], *, head: tuple[int, str] | None = None) -> Verdict:
    """Walk events in the order of their sequence; stop at the first that does not fit.

    `head` is a link noted earlier (sequence, hash): with it, events cut off at the end are found
    too, which a chain cannot tell of itself.
    """
    events, sequence, previous = 0, 0, GENESIS
    for line in lines:
        fault = _fault(line, sequence, previous)
        if fault is None and head and line["sequence"] == head[0] and line["hash"] != head[1]:
            fault = Fault(head[0], "its hash is not the one noted earlier: the chain was rewritten")
        if fault is not None:
            return Verdict(events, sequence, previous, fault)
        events, sequence, previous = events + 1, line["sequence"], line["hash"]
    if head and sequence < head[0]:
        text = f"missing: the chain ends at {sequence}, an earlier run saw {head[0]}"
        return Verdict(events, sequence, previous, Fault(sequence + 1, text))
    return Verdict(events, sequence, previous)


def _fault(line: Line, sequence: int, previous: str) -> Fault | None:
    """Say what is wrong with the event that should follow `sequence`."""
    own = line["sequence"]
    if own <= sequence:
        return Fault(own, f"out of order: it follows {sequence}")
    if own > sequence + 1:
        missing = f"{sequence + 1}" if own == sequence + 2 else f"{sequence + 1} to {own - 1}"
        return Fault(sequence + 1, f"missing: {missing} removed, the next event is {own}")
    content = {name: value for name, value in line.items() if name != "hash"}
    if event_hash(content) != line["hash"]:
        return Fault(own, "changed: its content does not give its hash")
    if line["previous_hash"] != previous:
        return Fault(own, "does not follow the event before it: the previous hash differs")
    return None


def read_lines(file: TextIO) -> Iterator[Line]:
    """Read an export, one event a line; a line that is none becomes an event that cannot fit."""
    for number, text in enumerate(file, start=1):
        try:
            line = json.loads(text)
            if not isinstance(line["sequence"], int) or not isinstance(line["hash"], str):
                raise TypeError
            line["previous_hash"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} of the export is not an audit event") from error
        yield line


def as_line(line: Line) -> str:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))
