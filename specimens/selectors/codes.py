"""The code table of a site: the defaults, and its own rows over them."""

from dataclasses import dataclass

from classifier.classes import ALL_CLASSES, CLASS_BY_KEY, REPORTING_ORDER, UNIDENTIFIED
from specimens.interop.codes import (
    Code,
    CodeTable,
    Entry,
    default_codes,
)
from specimens.interop.fhir.measures import ARTEFACT
from specimens.models import CodeMapping, Site
from specimens.models.codes import QUANTITY_NAMES
from specimens.terminology import OF_A_CLASS, Quantity


def code_table(site: Site) -> CodeTable:
    """Return the codes in force at `site`."""
    rows = CodeMapping.objects.filter(site=site)
    return default_codes().overlaid(
        {
            (row.quantity, row.cell_class): Entry(
                Code(row.system, row.code, row.display), row.unit_in_force, site.code
            )
            for row in rows
        },
        site.code,
    )


@dataclass(frozen=True, slots=True)
class CodeRow:
    """One row of the table in force, for people. `default` is what a site's own row replaces."""

    quantity: Quantity
    name: str
    cell_class: str
    entry: Entry
    default: Entry

    @property
    def title(self) -> str:
        return QUANTITY_NAMES[self.quantity]

    @property
    def is_own(self) -> bool:
        return self.entry != self.default


def code_rows(table: CodeTable) -> list[CodeRow]:
    """Return every code that can go out, in the order of the report; none is left out."""
    keys = [c.key for c in (*REPORTING_ORDER, *ALL_CLASSES) if c is not UNIDENTIFIED]
    found = []
    for quantity in Quantity:
        for key in dict.fromkeys(keys) if quantity in OF_A_CLASS else [""]:
            if not _applies(quantity, key) and (quantity, key) not in table.entries:
                continue
            name = CLASS_BY_KEY[key].name if key else ""
            before = default_codes().entry(quantity, key)
            row = CodeRow(quantity, name, key, table.entry(quantity, key), before)
            found.append(row)
    return found


def _applies(quantity: Quantity, key: str) -> bool:
    """Whether a report ever gives this quantity of the class."""
    is_wbc = CLASS_BY_KEY[key].is_wbc if key else True
    if quantity in (Quantity.PERCENT, Quantity.ABSOLUTE):
        return is_wbc
    if quantity == Quantity.PER_100_WBC:
        return not is_wbc and key != ARTEFACT
    return True


def code_problems_at(site: Site) -> list[str]:
    """Return what is wrong with the codes in force at `site`, a sentence each."""
    return code_table(site).problems()
