"""Figures of an evaluation, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from classifier.classes import PREDICTED_CLASSES
from classifier.evaluation.metrics import Floats, Ints, reliability, roc_curve

mpl.use("Agg")

_NAMES = [cell.name for cell in PREDICTED_CLASSES]
_COLOURS = [cell.colour for cell in PREDICTED_CLASSES]
_DOTS_PER_INCH = 120


def _axes(title: str, x_label: str, y_label: str, size: tuple[float, float] = (5.6, 4.6)) -> Any:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return axes


def _save(axes: Any, path: Path) -> None:
    axes.figure.savefig(path, dpi=_DOTS_PER_INCH)


def plot_confusion(matrix: Ints, path: Path, title: str) -> None:
    """Counts, coloured by the share of the true class."""
    axes = _axes(title, "Predicted", "True", (6.0, 5.2))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(_NAMES)), _NAMES, rotation=30, ha="right")
    axes.set_yticks(range(len(_NAMES)), _NAMES)
    for row, column in np.ndindex(*matrix.shape):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour)
    _save(axes, path)


def plot_roc(labels: Ints, probabilities: Floats, path: Path, title: str) -> None:
    """One curve per class against the rest; classes without images are left out."""
    axes = _axes(title, "False positive rate", "True positive rate")
    for index, (name, colour) in enumerate(zip(_NAMES, _COLOURS, strict=True)):
        positive = labels == index
        if positive.any() and not positive.all():
            false, true = roc_curve(positive, probabilities[:, index])
            axes.plot(false, true, color=colour, label=f"{name} ({np.trapezoid(true, false):.4f})")
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":")
    axes.legend(title="Class (area under the curve)", loc="lower right")
    _save(axes, path)


def plot_reliability(confidence: Floats, right: NDArray[np.bool_], path: Path, title: str) -> None:
    """Accuracy against confidence in 15 bins; the area of a dot grows with its count."""
    axes = _axes(title, "Confidence", "Accuracy")
    entries = reliability(confidence, right)
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":")
    axes.scatter(
        [entry["confidence"] for entry in entries],
        [entry["accuracy"] for entry in entries],
        s=[20 + 300 * entry["n"] / len(right) for entry in entries],
        color="#0072b2",
        alpha=0.8,
    )
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    _save(axes, path)


def plot_risk_coverage(
    confidence: Floats, right: NDArray[np.bool_], path: Path, title: str
) -> None:
    """Error rate among the most confident cells, for every coverage."""
    axes = _axes(title, "Coverage", "Error rate")
    wrong = ~right[np.argsort(-confidence, kind="stable")]
    counts = np.arange(1, len(wrong) + 1)
    axes.plot(counts / len(wrong), np.cumsum(wrong) / counts, color="#d55e00")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    _save(axes, path)


def plot_ood(scores: Mapping[str, Floats], path: Path, threshold: float) -> None:
    """Distribution of the out-of-distribution score of each set."""
    axes = _axes("Out-of-distribution score", "Score", "Share of the cells")
    top = float(np.quantile(np.concatenate(list(scores.values())), 0.995))
    bins = np.linspace(0.0, max(top, 1.5 * threshold), 50)
    for name, values in scores.items():
        weights = np.full(len(values), 1.0 / len(values))
        axes.hist(values, bins=bins, weights=weights, histtype="step", linewidth=1.5, label=name)
    axes.axvline(threshold, color="0.3", linestyle="--", label="threshold")
    axes.legend()
    _save(axes, path)


def plot_learning_curves(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Training accuracy per epoch, and the accuracy of the averaged weights on each set."""
    axes = _axes("Learning curves", "Epoch", "Accuracy", (6.4, 4.6))
    names = dict.fromkeys(name for row in rows for name in row)
    for name in names:
        if not name.endswith("accuracy") or "balanced" in name:
            continue
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        label = "training, augmented" if name == "accuracy" else name.removesuffix(" accuracy")
        style = ":" if name == "accuracy" else "-"
        axes.plot(*zip(*points, strict=True), style, marker="o", markersize=3, label=label)
    axes.set_ylim(top=1.005)
    axes.legend(loc="lower right")
    _save(axes, path)
