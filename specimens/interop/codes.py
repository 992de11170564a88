"""The code table: which LOINC, SNOMED CT or local code stands for what a report says.

The defaults are a data file (default_codes.toml); a site's own rows lie over them
(specimens/selectors/codes.py). Codes are found by class key, never by the text people read.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from classifier.classes import CLASS_BY_KEY
from specimens.terminology import (
    LOCAL,
    LOINC,
    OF_A_CLASS,
    SCHEMES,
    SNOMED_CT,
    UNITS,
    Quantity,
    code_problems,
)

DEFAULTS: Final = Path(__file__).with_name("default_codes.toml")
_SYSTEMS: Final = {"loinc": LOINC, "snomed": SNOMED_CT, "local": LOCAL}
# Where a row comes from, if not from a site.
DEFAULT: Final = "default"
LOCAL_CODE: Final = "local"
Key = tuple[str, str]  # quantity, class key ("" for what is said of the whole differential)


@dataclass(frozen=True, slots=True)
class Code:
    """A code of a system (a URI); `display` is for people only."""

    system: str
    code: str
    display: str

    @property
    def scheme(self) -> str:
        """Name of the system in HL7 v2 (table 0396) and DICOM (PS3.16 section 8): LN, SCT, 99..."""
        return SCHEMES.get(self.system, SCHEMES[LOCAL])


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table; `origin` is DEFAULT, LOCAL_CODE, or the code of a site."""

    code: Code
    unit: str = ""
    origin: str = DEFAULT


@dataclass(frozen=True)
class CodeTable:
    """The codes in force at a site. What has no row goes out under our own code, never under none.

    Attributes:
        entries: rows by quantity and class key.
        version, remark: of the defaults.
        site: code of the site it holds at; empty for the defaults alone.
    """

    entries: Mapping[Key, Entry]
    version: str = ""
    remark: str = ""
    site: str = ""

    def percent(self, key: str) -> Code:
        """Code of the percentage of a white-cell class."""
        return self.entry(Quantity.PERCENT, key).code

    def absolute(self, key: str) -> Code:
        """Code of the absolute count of a class."""
        return self.entry(Quantity.ABSOLUTE, key).code

    def per_100_wbc(self, key: str) -> Code:
        """Code of cells outside the denominator, per 100 white cells."""
        return self.entry(Quantity.PER_100_WBC, key).code

    def cell(self, key: str) -> Code:
        """Code of the kind of cell itself."""
        return self.entry(Quantity.CELL, key).code

    @property
    def panel(self) -> Code:
        return self.entry(Quantity.PANEL).code

    @property
    def cells_counted(self) -> Code:
        return self.entry(Quantity.CELLS_COUNTED).code

    @property
    def wbc_count(self) -> Code:
        """Code of the analyser's white-cell count."""
        return self.entry(Quantity.WBC_COUNT).code

    @property
    def method(self) -> Code:
        """How a signed result was come by; what no person has verified yet has another."""
        return self.entry(Quantity.METHOD).code

    @property
    def method_unverified(self) -> Code:
        return self.entry(Quantity.METHOD_UNVERIFIED).code

    def unit(self, quantity: str, key: str = "") -> str:
        """UCUM unit the number goes out with; it never changes the number."""
        return self.entry(quantity, key).unit

    def entry(self, quantity: str, key: str = "") -> Entry:
        """Return the row; raises KeyError for a quantity or a class nobody knows."""
        return self.entries.get((quantity, key)) or _local_entry(Quantity(quantity), key)

    def overlaid(self, rows: Mapping[Key, Entry], site: str = "") -> "CodeTable":
        """Return this table with the `rows` of a site lying over it."""
        return replace(self, entries={**self.entries, **rows}, site=site)

    def problems(self) -> list[str]:
        """Return what is wrong with the table, a sentence each."""
        found = [
            f"{quantity} {key}: {text}".replace(" :", ":")
            for (quantity, key), row in self.entries.items()
            for text in code_problems(
                quantity=quantity,
                cell_class=key,
                system=row.code.system,
                code=row.code.code,
                unit=row.unit,
            ).values()
        ]
        return found + _ambiguous(self.entries.items())


def _local_entry(quantity: Quantity, key: str) -> Entry:
    """Our own code of what the table has no row for."""
    name = CLASS_BY_KEY[key].name if quantity in OF_A_CLASS else quantity.replace("_", " ")
    slug = quantity.replace("_", "-")
    code = f"{key.replace('_', '-')}-{slug}" if quantity in OF_A_CLASS else slug
    texts = {
        Quantity.PERCENT: f"{name}, per cent of white cells",
        Quantity.ABSOLUTE: f"{name}, cells per volume of blood",
        Quantity.PER_100_WBC: f"{name}, per 100 white cells",
    }
    unit = UNITS.get(quantity, ("",))[0]
    return Entry(Code(LOCAL, code, texts.get(quantity, name)), unit, LOCAL_CODE)


def _ambiguous(rows: Iterable[tuple[Key, Entry]]) -> list[str]:
    """Name codes that stand for two different things: a receiver would merge them."""
    seen: dict[tuple[str, str], Key] = {}
    found = []
    for key, row in rows:
        code = (row.code.system, row.code.code)
        first = seen.setdefault(code, key)
        if first != key:
            one, other = (" ".join(part for part in pair if part) for pair in (first, key))
            found.append(f"{row.code.code} stands for {one} and for {other}: give each its own.")
    return found


def read_codes(document: Mapping[str, Any]) -> CodeTable:
    """Return the table a parsed data file holds; raises ValueError naming what cannot be used."""
    entries = {}
    for quantity in Quantity:
        part = document.get(quantity, {})
        for key, (system, code, display) in part.get("codes", {}).items():
            if system not in _SYSTEMS:
                raise ValueError(f"{quantity} {key}: “{system}” is none of {', '.join(_SYSTEMS)}")
            row = Code(_SYSTEMS[system], code, display)
            entries[str(quantity), key] = Entry(row, part.get("unit", ""))
    return CodeTable(entries, document["version"], document["remark"])


@cache
def default_codes() -> CodeTable:
    """Return the table a site starts with."""
    return read_codes(tomllib.loads(DEFAULTS.read_text(encoding="utf-8")))
