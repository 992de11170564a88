"""What a version is meant to reach, and whether the measured figures do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from classifier.evaluation.standard import DRAWN_SET, EXTERNAL_SETS, FOREIGN_SET, REFERENCE_SET


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal.

    Attributes:
        text: what is asked.
        measured: what was found, in words; empty where it was not measured.
        met: whether it is reached; None where it was not measured.
    """

    text: str
    measured: str
    met: bool | None


_NOT_MEASURED: Final = "not measured"


def check_goals(figures: Mapping[str, Any]) -> list[Goal]:
    """All goals against the figures of a card."""
    home = figures["sets"][REFERENCE_SET]
    accuracy, macro_f1 = home["accuracy"]["value"], home["macro_f1"]
    goals = [
        Goal(
            f"{REFERENCE_SET}: accuracy at least 99.7%, macro F1 at least 0.995",
            f"{accuracy:.2%}, {macro_f1:.4f}",
            accuracy >= 0.997 and macro_f1 >= 0.995,
        ),
        _external(figures),
        *_foreign(figures),
        _drawn(figures),
    ]
    error, error_text = home["expected_calibration_error"], _NOT_MEASURED
    if error is not None:
        error_text = f"{error:.2%}"
    goals.append(
        Goal(
            f"{REFERENCE_SET}: calibration error at most 1%",
            error_text,
            None if error is None else error <= 0.01,
        )
    )
    coverage, decided = home["coverage"]["value"], home["accuracy_when_decided"]["value"]
    goals.append(
        Goal(
            f"{REFERENCE_SET}: at least 99.9% right when decided, at a coverage of at least 95%",
            f"{decided:.2%} at {coverage:.1%}" if decided is not None else "nothing decided",
            decided is not None and decided >= 0.999 and coverage >= 0.95,
        )
    )
    return goals


def _external(figures: Mapping[str, Any]) -> Goal:
    names = " and ".join(EXTERNAL_SETS)
    text = (
        f"{names}, classes with over two images: balanced accuracy 88% on the mean, none under 82%"
    )
    values = [
        figures["sets"][name]["balanced_accuracy_classes_over_two"]
        for name in EXTERNAL_SETS
        if name in figures["sets"]
    ]
    if len(values) < len(EXTERNAL_SETS):
        return Goal(text, _NOT_MEASURED, None)
    mean = sum(values) / len(values)
    shown = ", ".join(f"{value:.1%}" for value in values)
    return Goal(text, f"{shown}; mean {mean:.1%}", mean >= 0.88 and min(values) >= 0.82)


def _foreign(figures: Mapping[str, Any]) -> list[Goal]:
    text = f"{FOREIGN_SET} told from {REFERENCE_SET}: AUROC at least 0.990, and 0.98 for each kind"
    found = figures["out_of_distribution_auroc"].get(FOREIGN_SET)
    if found is None:
        return [Goal(text, _NOT_MEASURED, None)]
    scores = found["ood_score"]
    kinds = {name: value for name, value in scores.items() if name != "all"}
    shown = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in kinds.items())
    met = scores["all"] >= 0.990 and min(kinds.values()) >= 0.98
    return [Goal(text, f"{scores['all']:.3f}; {shown}", met)]


def _drawn(figures: Mapping[str, Any]) -> Goal:
    entries = figures["sets"][DRAWN_SET]["abstained_by_group"]
    silent = {
        name: entry["n"] - round(entry["value"] * entry["n"]) for name, entry in entries.items()
    }
    total = sum(entry["n"] for entry in entries.values())
    wrong = sum(silent.values())
    listed = ", ".join(
        f"{name.replace('_', ' ')} {count}" for name, count in silent.items() if count
    )
    return Goal(
        "blank, noise, text, red cells only and tissue: never given a class",
        f"{wrong} of {total} were given one{f' ({listed})' if listed else ''}",
        wrong == 0,
    )
