"""Escape sequences (HL7 v2.5.1 section 2.7).

The functions of the `hl7` package are not used for this: they turn each byte of \\X..\\ into a
letter of its own, whatever the character set, and drop what follows a single backslash.
"""

import re
from dataclasses import dataclass
from typing import Final

from specimens.interop.hl7.refusals import ErrorCode, Refused


@dataclass(frozen=True, slots=True)
class Delimiters:
    """MSH-1 and MSH-2."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    @property
    def encoding_characters(self) -> str:
        """MSH-2."""
        return self.component + self.repetition + self.escape + self.subcomponent

    @property
    def letters(self) -> dict[str, str]:
        """The letter that stands for each delimiter in an escape sequence."""
        return {
            self.field: "F",
            self.component: "S",
            self.repetition: "R",
            self.escape: "E",
            self.subcomponent: "T",
        }


STANDARD: Final = Delimiters()
# Formatting commands that part words or lines (section 2.7.6); the rest of them say nothing here.
_LINES: Final = (".br", ".sp", ".ce")
_SILENT: Final = ("H", "N", ".fi", ".nf", ".in", ".ti", ".sk")
_FORMATTING: Final = re.compile(r"(\.[a-z]{2})[+-]?\d{0,3}")
_HEXADECIMAL: Final = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")
# C0 controls and DEL, which no field may hold; line ends are dealt with before.
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")


def escape(text: str, delimiters: Delimiters = STANDARD, *, lines: bool = False) -> str:
    """Return `text` as it stands in a field.

    Line ends become \\.br\\ where `lines` (fields of type FT and TX), else a space; other control
    characters become a space.
    """
    letters, mark = delimiters.letters, delimiters.escape
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    rows = ["".join(f"{mark}{letters[c]}{mark}" if c in letters else c for c in row)
            for row in text.split("\n")]  # fmt: skip
    joint = f"{mark}.br{mark}" if lines else " "
    return joint.join(_CONTROLS.sub(" ", row) for row in rows)


def unescape(text: str, delimiters: Delimiters = STANDARD, codec: str = "utf-8") -> str:
    """Return what a field says. What is no escape sequence stays as it is: nothing is dropped.

    Raises Refused for a switch of the character set in mid-field (\\C..\\, \\M..\\).
    """
    mark = delimiters.escape
    if mark not in text:
        return text
    parts = text.split(mark)
    said, rest = [parts[0]], parts[1:]
    while rest:
        meaning = _meaning(rest[0], delimiters, codec) if len(rest) > 1 else None
        if meaning is None:  # a lone mark
            said.append(mark + rest.pop(0))
        else:
            said.append(meaning + rest[1])
            del rest[:2]
    return "".join(said)


def _meaning(sequence: str, delimiters: Delimiters, codec: str) -> str | None:
    """What stands between two marks, in words; None where it is no escape sequence."""
    for character, letter in delimiters.letters.items():
        if sequence == letter:
            return character
    if found := _HEXADECIMAL.fullmatch(sequence):
        try:
            text = bytes.fromhex(found[1]).decode(codec)
        except UnicodeDecodeError:
            return None
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
        return None if _CONTROLS.search(text.replace("\n", "")) else text
    formatting = _FORMATTING.fullmatch(sequence)
    command = formatting[1] if formatting else sequence
    if command in _LINES:
        return "\n"
    if command in _SILENT:
        return ""
    if re.fullmatch(r"C[0-9A-Fa-f]{4}|M[0-9A-Fa-f]{4,6}", sequence):
        raise Refused(
            "A field changes its character set in the middle (\\C..\\ or \\M..\\), which is not "
            "read here. Send the message in one character set, UNICODE UTF-8 for example.",
            ErrorCode.DATA_TYPE,
            answer="AR",
        )
    return None
