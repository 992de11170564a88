"""Two models on the same cells, class by class: is the new one better, or at least no worse?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from classifier.classes import CELL_CLASSES
from classifier.evaluation.filters import NOTHING, percent, proportion
from classifier.evaluation.markdown import table
from classifier.evaluation.run import Evaluated
from classifier.evaluation.summary import summarise

Verdict = Literal["better", "not shown to be better", "worse"]

ALPHA: Final = 0.05
_KEPT: Final = (
    "n",
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "expected_calibration_error",
    "coverage",
    "accuracy_when_decided",
    "confusion_matrix",
)


def mcnemar_exact(lost: int, won: int) -> float:
    """Two-sided p-value that both models are wrong equally often.

    Under that, each cell which only one of them gets right is a fair coin. McNemar, Psychometrika
    12 (1947), 153-157, with the binomial distribution instead of its approximation.

    Args:
        lost: cells only the old model has right.
        won: cells only the new model has right.
    """
    total, fewer = lost + won, min(lost, won)
    tail = sum(math.comb(total, count) for count in range(fewer + 1))
    # Fractions of whole numbers: neither may be too large for a float.
    return float(min(Fraction(1), Fraction(2 * tail, 2**total)))


def compare_models(
    old: Evaluated, new: Evaluated, temperatures: tuple[float, float]
) -> dict[str, Any]:
    """The comparison on the same images, ready for JSON.

    Args:
        old: what the old model made of them.
        new: what the new one did.
        temperatures: of the old and of the new model.

    Raises:
        ValueError: the images are not the same, or there are none.
    """
    if [one.file.path for one in old.judged] != [one.file.path for one in new.judged]:
        raise ValueError("the two models were not given the same images")
    if not len(old):
        raise ValueError("there are no images to compare the models on")
    labels = old.labels
    before = old.probabilities.argmax(axis=1) == labels
    after = new.probabilities.argmax(axis=1) == labels
    summaries = [
        summarise(one, temperature)
        for one, temperature in zip((old, new), temperatures, strict=True)
    ]
    result: dict[str, Any] = {
        name: {key: summary[key] for key in _KEPT}
        for name, summary in zip(("old", "new"), summaries, strict=True)
    }
    result["changes"] = _changes(before, after)
    result["classes"] = {
        name: {
            "old": summaries[0]["classes"][name]["recall"],
            "new": summaries[1]["classes"][name]["recall"],
        }
        | _changes(before[labels == index], after[labels == index])
        for index, name in enumerate(CELL_CLASSES)
    }
    verdict, reason = _judge(result)
    return result | {"verdict": verdict, "reason": reason, "recommended": verdict == "better"}


def _changes(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> dict[str, Any]:
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    return {"only_old_right": lost, "only_new_right": won, "p_value": mcnemar_exact(lost, won)}


def _judge(result: Mapping[str, Any]) -> tuple[Verdict, str]:
    changes = result["changes"]
    lost, won, p = changes["only_old_right"], changes["only_new_right"], changes["p_value"]
    figures = f"{won} cells right that were wrong, {lost} wrong that were right; p = {p:.3g}"
    fallen = [
        name
        for name, entry in result["classes"].items()
        if entry["only_old_right"] > entry["only_new_right"] and entry["p_value"] < ALPHA
    ]
    if lost > won:
        return "worse", f"It has fewer cells right ({figures})."
    if fallen:
        return "worse", f"It is worse on {', '.join(fallen)}, whatever it gains elsewhere."
    if result["new"]["balanced_accuracy"] < result["old"]["balanced_accuracy"]:
        return "worse", f"Its balanced accuracy is lower: it gains on common classes ({figures})."
    if p < ALPHA:
        return "better", f"More cells are right than chance explains ({figures})."
    return "not shown to be better", f"The difference may be chance ({figures})."


def format_comparison(comparison: Mapping[str, Any], versions: tuple[str, str]) -> str:
    """The comparison as Markdown, readable on a terminal too."""
    rows = [
        (
            name,
            proportion(entry["old"]),
            proportion(entry["new"]),
            str(entry["only_new_right"]),
            str(entry["only_old_right"]),
            f"{entry['p_value']:.3g}" if entry["old"]["n"] else NOTHING,
        )
        for name, entry in comparison["classes"].items()
    ]
    changes = comparison["changes"]
    rows.append(
        (
            "all",
            proportion(comparison["old"]["accuracy"]),
            proportion(comparison["new"]["accuracy"]),
            str(changes["only_new_right"]),
            str(changes["only_old_right"]),
            f"{changes['p_value']:.3g}",
        )
    )
    old, new = comparison["old"], comparison["new"]
    head = ("class", f"right, {versions[0]}", f"right, {versions[1]}", "won", "lost", "McNemar p")
    return (
        f"{table(head, rows)}\n"
        f"Balanced accuracy {percent(old['balanced_accuracy'])} before, "
        f"{percent(new['balanced_accuracy'])} after; decided {percent(old['coverage']['value'])} "
        f"before, {percent(new['coverage']['value'])} after; right when decided "
        f"{percent(old['accuracy_when_decided']['value'])} before, "
        f"{percent(new['accuracy_when_decided']['value'])} after.\n"
    )
