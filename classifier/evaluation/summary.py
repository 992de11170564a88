"""The figures of a set, ready for JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.classes import CELL_CLASSES
from classifier.evaluation.appearance import describe_appearance, quantiles
from classifier.evaluation.explanation import describe_explanations
from classifier.evaluation.metrics import (
    area_under_roc,
    describe,
    expected_calibration_error,
    proportion,
    reliability,
)
from classifier.evaluation.run import Evaluated

# Below this a calibration error measures chance and nothing else.
LEAST_FOR_CALIBRATION = 30
# Shares of the cells, most certain first, at which the accuracy of the decided ones is given.
COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.0)
_LEAST_PROBABILITY = 1e-300


def summarise(evaluated: Evaluated, temperature: float) -> dict[str, Any]:
    """All figures of one set.

    Args:
        evaluated: the set.
        temperature: of the model, to say how it would be calibrated without.
    """
    summary: dict[str, Any] = {"n": len(evaluated), "unreadable": len(evaluated.unread)}
    if len(evaluated.known):
        summary |= _describe_known(evaluated.known, temperature)
    summary["abstention_reasons"] = dict(
        Counter(
            "+".join(one.prediction.reasons) for one in evaluated.judged if one.prediction.reasons
        )
    )
    summary["abstained_by_group"] = {
        str(group): _abstained(evaluated, group) for group in np.unique(evaluated.groups)
    }
    summary["ood_score"] = quantiles(evaluated.ood_scores)
    summary["explanation"] = _explanations(evaluated.known)
    summary["appearance"] = describe_appearance(one.appearance for one in evaluated.judged)
    return summary


def _describe_known(known: Evaluated, temperature: float) -> dict[str, Any]:
    labels, probabilities = known.labels, known.probabilities
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    decided = ~known.abstained
    figures = describe(labels, probabilities, CELL_CLASSES)
    enough = len(labels) >= LEAST_FOR_CALIBRATION
    before = uncalibrated(probabilities, temperature)
    return figures | {
        "expected_calibration_error": figures["expected_calibration_error"] if enough else None,
        "expected_calibration_error_before": expected_calibration_error(
            before.max(axis=1), before.argmax(axis=1) == labels
        )
        if enough
        else None,
        "reliability": reliability(confidence, right),
        "coverage": proportion(int(decided.sum()), len(labels)),
        "accuracy_when_decided": proportion(int(right[decided].sum()), int(decided.sum())),
        "risk_coverage": risk_coverage(confidence, right),
    }


def uncalibrated(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """The probabilities a temperature of 1 would have given: logits are known up to a constant."""
    logits = np.log(np.maximum(probabilities, _LEAST_PROBABILITY)) * temperature
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def risk_coverage(
    confidence: NDArray[np.float64], right: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Accuracy among the most certain cells, at several coverages."""
    ranked = right[np.argsort(-confidence, kind="stable")]
    rows = []
    for coverage in COVERAGES:
        count = int(np.ceil(coverage * len(ranked)))
        rows.append({"coverage": coverage} | proportion(int(ranked[:count].sum()), count))
    return rows


def _abstained(evaluated: Evaluated, group: str) -> dict[str, Any]:
    members = evaluated.groups == group
    return proportion(int(evaluated.abstained[members].sum()), int(members.sum()))


def _explanations(known: Evaluated) -> dict[str, Any] | None:
    found = [
        (one.on_cell, one.cell_area)
        for one in known.judged
        if one.on_cell is not None and one.cell_area is not None
    ]
    return describe_explanations([share for share, _ in found], [area for _, area in found])


def separation(foreign: Evaluated, reference: Evaluated) -> dict[str, Any]:
    """How well foreign images are told from the reference: area under the ROC curve by kind.

    By the out-of-distribution score and, as a baseline, by one minus the confidence.
    """
    result: dict[str, Any] = {}
    for name, own, other in (
        ("ood_score", reference.ood_scores, foreign.ood_scores),
        ("one_minus_confidence", _doubts(reference), _doubts(foreign)),
    ):
        result[name] = {"all": _area(own, other)} | {
            str(group): _area(own, other[foreign.groups == group])
            for group in np.unique(foreign.groups)
        }
    return result


def _doubts(evaluated: Evaluated) -> NDArray[np.float64]:
    if not len(evaluated):
        return np.empty(0)
    return np.asarray(1.0 - evaluated.probabilities.max(axis=1))


def _area(own: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    foreign = np.repeat([False, True], [len(own), len(other)])
    return area_under_roc(foreign, np.concatenate([own, other])) if len(foreign) else None
