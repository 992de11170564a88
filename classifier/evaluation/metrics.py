"""Figures that describe a classifier, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.intervals import clopper_pearson

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

CALIBRATION_BINS = 15


def softmax(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities (n, classes) of logits (n, classes), divided by the temperature first."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def confusion_matrix(labels: Ints, predicted: Ints, classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes); row is the truth, column the prediction."""
    flat = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def proportion(successes: int, total: int) -> dict[str, Any]:
    """A share with its count and its exact 95% interval, as it is written to reports."""
    if not total:
        return {"value": None, "n": 0, "interval_95": None}
    low, high = clopper_pearson(successes, total)
    return {"value": successes / total, "n": total, "interval_95": [low, high]}


def cohen_kappa(matrix: Ints) -> float:
    """Agreement beyond chance (Cohen 1960), from a confusion matrix."""
    total = matrix.sum()
    observed = np.trace(matrix) / total
    expected = float((matrix.sum(axis=0) * matrix.sum(axis=1)).sum()) / float(total) ** 2
    return float((observed - expected) / (1.0 - expected)) if expected < 1.0 else 1.0


def class_scores(matrix: Ints, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Precision and recall with intervals, and F1 of each class; None where there is no image."""
    scores = {}
    for index, name in enumerate(names):
        right = int(matrix[index, index])
        truth, called = int(matrix[index].sum()), int(matrix[:, index].sum())
        scores[name] = {
            "n": truth,
            "precision": right / called if called else None,
            "precision_proportion": proportion(right, called),
            "recall": proportion(right, truth),
            "f1": 2 * right / (truth + called) if truth else None,
        }
    return scores


def roc_curve(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """False and true positive rates for falling thresholds, ties taken together."""
    order = np.argsort(-score, kind="stable")
    hits, ranked = positive[order], score[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true = np.cumsum(hits)[ends] / max(1, hits.sum())
    false = np.cumsum(~hits)[ends] / max(1, (~hits).sum())
    return np.concatenate([[0.0], false]), np.concatenate([[0.0], true])


def area_under_roc(positive: NDArray[np.bool_], score: Floats) -> float | None:
    """Probability that a positive scores higher than a negative; None if one kind is absent."""
    if positive.all() or not positive.any():
        return None
    false, true = roc_curve(positive, score)
    return float(np.trapezoid(true, false))


def reliability(confidence: Floats, right: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Mean confidence and accuracy in bins of equal width; empty bins are left out."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        {
            "n": float((bins == index).sum()),
            "confidence": float(confidence[bins == index].mean()),
            "accuracy": float(right[bins == index].mean()),
        }
        for index in np.unique(bins)
    ]


def expected_calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Mean gap between confidence and accuracy over 15 bins (Guo et al. 2017)."""
    gaps = (
        entry["n"] * abs(entry["confidence"] - entry["accuracy"])
        for entry in reliability(confidence, right)
    )
    return float(sum(gaps) / len(right))


def describe(labels: Ints, probabilities: Floats, names: tuple[str, ...]) -> dict[str, Any]:
    """All figures of one set of images.

    Args:
        labels: Class indices (n,), none of them negative.
        probabilities: Calibrated probabilities (n, classes).
        names: Names of the classes.

    Returns:
        A dictionary ready for JSON. The macro figures are over the classes that occur.
    """
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    matrix = confusion_matrix(labels, predicted, len(names))
    scores = class_scores(matrix, names)
    present = [entry for entry in scores.values() if entry["n"]]
    return {
        "n": len(labels),
        "accuracy": proportion(int(right.sum()), len(labels)),
        "balanced_accuracy": float(np.mean([entry["recall"]["value"] for entry in present])),
        "balanced_accuracy_classes_over_two": _mean_recall(present, 2),
        "macro_f1": float(np.mean([entry["f1"] for entry in present])),
        "cohen_kappa": cohen_kappa(matrix),
        "expected_calibration_error": expected_calibration_error(probabilities.max(axis=1), right),
        "classes": scores,
        "roc_auc": {
            name: area_under_roc(labels == index, probabilities[:, index])
            for index, name in enumerate(names)
        },
        "confusion_matrix": matrix.tolist(),
    }


def _mean_recall(present: list[dict[str, Any]], more_than: int) -> float | None:
    recalls = [entry["recall"]["value"] for entry in present if entry["n"] > more_than]
    return float(np.mean(recalls)) if recalls else None
