"""Character sets of messages (HL7 v2.5.1 MSH-18, table 0211) and their Python codecs."""

from typing import Final

from specimens.interop.hl7.refusals import ErrorCode, Refused

UTF_8: Final = "UNICODE UTF-8"
ASCII: Final = "ASCII"
CODECS: Final = {
    ASCII: "ascii",
    UTF_8: "utf-8",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
}


def codec_of(charset: str) -> str:
    """Return the Python codec of a value of MSH-18; raises Refused for one we do not speak."""
    try:
        return CODECS[charset.strip().upper().replace("UTF8", "UTF-8").replace("ISO ", "")]
    except KeyError:
        raise Refused(
            f"The character set “{charset}” (MSH-18) is not known here. "
            f"Send one of {', '.join(CODECS)}.",
            ErrorCode.TABLE_VALUE,
            answer="AR",
            location="MSH^1^18",
        ) from None


def decode(raw: bytes, charset: str) -> str:
    """Decode a message; raises Refused, naming the first byte that does not belong."""
    codec = codec_of(charset)
    try:
        return raw.decode(codec)
    except UnicodeDecodeError as error:
        raise Refused(
            f"Byte {error.start + 1} of the message (0x{raw[error.start]:02X}) is not {charset}. "
            "Name the character set in MSH-18, and send the message in it.",
            ErrorCode.DATA_TYPE,
            answer="AR",
            location="MSH^1^18",
        ) from None
