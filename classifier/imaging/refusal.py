"""Why an image is refused, in words for the person who sent it, and the limits behind that."""

from typing import Literal

MIN_SIDE = 32
MAX_SIDE = 4096
MAX_BYTES = 10 * 1024 * 1024

ACCEPTED = (
    f"Accepted: JPEG, PNG, BMP, TIFF, GIF or DICOM, {MIN_SIDE}x{MIN_SIDE} to "
    f"{MAX_SIDE}x{MAX_SIDE} pixels, up to {MAX_BYTES // 1024**2} MB, 8-bit colour, one image "
    f"per file."
)

RefusalCode = Literal[
    "empty_file",
    "too_large",
    "not_an_image",
    "too_small",
    "too_many_pixels",
    "unsupported_mode",
    "animated",
    "unsupported_transfer_syntax",
    "unsupported_sop_class",
    "truncated",
    "damaged",
    "decode_timeout",
    "decode_memory",
]


class ImageRefused(Exception):
    """An image that will not be classified.

    Attributes:
        code: one of `RefusalCode`, for programs.
        reason: what was wrong, for people.
        message: the reason and what is accepted instead.
    """

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(code, reason)
        self.code: RefusalCode = code
        self.reason = reason

    @property
    def message(self) -> str:
        return f"{self.reason} {ACCEPTED}"

    def __str__(self) -> str:
        return self.message
