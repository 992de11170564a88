"""What a sender is told that its message cannot be taken, with the code of HL7 table 0357."""

from enum import StrEnum
from typing import Final


class ErrorCode(StrEnum):
    """HL7 v2.5.1 table 0357, as far as it is used here."""

    SEGMENT_SEQUENCE = "100"
    REQUIRED_FIELD_MISSING = "101"
    DATA_TYPE = "102"
    TABLE_VALUE = "103"
    UNSUPPORTED_MESSAGE_TYPE = "200"
    UNSUPPORTED_EVENT = "201"
    UNSUPPORTED_PROCESSING_ID = "202"
    UNSUPPORTED_VERSION = "203"
    UNKNOWN_KEY = "204"
    DUPLICATE_KEY = "205"
    INTERNAL = "207"

    @property
    def meaning(self) -> str:
        return MEANINGS[self]


MEANINGS: Final[dict[ErrorCode, str]] = {
    ErrorCode.SEGMENT_SEQUENCE: "Segment sequence error",
    ErrorCode.REQUIRED_FIELD_MISSING: "Required field missing",
    ErrorCode.DATA_TYPE: "Data type error",
    ErrorCode.TABLE_VALUE: "Table value not found",
    ErrorCode.UNSUPPORTED_MESSAGE_TYPE: "Unsupported message type",
    ErrorCode.UNSUPPORTED_EVENT: "Unsupported event code",
    ErrorCode.UNSUPPORTED_PROCESSING_ID: "Unsupported processing id",
    ErrorCode.UNSUPPORTED_VERSION: "Unsupported version id",
    ErrorCode.UNKNOWN_KEY: "Unknown key identifier",
    ErrorCode.DUPLICATE_KEY: "Duplicate key identifier",
    ErrorCode.INTERNAL: "Application internal error",
}


class Refused(Exception):
    """The message is not taken. `text` says to people what was wrong and what to do.

    Attributes:
        answer: MSA-1: AR for what no system of this kind could take (form, type, version), AE for
            an error in the content (HL7 v2.5.1 section 2.9.2.2).
        code: why, for programs.
        location: ERR-2 as segment^occurrence^field; empty where it is the whole message.
    """

    def __init__(
        self, text: str, code: ErrorCode, *, answer: str = "AE", location: str = ""
    ) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.answer = answer
        self.location = location
