"""Data Matrix ECC 200 symbols (ISO/IEC 16022) of the size the text needs.

reportlab draws the 44 x 44 symbol only, many times the area an accession number takes; placement
and error correction are the same for the small square ones.
"""

from typing import Any, Final

from reportlab.graphics.barcode.ecc200datamatrix import ECC200DataMatrix

# Modules a side, data codewords, error correction codewords (ISO/IEC 16022, table 7).
_SIZES: Final = (
    (10, 3, 5), (12, 5, 7), (14, 8, 10), (16, 12, 12), (18, 18, 14), (20, 22, 18), (22, 30, 20),
    (24, 36, 24), (26, 44, 28),
)  # fmt: skip
_PAD: Final = 129
_FIRST_PAIR: Final = 130


class DataMatrix(ECC200DataMatrix):
    """The smallest square symbol that holds an ASCII text; drawn with `barWidth` a module."""

    def __init__(self, value: str, **kwargs: Any) -> None:
        super().__init__(value, **kwargs)
        needed = len(ascii_codewords(value))
        size = next((size for size in _SIZES if size[1] >= needed), None)
        if size is None:
            raise ValueError(f"a label holds up to 44 codewords, {value!r} needs {needed}")
        self.row_modules = self.col_modules = size[0]
        self.row_regions = self.col_regions = 1
        self.cw_data, self.cw_ecc = size[1:]
        self.row_usable_modules = self.col_usable_modules = size[0] - 2
        self.x = self.y = 0
        self.validate()
        self.encode()  # type: ignore[no-untyped-call]

    def _encode_c40(self, value: str) -> list[int]:
        """Encode in ASCII: two digits share a codeword, which suits accession numbers better."""
        codewords = ascii_codewords(value)
        if len(codewords) < self.cw_data:
            codewords.append(_PAD)
        while len(codewords) < self.cw_data:
            padding = _PAD + (149 * (len(codewords) + 1)) % 253 + 1
            codewords.append(padding if padding <= 254 else padding - 254)
        return codewords


def ascii_codewords(text: str) -> list[int]:
    """Return the codewords of the ASCII encodation."""
    codewords, at = [], 0
    while at < len(text):
        pair = text[at : at + 2]
        if len(pair) == 2 and pair.isascii() and pair.isdecimal():
            codewords.append(_FIRST_PAIR + int(pair))
            at += 2
        else:
            codewords.append(ord(text[at]) + 1)
            at += 1
    return codewords
