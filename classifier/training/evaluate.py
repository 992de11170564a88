"""Evaluation of a released model: the same files, runtime and decision as in the service."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.artifact import ModelArtifact
from classifier.classes import CELL_CLASSES
from classifier.decision import CellPrediction, RawOutputs, decide
from classifier.evaluation.metrics import area_under_roc, describe, proportion
from classifier.preprocessing import INPUT_SIZE
from classifier.training import plots
from classifier.training.checkpoints import CURVES_FILE, read_curves
from classifier.training.data import DataError, LabelledImages, load_images
from classifier.training.export import run_onnx
from classifier.training.release import ONNX_FILE
from classifier.training.report import markdown_tables

# The sets that a release is described with; the first is the one thresholds were chosen on.
REFERENCE_SET = "pbc/val"
STANDARD_SETS = (REFERENCE_SET, "bccd/external", "jtsc/external", "pbc_other/val")
METRICS_FILE = "metrics.json"
TABLES_FILE = "tables.md"


@dataclass(frozen=True)
class Evaluated:
    """Images of one set with what the model says about them."""

    data: LabelledImages
    predictions: list[CellPrediction]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return np.array([prediction.probabilities for prediction in self.predictions])

    @property
    def ood_scores(self) -> NDArray[np.float64]:
        return np.array([prediction.ood_score for prediction in self.predictions])

    @property
    def abstained(self) -> NDArray[np.bool_]:
        return np.array([bool(prediction.reasons) for prediction in self.predictions])


def evaluate_set(source: Path, artifact: ModelArtifact) -> Evaluated:
    """Classify a folder or table of labelled images with a released model."""
    data = load_images(source, INPUT_SIZE, only_classes=False)
    outputs = run_onnx(artifact.path(ONNX_FILE), data.images)
    return Evaluated(data, decide(RawOutputs(**outputs), artifact))


def summarise(evaluated: Evaluated) -> dict[str, Any]:
    """All figures of one set, ready for JSON."""
    summary: dict[str, Any] = {"n": len(evaluated.data)}
    known = evaluated.data.labels >= 0
    if known.any():
        labels = evaluated.data.labels[known]
        probabilities = evaluated.probabilities[known]
        summary |= describe(labels, probabilities, CELL_CLASSES)
        accepted = ~evaluated.abstained[known]
        right = probabilities.argmax(axis=1) == labels
        summary["coverage"] = proportion(int(accepted.sum()), len(labels))
        summary["accuracy_when_decided"] = proportion(
            int(right[accepted].sum()), int(accepted.sum())
        )
    summary["abstention_reasons"] = dict(
        Counter("+".join(p.reasons) for p in evaluated.predictions if p.reasons)
    )
    groups = np.array(evaluated.data.groups)
    summary["abstained_by_group"] = {
        str(group): proportion(
            int(evaluated.abstained[groups == group].sum()), int((groups == group).sum())
        )
        for group in np.unique(groups)
    }
    return summary


def compare_distributions(foreign: Evaluated, reference: Evaluated) -> dict[str, Any]:
    """How well foreign cells are told from the reference, by area under the ROC curve.

    Compared by the out-of-distribution score and, as a baseline, by one minus the confidence.
    """
    result: dict[str, Any] = {}
    groups = np.array(foreign.data.groups)
    for name, own, other in (
        ("ood_score", reference.ood_scores, foreign.ood_scores),
        (
            "one_minus_confidence",
            1.0 - reference.probabilities.max(axis=1),
            1.0 - foreign.probabilities.max(axis=1),
        ),
    ):
        result[name] = {"all": _separation(own, other)} | {
            str(group): _separation(own, other[groups == group]) for group in np.unique(groups)
        }
    return result


def _separation(own: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    foreign = np.repeat([False, True], [len(own), len(other)])
    return area_under_roc(foreign, np.concatenate([own, other]))


def draw_figures(name: str, evaluated: Evaluated, output: Path) -> None:
    """Confusion matrix, ROC, reliability and risk-coverage curve of one set."""
    known = evaluated.data.labels >= 0
    if not known.any():
        return
    labels, probabilities = evaluated.data.labels[known], evaluated.probabilities[known]
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    stem = name.replace("/", "_")
    matrix = np.array(describe(labels, probabilities, CELL_CLASSES)["confusion_matrix"])
    plots.plot_confusion(matrix, output / f"{stem}_confusion.png", name)
    plots.plot_roc(labels, probabilities, output / f"{stem}_roc.png", name)
    plots.plot_reliability(confidence, right, output / f"{stem}_reliability.png", name)
    plots.plot_risk_coverage(confidence, right, output / f"{stem}_risk_coverage.png", name)


def evaluate_folder(source: Path, model_folder: Path, output: Path) -> dict[str, Any]:
    """Evaluate one folder and write ``metrics.json`` and the figures to ``output``."""
    artifact = ModelArtifact.load(model_folder)
    evaluated = evaluate_set(source, artifact)
    return _write({source.name: evaluated}, artifact, output)


def evaluate_standard_sets(data: Path, model_folder: Path, output: Path) -> dict[str, Any]:
    """Evaluate the sets that a release is described with.

    Raises:
        DataError: If none of them lies in the data folder.
    """
    artifact = ModelArtifact.load(model_folder)
    present = [name for name in STANDARD_SETS if (data / name).is_dir()]
    if not present:
        raise DataError(f"none of {STANDARD_SETS} is in {data}")
    return _write({name: evaluate_set(data / name, artifact) for name in present}, artifact, output)


def _write(sets: dict[str, Evaluated], artifact: ModelArtifact, output: Path) -> dict[str, Any]:
    output.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "model": {"name": artifact.name, "version": artifact.version, "digest": artifact.digest},
        "sets": {name: summarise(evaluated) for name, evaluated in sets.items()},
    }
    if reference := sets.get(REFERENCE_SET):
        report["out_of_distribution_auroc"] = {
            name: compare_distributions(evaluated, reference)
            for name, evaluated in sets.items()
            if name != REFERENCE_SET
        }
    for name, evaluated in sets.items():
        draw_figures(name, evaluated, output)
    scores = {name: evaluated.ood_scores for name, evaluated in sets.items()}
    plots.plot_ood(scores, output / "out_of_distribution.png", artifact.ood_threshold)
    if (artifact.folder / CURVES_FILE).is_file():
        plots.plot_learning_curves(read_curves(artifact.folder), output / "learning_curves.png")
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (output / METRICS_FILE).write_text(text + "\n", encoding="utf-8")
    (output / TABLES_FILE).write_text(markdown_tables(report), encoding="utf-8")
    return report
