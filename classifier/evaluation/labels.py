"""What laboratories call the classes: folder names and labels in any of the usual spellings."""

from __future__ import annotations

import re
from typing import Final

from classifier.classes import CLASS_BY_KEY, HUMAN_CLASSES, PREDICTED_CLASSES

CLASS_KEYS: Final = tuple(cell.key for cell in PREDICTED_CLASSES)
NO_CLASS: Final = -1

# Beside key, name and code of each class, and the plural of all of them.
_ALIASES: Final = {
    "basophil": ("baso", "basophilic granulocyte", "ba"),
    "eosinophil": ("eosino", "eosinophilic granulocyte", "eo"),
    "lymphocyte": ("lymph", "lympho", "ly"),
    "monocyte": ("mono", "mo"),
    # The model has one output for both: the classes it was taught do not separate the bands.
    "neutrophil": (
        *("neut", "neutro", "ne", "seg", "sne", "segmented", "segmented neutrophil", "pmn"),
        *("band", "bne", "band neutrophil", "band cell", "stab", "bnd", "neutrophilic granulocyte"),
    ),
    "erythroblast": ("nrbc", "normoblast", "nucleated red blood cell"),
    "immature_granulocyte": ("promyelocyte", "myelocyte", "metamyelocyte", "pmy", "my", "mmy"),
    "giant_platelet": ("large platelet",),
    "platelet": ("plt", "thrombocyte"),
    "atypical_lymphocyte": ("reactive lymphocyte", "variant lymphocyte"),
    "smudge_cell": ("smudge", "basket cell"),
    "artefact": ("artifact", "dirt", "stain precipitate"),
    "unidentified": ("unknown", "other", "none"),
}


def _plain(name: str) -> str:
    """Lower case, words separated by one space, singular, without "cell"."""
    words = re.sub(r"[\W_]+", " ", name.strip().lower()).strip()
    words = words.removesuffix("s") if len(words) > 3 else words
    return words.removesuffix(" cell")


def _table() -> dict[str, str]:
    table: dict[str, str] = {}
    for cell in (*HUMAN_CLASSES, *PREDICTED_CLASSES):
        if cell.key != "band_neutrophil":
            table |= {_plain(name): cell.key for name in (cell.key, cell.name, cell.code)}
    for key, names in _ALIASES.items():
        table |= {_plain(name): key for name in (key, *names)}
    return table


_KEYS: Final = _table()


def class_key(name: str) -> str | None:
    """The key of the class a person means, or None where the name is not known.

    >>> class_key("Neutrophils"), class_key("NEU"), class_key("band"), class_key("cat")
    ('neutrophil', 'neutrophil', 'neutrophil', None)
    """
    return _KEYS.get(_plain(name))


def class_index(key: str) -> int:
    """Index of the model's output for a class key, or -1 where it has none."""
    return CLASS_KEYS.index(key) if key in CLASS_KEYS else NO_CLASS


def class_name(key: str) -> str:
    """The name a person reads."""
    return CLASS_BY_KEY[key].name if key in CLASS_BY_KEY else key.replace("_", " ").capitalize()


def accepted_names() -> str:
    """What a folder may be called, for an error message."""
    five = ", ".join(f"{cell.key} ({cell.code})" for cell in PREDICTED_CLASSES)
    others = ", ".join(sorted(set(_KEYS.values()) - set(CLASS_KEYS)))
    return (
        f"the five classes of the model: {five}, in the plural and in common other spellings too; "
        f"and, as cells of none of them: {others}"
    )
