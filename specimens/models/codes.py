"""A site's own codes for what it reports, in place of the defaults."""

from django.core.exceptions import ValidationError
from django.db import models

from classifier.classes import ALL_CLASSES, UNIDENTIFIED
from specimens.models.accounts import Site
from specimens.terminology import UNITS, Quantity, code_problems

QUANTITY_NAMES = {
    Quantity.PERCENT: "Percentage of a class",
    Quantity.ABSOLUTE: "Absolute count of a class",
    Quantity.PER_100_WBC: "Cells of a class per 100 white cells",
    Quantity.CELL: "Kind of cell",
    Quantity.PANEL: "Differential (panel)",
    Quantity.CELLS_COUNTED: "White cells counted",
    Quantity.WBC_COUNT: "White-cell count of the analyser",
    Quantity.METHOD: "Method of a signed result",
    Quantity.METHOD_UNVERIFIED: "Method of a result nobody has verified",
}


class CodeMapping(models.Model):
    """One code of a site: it replaces the default for this quantity and class."""

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="code_mappings")
    quantity = models.CharField(
        max_length=20, choices=[(one.value, name) for one, name in QUANTITY_NAMES.items()]
    )
    cell_class = models.CharField(
        max_length=30,
        blank=True,
        choices=[(c.key, c.name) for c in ALL_CLASSES if c is not UNIDENTIFIED],
        help_text="Empty for what is said of the whole differential.",
    )
    system = models.CharField(
        max_length=200,
        help_text="URI: http://loinc.org, http://snomed.info/sct, or that of your own codes.",
    )
    code = models.CharField(max_length=64)
    display = models.CharField(
        max_length=200, help_text="For people to read; nothing is matched by it."
    )
    unit = models.CharField(
        max_length=20, blank=True, help_text="UCUM; empty: the unit of the default."
    )

    class Meta:
        ordering = ["site", "quantity", "cell_class"]
        constraints = [
            models.UniqueConstraint(
                fields=["site", "quantity", "cell_class"],
                name="one_code_per_site_quantity_and_class",
            )
        ]

    def __str__(self) -> str:
        return f"{self.quantity} {self.cell_class} {self.code}".replace("  ", " ")

    def clean(self) -> None:
        """Refuse codes with a wrong check digit, unknown classes, units that need a conversion."""
        found = code_problems(
            quantity=self.quantity,
            cell_class=self.cell_class,
            system=self.system,
            code=self.code,
            unit=self.unit,
        )
        if found:
            raise ValidationError(found)

    @property
    def unit_in_force(self) -> str:
        """The unit of the row, or the one this quantity has by default."""
        return self.unit or UNITS.get(Quantity(self.quantity), ("",))[0]
