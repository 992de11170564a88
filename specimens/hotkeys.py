"""The keys of the review page: which class each assigns, and which a person may not give away.

Pure: no database here. The five classes the model predicts have fixed keys, so that a hand trained
on one installation works on every other; those only a person assigns can be moved.
"""

from collections.abc import Mapping
from typing import Final

from classifier.classes import CLASS_BY_KEY, HUMAN_CLASSES

FIXED: Final[Mapping[str, str]] = {
    "neutrophil": "n",
    "lymphocyte": "l",
    "monocyte": "m",
    "eosinophil": "e",
    "basophil": "b",
}
DEFAULTS: Final[Mapping[str, str]] = {
    "band_neutrophil": "d",
    "immature_granulocyte": "i",
    "blast": "x",
    "atypical_lymphocyte": "a",
    "plasma_cell": "p",
    "erythroblast": "r",
    "smudge_cell": "s",
    "giant_platelet": "o",
    "artefact": "f",
    "unidentified": "q",
}
# Group, undo, zoom, compare, comment, worklist: acts of the page and of the frame.
ACTS: Final = frozenset("guzctw")
ALLOWED: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
RESERVED: Final = frozenset(FIXED.values()) | ACTS


class UnusableKeys(Exception):
    """The keys cannot be used; the text says which, and why."""


def class_keys(own: Mapping[str, str]) -> dict[str, str]:
    """Return the key of every class; `own` holds what a person moved, by class key."""
    moved = {name: key for name, key in own.items() if name in DEFAULTS and isinstance(key, str)}
    return {**FIXED, **DEFAULTS, **moved}


def own_keys(wanted: Mapping[str, object]) -> dict[str, str]:
    """Return what of `wanted` differs from the defaults; raises UnusableKeys."""
    unknown = sorted(wanted.keys() - DEFAULTS.keys())
    if unknown:
        raise UnusableKeys(f"These classes have no key to choose: {', '.join(unknown)}.")
    keys = {**DEFAULTS}
    for name, key in wanted.items():
        if not isinstance(key, str) or key not in ALLOWED:
            raise UnusableKeys(f"{_name(name)}: use one small letter or digit.")
        if key in RESERVED:
            raise UnusableKeys(f"{_name(name)}: “{key}” is taken by the page itself.")
        keys[name] = key
    for human in HUMAN_CLASSES:
        twins = [_name(name) for name, key in keys.items() if key == keys[human.key]]
        if len(twins) > 1:
            raise UnusableKeys(f"“{keys[human.key]}” stands twice: {' and '.join(twins)}.")
    return {name: key for name, key in keys.items() if key != DEFAULTS[name]}


def _name(key: str) -> str:
    return CLASS_BY_KEY[key].name
