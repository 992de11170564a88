"""The cell classes: the five that DM-FNet predicts and those only a person may assign.

Nothing here depends on Django or on a numerical library, so that every part of the platform can
import the names, codes and colours from one place.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CellClass:
    """One group a cell can be sorted into.

    Attributes:
        key: Lower-case identifier, stable across releases (database, folders, URLs).
        name: The name a person reads; for the five predicted classes also the name in the API.
        code: Short code on keys, chips and tables.
        colour: ``#rrggbb``; the predicted classes use the Okabe-Ito palette, which stays
            distinguishable with the common forms of colour blindness.
        is_wbc: Whether the cell counts in the denominator of the differential.
        predicted: Whether the model has an output for it.
    """

    key: str
    name: str
    code: str
    colour: str
    is_wbc: bool
    predicted: bool = False


# The position in this tuple is the index of the model's output: alphabetical, never reordered.
PREDICTED_CLASSES: tuple[CellClass, ...] = (
    CellClass("basophil", "Basophil", "BAS", "#cc79a7", is_wbc=True, predicted=True),
    CellClass("eosinophil", "Eosinophil", "EOS", "#d55e00", is_wbc=True, predicted=True),
    CellClass("lymphocyte", "Lymphocyte", "LYM", "#009e73", is_wbc=True, predicted=True),
    CellClass("monocyte", "Monocyte", "MON", "#e69f00", is_wbc=True, predicted=True),
    CellClass("neutrophil", "Neutrophil", "NEU", "#56b4e9", is_wbc=True, predicted=True),
)

# Classes that only a reviewer assigns.
HUMAN_CLASSES: tuple[CellClass, ...] = (
    CellClass("band_neutrophil", "Band neutrophil", "BND", "#0072b2", is_wbc=True),
    CellClass("immature_granulocyte", "Immature granulocyte", "IG", "#8c6bb1", is_wbc=True),
    CellClass("blast", "Blast", "BLA", "#a50f15", is_wbc=True),
    CellClass("atypical_lymphocyte", "Atypical lymphocyte", "ALY", "#41ab5d", is_wbc=True),
    CellClass("plasma_cell", "Plasma cell", "PLC", "#1d91c0", is_wbc=True),
    CellClass("erythroblast", "Erythroblast", "ERB", "#b15928", is_wbc=False),
    CellClass("smudge_cell", "Smudge cell", "SMU", "#969696", is_wbc=False),
    CellClass("giant_platelet", "Giant platelet", "GPL", "#bc80bd", is_wbc=False),
    CellClass("artefact", "Artefact", "ART", "#737373", is_wbc=False),
    CellClass("unidentified", "Unidentified", "UNI", "#525252", is_wbc=False),
)

ALL_CLASSES: tuple[CellClass, ...] = PREDICTED_CLASSES + HUMAN_CLASSES

# Names of the model's outputs; the index is the class index of the API.
CELL_CLASSES: tuple[str, ...] = tuple(cell.name for cell in PREDICTED_CLASSES)

CLASS_BY_KEY: dict[str, CellClass] = {cell.key: cell for cell in ALL_CLASSES}
CLASS_BY_NAME: dict[str, CellClass] = {cell.name: cell for cell in ALL_CLASSES}

# The order in which a differential lists the five classes.
REPORTING_ORDER: tuple[CellClass, ...] = tuple(
    CLASS_BY_KEY[key] for key in ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil")
)

# Where a cell goes on which the model abstains; it has to be emptied before the sign-out.
UNIDENTIFIED: CellClass = CLASS_BY_KEY["unidentified"]
