"""What a report says, one observation each: percentages, amounts, limits, counts."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from specimens.interop.codes import Code, CodeTable
from specimens.interop.hl7.message import Value
from specimens.reference import Flag
from specimens.terminology import LOCAL, Quantity

LIMITS_95: Final = "ci95"
COUNT: Final = "count"


@dataclass(frozen=True, slots=True)
class Observation:
    """One OBX: its data type (OBX-2), code, value, and how it was judged.

    `sub_id` (OBX-4) is the class key: it ties what is said of one class together.
    """

    kind: str
    code: Code
    sub_id: str
    value: Value
    unit: str = ""
    reference_range: str = ""
    flag: str = ""


def observations(
    content: Mapping[str, Any], codes: CodeTable, *, details: bool
) -> Iterator[Observation]:
    """Return the observations of a report's content, in the order of its rows."""
    for row in content["differential"]:
        yield from _of_row(row, codes, details=details)
    for other in content["non_wbc"]:
        yield from _of_other(other, codes, details=details)
    yield _number(
        codes.cells_counted, str(content["counted"]), codes.unit(Quantity.CELLS_COUNTED), "counted"
    )
    wbc_count = content["specimen"]["wbc_count"]
    if wbc_count is not None:
        yield _number(codes.wbc_count, wbc_count, codes.unit(Quantity.WBC_COUNT), "wbc")


def _of_row(row: Mapping[str, Any], codes: CodeTable, *, details: bool) -> Iterator[Observation]:
    key, name = row["key"], row["name"]
    judged = row["reference"]
    unit = codes.unit(Quantity.PERCENT, key)
    yield _number(codes.percent(key), row["percent"], unit, key, judged.get("percent"))
    if details:
        # SN with a separator is a range: the exact (Clopper-Pearson) limits of the percentage.
        limits = ("", f"{row['lower']:.1f}", "-", f"{row['upper']:.1f}")
        code = _local(key, LIMITS_95, f"{name}, 95 % limits of the percentage")
        yield Observation("SN", code, key, limits, unit)
        yield _number(_local(key, COUNT, f"{name}, cells counted"), str(row["count"]),
                      "{cells}", key)  # fmt: skip
    if row["absolute"] is not None:
        unit = codes.unit(Quantity.ABSOLUTE, key)
        yield _number(codes.absolute(key), row["absolute"], unit, key, judged.get("absolute"))


def _of_other(
    other: Mapping[str, Any], codes: CodeTable, *, details: bool
) -> Iterator[Observation]:
    key = other["key"]
    if other["per_100_wbc"] is not None:
        unit = codes.unit(Quantity.PER_100_WBC, key)
        yield _number(codes.per_100_wbc(key), other["per_100_wbc"], unit, key)
    if details:
        code = _local(key, COUNT, f"{other['name']}, cells counted")
        yield _number(code, str(other["count"]), "{cells}", key)


def _local(key: str, quantity: str, display: str) -> Code:
    return Code(LOCAL, f"{key.replace('_', '-')}-{quantity}", display)


def _number(
    code: Code, value: str, unit: str, sub_id: str, judged: Mapping[str, Any] | None = None
) -> Observation:
    judged = judged or {}
    flag = Flag(judged["flag"]).letter if judged else ""
    return Observation("NM", code, sub_id, value, unit, _range(judged), flag)


def _range(judged: Mapping[str, Any]) -> str:
    """OBX-7: 40-75, or one-sided. A value on a limit is within it, hence <= and >=."""
    low, high = (_plain(judged.get(side)) for side in ("low", "high"))
    if low and high:
        return f"{low}-{high}"
    if high:
        return f"<={high}"
    return f">={low}" if low else ""


def _plain(text: str | None) -> str:
    """40.00 as 40: the limits of a range are written without idle zeros."""
    return f"{Decimal(text).normalize():f}" if text is not None else ""


def pdf_observation(content: bytes) -> Observation:
    """The signed report as it is printed (ED: encapsulated data, base64)."""
    data = base64.b64encode(content).decode()
    code = Code(LOCAL, "report-pdf", "Report as PDF")
    return Observation("ED", code, "report", ("", "AP", "PDF", "Base64", data))
