"""Golden messages: written and checked by hand, a segment a line; MLLP has a CR there."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent / "golden"


def golden(name: str) -> bytes:
    """Return a golden message as it is sent."""
    return (FOLDER / f"hl7_{name}.hl7").read_bytes().replace(b"\n", b"\r")


def changed(raw: bytes, **parts: str) -> bytes:
    """Return a message with texts replaced: changed(raw, **{"ORM-0001": "ORM-0002"})."""
    for before, after in parts.items():
        assert before.encode() in raw, before
        raw = raw.replace(before.encode(), after.encode())
    return raw
