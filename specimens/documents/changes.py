"""What an amended report says differently from the version before it. Pure: two contents in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Content = Mapping[str, Any]

_PATIENT: Final = {
    "identifier": "Patient number",
    "family_name": "Family name",
    "given_name": "Given name",
    "birth_date": "Birth date",
    "sex": "Sex",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference, in words; empty where the value was or is absent."""

    what: str
    before: str
    after: str


def report_changes(before: Content, after: Content) -> list[Change]:
    """Return the differences of rows, other cells, totals, patient and comments, in that order."""
    found = _compared(_values(before), _values(after))
    return found + _comments(before["comments"], after["comments"])


def _values(content: Content) -> dict[str, str]:
    """What a reader compares, by the name it has on the report."""
    values = {row["name"]: _row_text(row) for row in content["differential"]}
    for other in content["non_wbc"]:
        per_100 = other["per_100_wbc"]
        share = f"{per_100} per 100 WBC, " if per_100 is not None else ""
        values[other["name"]] = f"{share}n = {other['count']}"
    values["White cells counted"] = str(content["counted"])
    wbc_count = content["specimen"]["wbc_count"]
    values["WBC count"] = f"{wbc_count} × 10⁹/L" if wbc_count is not None else ""
    patient = content["patient"]
    return values | {name: patient[key] or "" for key, name in _PATIENT.items()}


def _row_text(row: Mapping[str, Any]) -> str:
    absolute = f", {row['absolute']} × 10⁹/L" if row["absolute"] is not None else ""
    flags = "".join(
        f", {quantity} {judged['flag'].replace('_', ' ')}"
        for quantity, judged in row["reference"].items()
        if judged["flag"] != "normal"
    )
    return f"{row['percent']} %, n = {row['count']}{absolute}{flags}"


def _compared(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    names = dict.fromkeys([*before, *after])
    return [
        Change(name, before.get(name, ""), after.get(name, ""))
        for name in names
        if before.get(name, "") != after.get(name, "")
    ]


def _comments(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[Change]:
    """Comments are only ever added; what is missing is said all the same."""
    removed = [Change("Comment", c["text"], "") for c in before if c not in after]
    return removed + [Change("Comment", "", c["text"]) for c in after if c not in before]
