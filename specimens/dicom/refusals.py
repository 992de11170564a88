"""Why a DICOM object is not taken, with the status a C-STORE answers (PS3.4 Table B.2-1)."""

from typing import Final

from classifier.imaging.refusal import ImageRefused

OUT_OF_RESOURCES: Final = 0xA700
DOES_NOT_MATCH_SOP_CLASS: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NOT_AUTHORISED: Final = 0x0124

# Codes that are not listed are objects nobody can read: 0xC000.
_STATUS: Final = {
    "unsupported_sop_class": SOP_CLASS_NOT_SUPPORTED,
    "unsupported_mode": DOES_NOT_MATCH_SOP_CLASS,
    "identifiers_disagree": DOES_NOT_MATCH_SOP_CLASS,
    "not_allowed": NOT_AUTHORISED,
    # The sender may try these again later, unchanged.
    "queue_full": OUT_OF_RESOURCES,
    "storage_unavailable": OUT_OF_RESOURCES,
    "database_unavailable": OUT_OF_RESOURCES,
}


class DicomRefusal(Exception):
    """An object that was not taken: nothing of it is stored.

    Attributes:
        code: for programs.
        text: what was wrong and what to do, for people.
        dicom_status: of the C-STORE response.
    """

    def __init__(self, code: str, text: str, dicom_status: int | None = None) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.dicom_status = (
            _STATUS.get(code, CANNOT_UNDERSTAND) if dicom_status is None else dicom_status
        )

    def __str__(self) -> str:
        return self.text

    @property
    def may_pass(self) -> bool:
        """Whether the same object may be taken later: the platform is the obstacle, not it."""
        return self.dicom_status == OUT_OF_RESOURCES


def refusal_of(refused: ImageRefused) -> DicomRefusal:
    """The same refusal, for a DICOM sender."""
    return DicomRefusal(refused.code, refused.reason)
